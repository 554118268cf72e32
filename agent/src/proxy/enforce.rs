//! A change of policy reaches what is established: connections that it forbids are cut.
//!
//! A connection is in the table before it is evaluated, and it is evaluated against the snapshot that is
//! current then; so either it sees the new policy itself, or it is found here.

use std::{sync::Arc, time::Instant};

use super::{
    Proxy,
    connections::{Connection, Session},
    outcome::Failure,
    probe,
};
use crate::{
    policy::{Attributes, ClientTls, Decision, Mode, Refusal, Verdict},
    store::{LeadError, Snapshot},
    telemetry::{CutReason, Direction, RefusalReason},
    trust::TrustReader,
    workload::Workload,
};

/// Re-evaluates every live connection after each published snapshot, until the store's writer is gone.
pub async fn enforce(proxy: Arc<Proxy>) {
    let mut store = proxy.store.clone();
    while let Some(snapshot) = store.changed().await {
        for connection in proxy.connections.list() {
            let forbidden = match verdict(&snapshot, &connection) {
                Verdict::Refuse(refusal) => Some(cut_reason(refusal)),
                Verdict::Allow => {
                    is_replaced(&snapshot, &connection).then_some(CutReason::WorkloadGone)
                }
            };
            if let Some(reason) = forbidden {
                connection.cut(reason);
                proxy.metrics.connection_cut(reason, snapshot.age());
            }
        }
    }
}

/// Whether its pod's address is another's now, or the pod has another identity: nobody may go on as who was there before.
pub(super) fn is_replaced(snapshot: &Snapshot, connection: &Connection) -> bool {
    let Some(route) = connection.route() else {
        return false;
    };
    let (own, address) = match connection.direction {
        Direction::Inbound => (&route.server, connection.destination.ip()),
        Direction::Outbound => (&route.source, connection.client.ip()),
    };
    let now = snapshot.workload_at(address);
    own.as_ref()
        .zip(now)
        .is_some_and(|(own, now)| own.name != now.name || own.identity != now.identity)
}

/// Cuts what rests on trust that is gone, after each change of trust, until nobody follows it.
pub async fn enforce_trust(proxy: Arc<Proxy>, mut trust: TrustReader) {
    while trust.changed().await {
        let since = Instant::now();
        for connection in proxy.connections.list() {
            if !is_trusted(&proxy, &connection) {
                connection.cut(CutReason::Untrusted);
                let after = since.elapsed();
                proxy.metrics.connection_cut(CutReason::Untrusted, after);
            }
        }
    }
}

/// Of a connection whose handshake is over.
pub(super) fn trusted(proxy: &Proxy, connection: &Connection) -> Result<(), Failure> {
    if is_trusted(proxy, connection) {
        return Ok(());
    }
    let why = "the peer's certificate is not trusted any more".to_owned();
    Err(Failure::RefusedBecause(RefusalReason::HandshakeFailed, why))
}

fn is_trusted(proxy: &Proxy, connection: &Connection) -> bool {
    let (client, server, certificates) = match connection.session() {
        Some(Session::MutualTls {
            client,
            server,
            certificates,
            ..
        }) => (client, server, certificates),
        Some(Session::Tls(agreed)) => {
            let certificates = agreed.certificates.as_deref().map(Vec::as_slice);
            return !proxy.tls.has_revoked(certificates);
        }
        Some(Session::Plaintext | Session::Probe) | None => return true,
    };
    let peer = match connection.direction {
        Direction::Inbound => client,
        Direction::Outbound => server,
    };
    proxy
        .tls
        .still_trusts(peer, certificates.as_deref().map(Vec::as_slice))
}

pub(super) fn cut_reason(refusal: Refusal) -> CutReason {
    match refusal {
        Refusal::PlaintextInStrict => CutReason::BecameStrict,
        Refusal::AuthorizationDenied | Refusal::AuthorizationNotAllowed => CutReason::Unauthorized,
    }
}

/// Whether a connection may go on; also while it isn't known yet how it is protected.
pub(super) fn verdict(snapshot: &Snapshot, connection: &Connection) -> Verdict {
    match connection.direction {
        Direction::Inbound => decision(snapshot, connection).map_or(Verdict::Allow, |d| d.verdict),
        Direction::Outbound => outbound(snapshot, connection),
    }
}

/// The server's side decides on who may; the client's on what may leave the pod in clear.
fn outbound(snapshot: &Snapshot, connection: &Connection) -> Verdict {
    let plaintext = matches!(connection.session(), Some(Session::Plaintext));
    let server = server(snapshot, connection);
    let source = connection.route().and_then(|r| r.source.as_ref());
    // What a pod sends to itself never leaves it.
    let itself = server
        .zip(source)
        .is_some_and(|((server, _), source)| server.name == source.name);
    if !plaintext || itself {
        return Verdict::Allow;
    }
    let strict = server
        .is_some_and(|(server, port)| snapshot.policy.mode(server, port).mode == Mode::Strict);
    if strict || must_be_tls(snapshot, connection) {
        Verdict::Refuse(Refusal::PlaintextInStrict)
    } else {
        Verdict::Allow
    }
}

/// Whether a DestinationRule asks for TLS where the connection leads now.
fn must_be_tls(snapshot: &Snapshot, connection: &Connection) -> bool {
    let source = connection.route().and_then(|route| route.source.as_ref());
    // As it is now: rules select clients by their labels.
    let source = source.and_then(|source| snapshot.workload(&source.name));
    match source.map(|source| snapshot.lead_to(source, connection.destination)) {
        Some(Ok(lead)) => lead.ruled.is_some_and(|r| *r.tls != ClientTls::Disable),
        Some(Err(LeadError::Ambiguous { .. } | LeadError::Unclear { .. })) => true,
        Some(Err(_)) | None => false,
    }
}

/// What policy says of an inbound connection. `None` while it isn't known yet how it is protected, when its server isn't in
/// the mesh, and for probes as long as the server declares them.
pub(super) fn decision<'s>(
    snapshot: &'s Snapshot,
    connection: &Connection,
) -> Option<Decision<'s>> {
    let (server, port) = server(snapshot, connection)?;
    match connection.session()? {
        Session::Probe if probe::is_declared(server, port) => None,
        session => Some(decision_on(snapshot, server, connection, session)),
    }
}

/// What it says of an inbound connection that is protected in this way.
pub(super) fn decision_on<'s>(
    snapshot: &'s Snapshot,
    server: &'s Workload,
    connection: &Connection,
    session: &Session,
) -> Decision<'s> {
    let (principal, sni) = session.proven();
    let attributes = Attributes {
        principal,
        source: connection.client.ip(),
        destination: connection.destination.ip(),
        port: connection.destination.port(),
        sni,
    };
    snapshot.policy.evaluate(server, &attributes)
}

/// The server as it is now, if it is in the mesh, and its port.
fn server<'s>(snapshot: &'s Snapshot, connection: &Connection) -> Option<(&'s Arc<Workload>, u16)> {
    let route = connection.route()?;
    let name = &route.server.as_ref()?.name;
    let server = snapshot.workload(name).filter(|w| w.enrolled)?;
    Some((server, route.port))
}
