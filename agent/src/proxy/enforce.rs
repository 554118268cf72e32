//! A change of policy reaches what is established: connections that it forbids are cut.
//!
//! A connection is in the table before it is evaluated, and it is evaluated against the snapshot that is
//! current then; so either it sees the new policy itself, or it is found here.

use std::sync::Arc;

use super::{
    Proxy,
    connections::{Connection, Session},
};
use crate::{
    policy::{Decision, Transport, Verdict},
    store::Snapshot,
    telemetry::{CutReason, Direction},
};

/// Re-evaluates every live connection after each published snapshot, until the store's writer is gone.
pub async fn enforce(proxy: Arc<Proxy>) {
    let mut store = proxy.store.clone();
    while let Some(snapshot) = store.changed().await {
        for connection in proxy.connections.list() {
            let verdict = evaluate(&snapshot, &connection).map(|d| d.verdict);
            if let Some(Verdict::Refuse(_)) = verdict {
                proxy.metrics.connection_cut(CutReason::BecameStrict);
                connection.cut(CutReason::BecameStrict);
            }
        }
    }
}

/// `None` while it isn't known yet how the connection is protected, or when its server isn't in the mesh.
pub(super) fn evaluate(snapshot: &Snapshot, connection: &Connection) -> Option<Decision> {
    let route = connection.route()?;
    let itself = route.source.as_ref().map(|w| &w.name) == route.server.as_ref().map(|w| &w.name);
    if itself && connection.direction == Direction::Outbound {
        // It never leaves the pod.
        return None;
    }
    let name = &route.server.as_ref()?.name;
    let server = snapshot.workload(name).filter(|w| w.enrolled)?;
    let transport = match connection.session()? {
        Session::MutualTls { client, .. } => Transport::MutualTls(client),
        Session::Plaintext => Transport::Plaintext,
    };
    Some(snapshot.policy.evaluate(server, route.port, transport))
}
