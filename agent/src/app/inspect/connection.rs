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
    store::Snapshot,
    telemetry::Direction,
    workload::{Endpoint, Service},
};

pub(in crate::app) fn shown(connection: &Connection) -> api::Connection {
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

/// Counts open connections in the rows of the ports that were asked for.
pub(super) struct Observer<'a> {
    /// Whose; `None`: everybody's.
    pub(super) client: Option<Client>,
    /// This one.
    pub(super) node: &'a str,
    pub(super) snapshot: &'a Snapshot,
}

impl Observer<'_> {
    pub(super) fn count(&self, connections: &[Arc<Connection>], rows: &mut [TlsRow]) {
        for connection in connections.iter().filter(|c| c.phase() == Phase::Open) {
            if !self.is_of_client(connection) || self.is_seen_twice(connection) {
                continue;
            }
            let asked = self.asked(connection);
            let source = connection.route().and_then(|r| r.source.as_ref());
            let namespace = source.map(|source| source.namespace());
            let of_its = |row: &TlsRow| row.clients.iter().any(|c| Some(c.as_str()) == namespace);
            let same = |row: &&mut TlsRow| row.host == asked;
            let Some(TlsRow { observed, .. }) =
                rows.iter_mut().filter(same).max_by_key(|row| of_its(row))
            else {
                continue;
            };
            match connection.session() {
                Some(Session::MutualTls { .. }) => observed.mutual_tls += 1,
                Some(Session::Tls(_)) => observed.tls += 1,
                Some(Session::Plaintext) => observed.plaintext += 1,
                Some(Session::Probe) | None => {}
            }
        }
    }

    fn is_of_client(&self, connection: &Connection) -> bool {
        let source = connection.route().and_then(|r| r.source.as_ref());
        let Some(client) = &self.client else {
            return true;
        };
        match (&client.workload, source) {
            (Some(client), Some(source)) => client.name == source.name,
            (_, _) => connection.client.ip() == client.address,
        }
    }

    /// The other end of one whose client is on this node, too.
    fn is_seen_twice(&self, connection: &Connection) -> bool {
        let source = connection.route().and_then(|r| r.source.as_ref());
        let relayed = matches!(connection.session(), Some(Session::MutualTls { .. }));
        connection.direction == Direction::Inbound
            && relayed
            && source.is_some_and(|source| *source.node.name == *self.node)
    }

    /// `HOST:PORT`, as a client knows it. The server's side does not see what a route has replaced.
    fn asked(&self, connection: &Connection) -> String {
        let asked = connection.destination;
        let endpoint = Endpoint {
            address: asked.ip(),
            port: asked.port(),
        };
        let (service, port) = match connection.direction {
            Direction::Outbound => {
                let source = connection.route().and_then(|r| r.source.as_ref());
                let namespace = source.map_or("", |source| source.namespace());
                match self.snapshot.asked_at(namespace, asked).first() {
                    Some(service) => (Some(*service), asked.port()),
                    None => self.leading_to(endpoint),
                }
            }
            Direction::Inbound => self.leading_to(endpoint),
        };
        match service {
            Some(service) => format!("{}:{port}", service.host),
            None => asked.to_string(),
        }
    }

    fn leading_to(&self, endpoint: Endpoint) -> (Option<&Arc<Service>>, u16) {
        let service = self.snapshot.service_of(endpoint);
        let ports = service.iter().flat_map(|service| &service.ports);
        let port = ports.filter(|port| port.endpoints.contains(endpoint));
        let port = port.map(|port| port.port).next();
        (service, port.unwrap_or(endpoint.port))
    }
}

fn security(session: Option<&Session>) -> api::Security {
    match session {
        Some(Session::MutualTls { .. }) => api::Security::MutualTls,
        Some(Session::Tls(_)) => api::Security::Tls,
        Some(Session::Probe) => api::Security::Probe,
        Some(Session::Plaintext) | None => api::Security::Plaintext,
    }
}

fn principals(session: &Session) -> Option<(String, String)> {
    match session {
        Session::MutualTls { client, server, .. } => Some((client.to_string(), server.to_string())),
        Session::Tls(_) | Session::Plaintext | Session::Probe => None,
    }
}

fn tls(session: &Session) -> Option<(ProtocolVersion, CipherSuite)> {
    match session {
        Session::MutualTls { version, suite, .. } => Some((*version, *suite)),
        Session::Tls(agreed) => Some((agreed.version, agreed.suite)),
        Session::Plaintext | Session::Probe => None,
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
