//! What arrives for a pod of this node: detect, handshake, authorize, dial the application, relay.

use std::{mem, sync::Arc, time::Duration};

use tokio::{net::TcpStream, time::Instant};

use super::{
    Proxy,
    accept::Arrival,
    close::reset,
    connections::{Connection, Phase, Route, Session},
    dial::{self, Published},
    enforce::{decision, is_replaced, trusted},
    outcome::{Failure, handshake_timeout},
    probe::{Clear, in_clear},
    protect::{Peer, Prepared, protected},
    refuse::refuse,
    relay::{Relay, Wire},
    report::Report,
    serving::{Open, Serving},
    shake::shake,
};
use crate::{
    capture::Pod,
    identity::SpiffeId,
    policy::{Decision, Mode, Outcome, Verdict},
    store::Snapshot,
    telemetry::{Direction, RefusalReason, Side, Transport},
    tls::{self, Established, FirstBytes, Greeting},
    workload::{Endpoint, Workload},
};

/// One steered connection, to its end.
pub(super) fn serve(proxy: Arc<Proxy>, pod: Arc<Pod>, arrival: Arrival) -> Serving {
    Serving::new(set_up(proxy, pod, arrival))
}

async fn set_up(proxy: Arc<Proxy>, pod: Arc<Pod>, arrival: Arrival) -> Option<Open> {
    let Arrival {
        stream,
        peer,
        local,
    } = arrival;
    let Some(turn) = proxy.pending.enter(peer.ip()) else {
        proxy
            .metrics
            .connection_refused(Direction::Inbound, RefusalReason::Limit);
        reset(stream);
        return None;
    };
    let registered = proxy.connections.open(Direction::Inbound, peer, local);
    let report = Report::new(Arc::clone(&proxy), registered);
    let connection = report.connection();
    let result = match admit(&proxy, &pod, connection, stream).await {
        Ok(accepted) => {
            drop(turn);
            deliver(&proxy, &pod, connection, accepted).await
        }
        Err(failure) => Err(failure),
    };
    match result {
        Ok((relay, client)) => Some(Open::new(report, relay, Some(client))),
        Err(failure) => {
            report.finish(&Err(failure));
            None
        }
    }
}

/// What has been accepted.
pub(super) enum Accepted {
    MutualTls {
        established: Established,
        prepared: Prepared,
        peer: Peer,
    },
    Plaintext {
        stream: TcpStream,
        /// Has been read already.
        bytes: Vec<u8>,
    },
}

impl Accepted {
    fn reset(self) {
        match self {
            Self::MutualTls { established, .. } => reset(established.stream),
            Self::Plaintext { stream, .. } => reset(stream),
        }
    }
}

/// Finds out who the client is, and whether it may. Those that may not have been told.
async fn admit(
    proxy: &Proxy,
    pod: &Pod,
    connection: &Connection,
    stream: TcpStream,
) -> Result<Accepted, Failure> {
    let snapshot = proxy.store.current();
    let Some(server) = snapshot.workload(&pod.name) else {
        reset(stream);
        return Err(Failure::Refused(RefusalReason::NoPolicy));
    };
    route(&snapshot, server, connection);
    let accepted = secure(proxy, server, connection, stream).await?;
    drop(snapshot);
    let decided = |d: Decision<'_>| (d.verdict, d.dry_run.map(Outcome::is_allowed));
    let snapshot = proxy.store.current();
    if snapshot.workload(&pod.name).is_none() || is_replaced(&snapshot, connection) {
        // Gone meanwhile: nobody knows any more who may.
        accepted.reset();
        return Err(Failure::Refused(RefusalReason::NoPolicy));
    }
    if let Err(failure) = trusted(proxy, connection) {
        accepted.reset();
        return Err(failure);
    }
    let decided = decision(&snapshot, connection).map(decided);
    let (verdict, dry_run) = decided.unwrap_or((Verdict::Allow, None));
    if let Some(allowed) = dry_run {
        proxy.metrics.authorized_in_dry_run(allowed);
    }
    match verdict {
        Verdict::Allow => Ok(accepted),
        Verdict::Refuse(refusal) => {
            refuse(accepted, refusal).await;
            Err(Failure::Refused(refusal.into()))
        }
    }
}

fn route(snapshot: &Snapshot, server: &Arc<Workload>, connection: &Connection) {
    let port = connection.destination.port();
    connection.set_route(Route {
        source: snapshot.workload_at(connection.client.ip()).cloned(),
        server: Some(Arc::clone(server)),
        port,
        service: snapshot
            .service_of(Endpoint {
                address: connection.destination.ip(),
                port,
            })
            .cloned(),
        mode: snapshot.policy.mode(server, port).mode,
    });
}

/// Finds out how the client speaks, and who it is. Refused clients have been closed as they must be.
async fn secure(
    proxy: &Proxy,
    server: &Arc<Workload>,
    connection: &Connection,
    mut stream: TcpStream,
) -> Result<Accepted, Failure> {
    let mode = connection.route().map_or(Mode::Strict, |r| r.mode);
    if mode == Mode::Disable {
        // Only here to be authorized.
        let clear = in_clear(proxy, server, connection, &stream).await;
        return Ok(unprotected(connection, stream, Vec::new(), &clear));
    }
    let strict = mode == Mode::Strict;
    let patience = patience(proxy, strict, from_mesh(connection));
    let begun = Instant::now();
    let first = match tls::first_bytes(&mut stream, !strict, patience).await {
        Ok(first) => first,
        Err(error) => {
            reset(stream);
            return Err(Failure::RefusedBecause(
                RefusalReason::HandshakeFailed,
                error.to_string(),
            ));
        }
    };
    match (first.greeting, strict) {
        (Greeting::Closed, true) => Err(Failure::Abandoned),
        (Greeting::Silent, true) => {
            reset(stream);
            Err(handshake_timeout(&proxy.metrics, Side::Server))
        }
        (Greeting::MeshTls, _) => {
            handshake(proxy, server, connection, stream, first.bytes, begun).await
        }
        (_, true) => strictly(proxy, server, connection, stream, first, begun).await,
        // A client that has ended already may still wait for what the server has to say.
        (_, false) => {
            let clear = in_clear(proxy, server, connection, &stream).await;
            Ok(unprotected(connection, stream, first.bytes, &clear))
        }
    }
}

