//! Who carries connections: an agent between its pods and the wire, or a gateway at the edge of the mesh. What they
//! have in common is written against this.

use std::net::SocketAddr;

use super::{Offload, Proxy, connections::Connection, dial::Published};
use crate::telemetry::{Direction, Metrics, RefusalReason, Reporter};

/// What the modules that know nothing of pods need.
pub(super) trait Carrier: Send + Sync + 'static {
    fn metrics(&self) -> &Metrics;

    fn offload(&self) -> &Offload;

    /// As which end it reports connections.
    fn reporter(&self, direction: Direction) -> Reporter;

    /// A connection is over.
    fn ended(&self, connection: &Connection, refused: Option<RefusalReason>);

    /// An application is not asked for its client any more.
    fn withdraw(&self, published: Published, application: SocketAddr);
}

impl Carrier for Proxy {
    fn metrics(&self) -> &Metrics {
        &self.metrics
    }

    fn offload(&self) -> &Offload {
        &self.offload
    }

    fn reporter(&self, direction: Direction) -> Reporter {
        match direction {
            Direction::Inbound => Reporter::Destination,
            Direction::Outbound => Reporter::Source,
        }
    }

    fn ended(&self, connection: &Connection, refused: Option<RefusalReason>) {
        self.recent.ended(connection, refused);
    }

    fn withdraw(&self, published: Published, application: SocketAddr) {
        published.withdraw(&self.flows, application);
    }
}
