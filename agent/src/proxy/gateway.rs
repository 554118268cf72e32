//! What comes in from outside of the mesh, at a pod that serves `Gateway`s: whose it is, TLS ended where a server says
//! so, and on to the endpoint of a service. Takes nothing that anybody has captured, and needs no privilege.

mod enforce;
mod enter;
mod first;
mod forward;
mod head;
mod inside;
mod redirect;
#[cfg(test)]
mod testing;

use std::{
    collections::HashMap,
    io,
    net::{Ipv4Addr, Ipv6Addr, SocketAddr},
    sync::Arc,
};

use arc_swap::ArcSwapOption;
use tokio_util::sync::CancellationToken;

use super::{
    Offload, Timeouts,
    accept::{Place, accept},
    carrier::Carrier,
    connections::{Connection, Connections},
    dial::{Published, listener},
    limits::Pending,
};
use crate::{
    policy::ServerTls,
    store::Snapshot,
    telemetry::{Direction, Metrics, RefusalReason, Reporter},
    tls::{Termination, TrustAnchors},
    workload::Workload,
};
use enforce::Admissions;

/// What every connection through this gateway needs.
pub struct Gateway {
    /// Nothing is let in without.
    entrance: ArcSwapOption<Entrance>,
    admissions: Admissions,
    pub offload: Offload,
    pub connections: Arc<Connections>,
    pub pending: Arc<Pending>,
    pub metrics: Metrics,
    pub timeouts: Timeouts,
}

/// What is in force; replaced whole.
pub struct Entrance {
    pub snapshot: Arc<Snapshot>,
    /// The gateway's own pod.
    pub own: Arc<Workload>,
    /// Of the servers that end TLS; one that is missing refuses.
    pub terminations: Terminations,
    pub revoked: Arc<TrustAnchors>,
}

/// TLS as it is ended.
pub type Terminations = HashMap<Arc<ServerTls>, Arc<Termination>>;

impl Entrance {
    /// Whether the same is in force.
    #[must_use]
    pub fn is_same(&self, other: &Self) -> bool {
        let same = |(tls, termination): (_, &Arc<Termination>)| {
            let other = other.terminations.get(tls);
            other.is_some_and(|other| Arc::ptr_eq(other, termination))
        };
        Arc::ptr_eq(&self.snapshot, &other.snapshot)
            && self.own == other.own
            && Arc::ptr_eq(&self.revoked, &other.revoked)
            && self.terminations.len() == other.terminations.len()
            && self.terminations.iter().all(same)
    }
}

impl Gateway {
    /// One that lets nobody in yet.
    #[must_use]
    pub fn new(offload: Offload, metrics: Metrics, timeouts: Timeouts) -> Self {
        Self {
            entrance: ArcSwapOption::empty(),
            admissions: Admissions::default(),
            offload,
            connections: Arc::new(Connections::default()),
            pending: Arc::new(Pending::default()),
            metrics,
            timeouts,
        }
    }

    /// What is in force.
    #[must_use]
    pub fn entrance(&self) -> Option<Arc<Entrance>> {
        self.entrance.load_full()
    }

    /// Takes connections to a port until `stop`. They are for `asked`, the port as clients know it.
    ///
    /// # Errors
    /// As bind(2) and listen(2).
    pub fn listen(
        self: &Arc<Self>,
        asked: u16,
        bound: u16,
        stop: CancellationToken,
    ) -> io::Result<()> {
        let v6 = SocketAddr::from((Ipv6Addr::UNSPECIFIED, bound));
        let v4 = SocketAddr::from((Ipv4Addr::UNSPECIFIED, bound));
        let listener = match listener(v6) {
            // A pod without IPv6.
            Err(error) if error.kind() != io::ErrorKind::AddrInUse => listener(v4)?,
            listener => listener?,
        };
        let place = Place {
            name: format!("port {bound}"),
            stop,
        };
        let gateway = Arc::clone(self);
        tokio::spawn(accept(place, listener, move |arrival| {
            tokio::spawn(enter::serve(Arc::clone(&gateway), asked, arrival));
        }));
        Ok(())
    }
}

impl Carrier for Gateway {
    fn metrics(&self) -> &Metrics {
        &self.metrics
    }

    fn offload(&self) -> &Offload {
        &self.offload
    }

    /// As Istio's gateways do: the server's side reports for itself.
    fn reporter(&self, _direction: Direction) -> Reporter {
        Reporter::Source
    }

    fn ended(&self, connection: &Connection, _refused: Option<RefusalReason>) {
        self.admissions.forget(connection.id);
    }

    fn withdraw(&self, _published: Published, _application: SocketAddr) {}
}