/// Nobody but the kubelet may do without the mesh's TLS, and it may speak the application's own.
async fn strictly(
    proxy: &Proxy,
    server: &Arc<Workload>,
    connection: &Connection,
    stream: TcpStream,
    first: FirstBytes,
    begun: Instant,
) -> Result<Accepted, Failure> {
    let clear = in_clear(proxy, server, connection, &stream).await;
    let why = match (clear, first.greeting) {
        (clear @ Clear::Probe, _) => {
            return Ok(unprotected(connection, stream, first.bytes, &clear));
        }
        (_, Greeting::OtherTls) => {
            return handshake(proxy, server, connection, stream, first.bytes, begun).await;
        }
        (Clear::NotProbe(stranger), _) => Some(stranger),
        (Clear::Plaintext, _) => None,
    };
    // Before a single byte of TLS: a plaintext client must see a reset, not garbage.
    reset(stream);
    let reason = RefusalReason::PlaintextInStrict;
    Err(why.map_or(Failure::Refused(reason), |stranger| {
        Failure::RefusedBecause(reason, format!("not a probe of the kubelet: {stranger}"))
    }))
}

/// As it comes, with what has been read of it.
fn unprotected(
    connection: &Connection,
    stream: TcpStream,
    bytes: Vec<u8>,
    clear: &Clear,
) -> Accepted {
    connection.set_session(clear.session());
    Accepted::Plaintext { stream, bytes }
}

fn from_mesh(connection: &Connection) -> bool {
    connection
        .route()
        .and_then(|r| r.source.as_ref())
        .is_some_and(|w| w.enrolled)
}

/// A workload of the mesh speaks first, and TLS: there is no reason to take its silence for plaintext soon.
fn patience(proxy: &Proxy, strict: bool, from_mesh: bool) -> Duration {
    if strict || from_mesh {
        proxy.timeouts.handshake
    } else {
        proxy.timeouts.detect
    }
}

async fn handshake(
    proxy: &Proxy,
    server: &Arc<Workload>,
    connection: &Connection,
    stream: TcpStream,
    received: Vec<u8>,
    begun: Instant,
) -> Result<Accepted, Failure> {
    let within = proxy.timeouts.handshake.saturating_sub(begun.elapsed());
    connection.enter(Phase::Handshaking);
    let config = match proxy.tls.server(&server.identity) {
        Ok(config) => config,
        Err(error) => {
            reset(stream);
            return Err(Failure::RefusedBecause(
                RefusalReason::NoSvid,
                error.to_string(),
            ));
        }
    };
    let prepared = proxy.offload.prepare(&stream);
    let peer = if from_mesh(connection) {
        Peer::Mesh
    } else {
        Peer::Foreign
    };
    let shaking = tls::accept(stream, config, received);
    let mut established = shake(&proxy.metrics, Side::Server, within, shaking).await?;
    connection.set_session(Session::MutualTls {
        client: shared(connection, &established.peer),
        server: server.identity.clone(),
        version: established.secrets.suite.version().version,
        suite: established.secrets.suite.suite(),
        server_name: established.server_name.take(),
        certificates: proxy
            .tls
            .remembered(mem::take(&mut established.certificates)),
    });
    Ok(Accepted::MutualTls {
        established,
        prepared,
        peer,
    })
}

/// The same identity, as the store has it: one copy for all connections of a workload.
fn shared(connection: &Connection, peer: &SpiffeId) -> SpiffeId {
    let known = connection.route().and_then(|r| r.source.as_ref());
    let known = known.map(|w| &w.identity).filter(|id| *id == peer);
    known.unwrap_or(peer).clone()
}

/// Dials the application as the client.
async fn deliver(
    proxy: &Proxy,
    pod: &Pod,
    connection: &Connection,
    accepted: Accepted,
) -> Result<(Relay, Published), Failure> {
    connection.enter(Phase::Connecting);
    let wire = match accepted {
        Accepted::MutualTls {
            established,
            prepared,
            peer,
        } => protected(proxy, connection, prepared, peer, established)?,
        Accepted::Plaintext { stream, bytes } => {
            connection.set_transport(Transport::Copy);
            Wire::plain(stream, bytes)
        }
    };
    let (to, client) = (connection.destination, connection.client);
    let within = proxy.timeouts.connect;
    if matches!(connection.session(), Some(Session::Probe)) {
        proxy.flows.excuse(pod.netns.cookie(), to, client);
    }
    match dial::application(&pod.netns, &proxy.flows, to, client, within).await {
        Ok((local, published)) => match Relay::new(local, wire) {
            Ok(relay) => Ok((relay, published)),
            Err(error) => {
                published.withdraw(&proxy.flows, to);
                Err(error.into())
            }
        },
        Err(error) => {
            wire.reset();
            Err(Failure::RefusedBecause(
                RefusalReason::Unreachable,
                error.to_string(),
            ))
        }
    }
}
