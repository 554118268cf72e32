//! One connection as the admin side shows it.

use std::{
    sync::{Arc, atomic::Ordering::Relaxed},
    time::SystemTime,
};

use rustls::{CipherSuite, ProtocolVersion};

use super::timestamp;
use crate::{
    admin::api,
    proxy::{Connection, Phase, Session},
    review::{Client, TlsRow},
    telemetry::Direction,
    workload::{Endpoint, ServicePort},
};

pub(super) fn shown(connection: &Connection) -> api::Connection {
    let route = connection.route();
    let session = connection.session();
    let (client, server) = session.and_then(principals).unzip();
    let (version, suite) = session.and_then(tls).unzip();
    api::Connection {
        id: connection.id,
        direction: match connection.direction {
            Direction::Inbound => api::Direction::Inbound,
            Direction::Outbound => api::Direction::Outbound,
        },
        state: state(connection.phase()),
        source: connection.client,
        source_principal: client,
        destination: connection.destination,
        destination_service: route
            .and_then(|r| r.service.as_ref())
            .map(|s| s.host.clone()),
        destination_workload: route
            .and_then(|r| r.server.as_ref())
            .map(|w| w.name.to_string()),
        destination_principal: server,
        security: security(session),
        transport: connection
            .transport()
            .map_or_else(String::new, |t| t.as_str().to_owned()),
        tls_version: version.map(version_text),
        cipher: suite.and_then(|s| s.as_str()).map(str::to_owned),
        mode: route.map_or_else(String::new, |r| r.mode.to_string()),
        opened_at: timestamp(SystemTime::now() - connection.age()),
        sent_bytes: connection.sent.load(Relaxed),
        received_bytes: connection.received.load(Relaxed),
    }
}

/// Counts the open connections of a client in the rows of the ports that they lead to.
pub(super) fn observe(connections: &[Arc<Connection>], client: &Client, rows: &mut [TlsRow]) {
    for connection in connections.iter().filter(|c| c.phase() == Phase::Open) {
        let source = connection.route().and_then(|r| r.source.as_ref());
        let same = match (&client.workload, source) {
            (Some(client), Some(source)) => client.name == source.name,
            (_, _) => connection.client.ip() == client.address,
        };
        let host = connection.route().and_then(|r| {
            let service = r.service.as_ref()?;
            let asked = connection.destination;
            let endpoint = Endpoint {
                address: asked.ip(),
                port: asked.port(),
            };
            let leads = |p: &&ServicePort| match connection.direction {
                Direction::Outbound => p.port == asked.port(),
                Direction::Inbound => p.endpoints.contains(&endpoint),
            };
            let port = service.ports.iter().find(leads)?.port;
            Some(format!("{}:{port}", service.host))
        });
        for row in rows
            .iter_mut()
            .filter(|row| same && host.as_ref() == Some(&row.host))
        {
            match connection.session() {
                Some(Session::MutualTls { .. }) => row.observed.mutual_tls += 1,
                Some(Session::Tls(_)) => row.observed.tls += 1,
                Some(Session::Plaintext) => row.observed.plaintext += 1,
                None => {}
            }
        }
    }
}

fn security(session: Option<&Session>) -> api::Security {
    match session {
        Some(Session::MutualTls { .. }) => api::Security::MutualTls,
        Some(Session::Tls(_)) => api::Security::Tls,
        Some(Session::Plaintext) | None => api::Security::Plaintext,
    }
}

fn principals(session: &Session) -> Option<(String, String)> {
    match session {
        Session::MutualTls { client, server, .. } => Some((client.to_string(), server.to_string())),
        Session::Tls(_) | Session::Plaintext => None,
    }
}

fn tls(session: &Session) -> Option<(ProtocolVersion, CipherSuite)> {
    match session {
        Session::MutualTls { version, suite, .. } => Some((*version, *suite)),
        Session::Tls(agreed) => Some((agreed.version, agreed.suite)),
        Session::Plaintext => None,
    }
}

fn version_text(version: ProtocolVersion) -> String {
    let text = match version {
        ProtocolVersion::TLSv1_3 => "TLSv1.3",
        _ => "TLSv1.2",
    };
    text.to_owned()
}

fn state(phase: Phase) -> api::ConnectionState {
    match phase {
        Phase::Detecting => api::ConnectionState::Detecting,
        Phase::Handshaking => api::ConnectionState::Handshaking,
        Phase::Connecting => api::ConnectionState::Connecting,
        Phase::Open => api::ConnectionState::Open,
    }
}
