//! What a pod of this node asks for: resolve, dial from inside the pod, handshake with exactly the peer that
//! the store expects, relay.

use std::{
    mem,
    net::SocketAddr,
    sync::{Arc, atomic::Ordering},
};

use rustls::pki_types::ServerName;
use tokio::net::TcpStream;

use super::{
    Proxy,
    accept::Arrival,
    close::reset,
    connections::{Agreed, Connection, Phase, Route, Session},
    dial,
    enforce::{is_replaced, trusted, verdict},
    outcome::Failure,
    protect::{Peer, Prepared, protected},
    relay::{Relay, Wire},
    report::Report,
    serving::{Open, Serving},
    shake::shake,
};
use crate::{
    capture::{OriginalDst, Pod},
    policy::{ClientTls, Mode, Origination, Verdict},
    store::{Lead, LeadError, Snapshot},
    telemetry::{Direction, RefusalReason, Side, Transport},
    tls,
    workload::{Endpoint, Service, Workload},
};

/// One redirected connection, to its end.
pub(super) fn serve(proxy: Arc<Proxy>, pod: Arc<Pod>, arrival: Arrival) -> Serving {
    Serving::new(set_up(proxy, pod, arrival))
}

async fn set_up(proxy: Arc<Proxy>, pod: Arc<Pod>, arrival: Arrival) -> Option<Open> {
    let Arrival {
        stream: client,
        peer,
        ..
    } = arrival;
    let Some(OriginalDst(destination)) = proxy.flows.take_original(pod.netns.cookie(), peer) else {
        // Meant for the listener itself, or reset before it was accepted.
        let reason = RefusalReason::NoOriginalDestination;
        proxy
            .metrics
            .connection_refused(Direction::Outbound, reason);
        reset(client);
        return None;
    };
    let snapshot = proxy.store.current();
    let source = snapshot.workload(&pod.name).cloned();
    // The pod's own address: the client's socket shows loopback, which says nothing.
    let shown = source
        .iter()
        .flat_map(|w| &*w.addresses)
        .find(|a| a.is_ipv4() == destination.is_ipv4())
        .map_or(peer, |a| SocketAddr::new(*a, peer.port()));
    let registered = proxy
        .connections
        .open(Direction::Outbound, shown, destination);
    let report = Report::new(Arc::clone(&proxy), registered);
    let connection = report.connection();
    let result = match source {
        Some(source) => connect(&proxy, &pod, connection, &snapshot, source).await,
        None => Err(Failure::Refused(RefusalReason::NoPolicy)),
    };
    let relay = match result {
        Ok(wire) => Relay::new(client, wire).map_err(Failure::from),
        Err(failure) => {
            reset(client);
            Err(failure)
        }
    };
    match relay {
        Ok(relay) => Some(Open::new(report, relay, None)),
        Err(failure) => {
            report.finish(&Err(failure));
            None
        }
    }
}

/// What is spoken with the server.
enum Protection {
    /// Mutual TLS with exactly this workload.
    Mesh(Arc<Workload>),
    /// TLS with certificates from files, with a server that has this name.
    Outside(Arc<Origination>, String),
    Plaintext,
}

