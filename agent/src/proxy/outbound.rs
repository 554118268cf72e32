//! What a pod of this node asks for: resolve, dial from inside the pod, handshake with exactly the peer that
//! the store expects, relay.

use std::{net::SocketAddr, sync::Arc};

use rustls::pki_types::ServerName;
use tokio::net::TcpStream;

use super::{
    Proxy,
    accept::Arrival,
    close::reset,
    connections::{Connection, Phase, Route, Session},
    dial,
    enforce::verdict,
    outcome::Failure,
    protect::{Peer, protected},
    relay::{Relay, Wire},
    report::Report,
    serving::{Open, Serving},
    shake::shake,
};
use crate::{
    capture::{OriginalDst, Pod},
    policy::{ClientMode, Mode, Verdict},
    store::Snapshot,
    telemetry::{Direction, RefusalReason, Side, Transport},
    tls::{self, Established},
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
        .flat_map(|w| &w.addresses)
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

/// Where the connection leads, before one of the endpoints has answered.
struct Target {
    service: Option<Arc<Service>>,
    candidates: Vec<Endpoint>,
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
    let target = resolve(snapshot, destination)?;
    let (endpoint, stream) = dial_one(proxy, pod, &target.candidates).await?;
    let secured = route(
        snapshot,
        connection,
        &source,
        target.service.as_ref(),
        endpoint,
    )?;
    let wire = match secured {
        Some(server) => {
            connection.enter(Phase::Handshaking);
            let name = server_name(target.service.as_deref(), destination);
            let prepared = proxy.offload.prepare(&stream);
            let established = handshake(proxy, stream, &source, &server, name).await?;
            connection.set_session(Session::MutualTls {
                client: source.identity.clone(),
                server: server.identity.clone(),
                version: established.secrets.suite.version().version,
                suite: established.secrets.suite.suite(),
                server_name: None,
            });
            protected(proxy, connection, prepared, Peer::Mesh, established)?
        }
        None => {
            connection.set_session(Session::Plaintext);
            connection.set_transport(Transport::Copy);
            Wire::plain(stream, Vec::new())
        }
    };
    // Registered above, evaluated now: a change of policy either is seen here or finds the connection.
    match verdict(&proxy.store.current(), connection) {
        Verdict::Refuse(refusal) => Err(Failure::Refused(refusal.into())),
        Verdict::Allow => Ok(wire),
    }
}

/// Notes where the connection leads. Returns the workload whose identity the peer must have; `None` for a wire
/// in plaintext.
fn route(
    snapshot: &Snapshot,
    connection: &Connection,
    source: &Arc<Workload>,
    service: Option<&Arc<Service>>,
    endpoint: Endpoint,
) -> Result<Option<Arc<Workload>>, Failure> {
    let server = snapshot.workload_at(endpoint.address).cloned();
    let enrolled = server.clone().filter(|w| w.enrolled);
    let asked = connection.destination.port();
    let ruled = service.and_then(|service| snapshot.policy.client_rule(source, service, asked));
    let ruled = ruled.map(|ruled| ruled.mode);
    let mode = enrolled.as_ref().map_or(Mode::Disable, |w| {
        snapshot.policy.mode(w, endpoint.port).mode
    });
    connection.set_route(Route {
        source: Some(Arc::clone(source)),
        server,
        port: endpoint.port,
        service: service.cloned(),
        mode,
    });
    if enrolled.as_ref().is_some_and(|w| w.name == source.name) {
        // What a pod sends to itself stays inside and is not steered at the other end.
        return Ok(None);
    }
    let conflict = Failure::Refused(RefusalReason::DestinationRuleConflict);
    match (ruled, enrolled.filter(|_| mode != Mode::Disable)) {
        (Some(ClientMode::IstioMutual), None) => Err(conflict),
        (Some(ClientMode::Disable), _) if mode == Mode::Strict => Err(conflict),
        (Some(ClientMode::Disable), _) => Ok(None),
        (_, secured) => Ok(secured),
    }
}

fn resolve(snapshot: &Snapshot, destination: SocketAddr) -> Result<Target, Failure> {
    let Some(service) = snapshot.service_at(destination.ip()) else {
        let (address, port) = (destination.ip(), destination.port());
        return Ok(Target {
            service: None,
            candidates: vec![Endpoint { address, port }],
        });
    };
    let port = service.port(destination.port());
    let candidates: Vec<_> = port
        .map(|p| {
            p.candidates(destination.ip(), fastrand::usize(..))
                .collect()
        })
        .unwrap_or_default();
    if candidates.is_empty() {
        let text = format!("{}:{}", service.host, destination.port());
        return Err(Failure::RefusedBecause(RefusalReason::NoEndpoint, text));
    }
    Ok(Target {
        service: Some(Arc::clone(service)),
        candidates,
    })
}

/// Endpoints are tried in turn; three that can't be reached are enough.
async fn dial_one(
    proxy: &Proxy,
    pod: &Pod,
    candidates: &[Endpoint],
) -> Result<(Endpoint, TcpStream), Failure> {
    let mut last = String::new();
    for endpoint in candidates.iter().take(3) {
        let address = SocketAddr::new(endpoint.address, endpoint.port);
        match dial::peer(&pod.netns, address, proxy.timeouts.connect).await {
            Ok(stream) => return Ok((*endpoint, stream)),
            Err(error) => last = format!("{address}: {error}"),
        }
    }
    Err(Failure::RefusedBecause(RefusalReason::Unreachable, last))
}

async fn handshake(
    proxy: &Proxy,
    stream: TcpStream,
    source: &Workload,
    server: &Workload,
    name: ServerName<'static>,
) -> Result<Established, Failure> {
    let config = proxy
        .tls
        .client(&source.identity, &server.identity)
        .map_err(|error| Failure::RefusedBecause(RefusalReason::NoSvid, error.to_string()))?;
    let shaking = tls::connect(stream, config, name);
    shake(
        &proxy.metrics,
        Side::Client,
        proxy.timeouts.handshake,
        shaking,
    )
    .await
}

/// Istio's SNI for services (`model.BuildSubsetKey`); connections to a pod's address carry none.
fn server_name(service: Option<&Service>, destination: SocketAddr) -> ServerName<'static> {
    service
        .and_then(|s| {
            let name = format!("outbound_.{}_._.{}", destination.port(), s.host);
            ServerName::try_from(name).ok()
        })
        .unwrap_or_else(|| ServerName::from(destination.ip()))
}