async fn connect(
    proxy: &Proxy,
    pod: &Pod,
    connection: &Connection,
    snapshot: &Snapshot,
    source: Arc<Workload>,
) -> Result<Wire, Failure> {
    let destination = connection.destination;
    connection.enter(Phase::Connecting);
    let lead = lead(snapshot, &source, destination)?;
    let candidates = candidates(snapshot, &lead, destination)?;
    let within = proxy.timeouts.connect;
    let socket = |to| dial::of_pod(&pod.netns, to);
    let (endpoint, stream) = dial::first(&candidates, within, socket).await?;
    let port = stream.local_addr().map_or(0, |local| local.port());
    connection.wire_port.store(port, Ordering::Relaxed);
    let protection = route(snapshot, connection, &source, &lead, endpoint)?;
    let wire = match protection {
        Protection::Mesh(server) => {
            let name = server_name(lead.service.map(Arc::as_ref), lead.port, destination);
            let handshake = Handshake::begin(proxy, connection, stream);
            handshake.with_mesh(&source, &server, name).await?
        }
        Protection::Outside(origination, host) => {
            let handshake = Handshake::begin(proxy, connection, stream);
            handshake.with_outside(&source, &origination, &host).await?
        }
        Protection::Plaintext => {
            connection.set_session(Session::Plaintext);
            connection.set_transport(Transport::Copy);
            Wire::plain(stream, Vec::new())
        }
    };
    // Registered above, evaluated now: a change of policy or trust either is seen here or finds the connection.
    trusted(proxy, connection)?;
    let current = proxy.store.current();
    let plaintext = matches!(connection.session(), Some(Session::Plaintext));
    if is_replaced(&current, connection) || plaintext && !is_same(snapshot, &current, endpoint) {
        return Err(Failure::Refused(RefusalReason::NoPolicy));
    }
    match verdict(&current, connection) {
        Verdict::Refuse(refusal) => Err(Failure::Refused(refusal.into())),
        Verdict::Allow => Ok(wire),
    }
}

/// Whether an address is still whose it was before it was dialled.
fn is_same(before: &Snapshot, now: &Snapshot, endpoint: Endpoint) -> bool {
    let pod = |snapshot: &Snapshot| {
        snapshot
            .workload_at(endpoint.address)
            .map(|w| w.name.clone())
    };
    pod(before) == pod(now)
}

fn lead<'s>(
    snapshot: &'s Snapshot,
    source: &Workload,
    destination: SocketAddr,
) -> Result<Lead<'s>, Failure> {
    // The kernel captures what the mesh knows: what it has captured and nobody knows (any more) isn't let through in
    // clear, for it may have been a host that needs TLS.
    if !snapshot.knows(destination.ip()) {
        return Err(Failure::Refused(RefusalReason::NoPolicy));
    }
    let lead = snapshot.lead_to(source, destination);
    lead.map_err(|error| {
        let reason = match error {
            LeadError::Ambiguous { .. } => RefusalReason::AmbiguousHost,
            _ => RefusalReason::NoEndpoint,
        };
        Failure::RefusedBecause(reason, error.to_string())
    })
}

/// Notes where the connection leads, and says what is spoken there.
fn route(
    snapshot: &Snapshot,
    connection: &Connection,
    source: &Arc<Workload>,
    lead: &Lead<'_>,
    endpoint: Endpoint,
) -> Result<Protection, Failure> {
    let server = snapshot.workload_at(endpoint.address).cloned();
    let enrolled = server.clone().filter(|w| w.enrolled);
    let mode = enrolled.as_ref().map_or(Mode::Disable, |w| {
        snapshot.policy.mode(w, endpoint.port).mode
    });
    connection.set_route(Route {
        source: Some(Arc::clone(source)),
        server,
        port: endpoint.port,
        service: lead.service.cloned(),
        mode,
    });
    if enrolled.as_ref().is_some_and(|w| w.name == source.name) {
        // What a pod sends to itself stays inside and is not steered at the other end.
        return Ok(Protection::Plaintext);
    }
    let conflict = Failure::Refused(RefusalReason::DestinationRuleConflict);
    match (lead.ruled.map(|ruled| ruled.tls), enrolled) {
        (Some(ClientTls::Disable | ClientTls::Originate(_)), _) if mode == Mode::Strict => {
            Err(conflict)
        }
        (Some(ClientTls::Disable), _) => Ok(Protection::Plaintext),
        (Some(ClientTls::Originate(origination)), _) => Ok(outside(origination, lead)),
        (_, Some(server)) if mode != Mode::Disable => Ok(Protection::Mesh(server)),
        (Some(ClientTls::IstioMutual), _) => Err(conflict),
        (None, _) => Ok(Protection::Plaintext),
    }
}

/// Of the names that the host may have, the document of the rule says which, then the one of the host.
fn outside(origination: &Arc<Origination>, lead: &Lead<'_>) -> Protection {
    let service = lead.service;
    let known = service.and_then(|service| service.outside.as_ref());
    let names = known.map_or(&[][..], |outside| &outside.names);
    let origination = if origination.names.is_empty() && !names.is_empty() {
        Arc::new(Origination {
            names: names.to_vec(),
            ..Origination::clone(origination)
        })
    } else {
        Arc::clone(origination)
    };
    let host = service.map_or_else(String::new, |service| service.host.clone());
    Protection::Outside(origination, host)
}

fn candidates(
    snapshot: &Snapshot,
    lead: &Lead<'_>,
    destination: SocketAddr,
) -> Result<Vec<Endpoint>, Failure> {
    let candidates = snapshot.candidates(lead, destination.ip(), fastrand::usize(..));
    if candidates.is_empty() {
        let host = lead.service.map_or("", |service| &service.host);
        let text = format!("{host}:{}", lead.port);
        return Err(Failure::RefusedBecause(RefusalReason::NoEndpoint, text));
    }
    Ok(candidates)
}

/// A socket on which a handshake begins.
struct Handshake<'a> {
    proxy: &'a Proxy,
    connection: &'a Connection,
    stream: TcpStream,
    prepared: Prepared,
}

impl<'a> Handshake<'a> {
    fn begin(proxy: &'a Proxy, connection: &'a Connection, stream: TcpStream) -> Self {
        connection.enter(Phase::Handshaking);
        let prepared = proxy.offload.prepare(&stream);
        Self {
            proxy,
            connection,
            stream,
            prepared,
        }
    }

    async fn with_mesh(
        self,
        source: &Workload,
        server: &Workload,
        name: ServerName<'static>,
    ) -> Result<Wire, Failure> {
        let proxy = self.proxy;
        let config = proxy
            .tls
            .client(&source.identity, &server.identity)
            .map_err(|error| Failure::RefusedBecause(RefusalReason::NoSvid, error.to_string()))?;
        let shaking = tls::connect(self.stream, config, name);
        let within = proxy.timeouts.handshake;
        let mut established = shake(&proxy.metrics, Side::Client, within, shaking).await?;
        self.connection.set_session(Session::MutualTls {
            client: source.identity.clone(),
            server: server.identity.clone(),
            version: established.secrets.suite.version().version,
            suite: established.secrets.suite.suite(),
            server_name: None,
            certificates: proxy
                .tls
                .remembered(mem::take(&mut established.certificates)),
        });
        protected(
            proxy,
            self.connection,
            self.prepared,
            Peer::Mesh,
            established,
        )
    }

    async fn with_outside(
        self,
        source: &Workload,
        origination: &Arc<Origination>,
        host: &str,
    ) -> Result<Wire, Failure> {
        let proxy = self.proxy;
        let made = proxy
            .tls
            .originate(&source.identity, origination, host)
            .await;
        let (config, name) = made.map_err(|error| {
            Failure::RefusedBecause(RefusalReason::NoCertificate, error.to_string())
        })?;
        let shaking = tls::originate(self.stream, config, name);
        let within = proxy.timeouts.handshake;
        let mut established = shake(&proxy.metrics, Side::Client, within, shaking).await?;
        let suite = established.secrets.suite;
        let agreed = Box::new(Agreed {
            version: suite.version().version,
            suite: suite.suite(),
            certificates: proxy
                .tls
                .remembered(mem::take(&mut established.certificates)),
        });
        self.connection.set_session(Session::Tls(agreed));
        protected(
            proxy,
            self.connection,
            self.prepared,
            Peer::Foreign,
            established,
        )
    }
}

/// Connections to a pod's address carry none.
fn server_name(
    service: Option<&Service>,
    port: u16,
    destination: SocketAddr,
) -> ServerName<'static> {
    service
        .and_then(|s| ServerName::try_from(s.server_name(port)).ok())
        .unwrap_or_else(|| ServerName::from(destination.ip()))
}
