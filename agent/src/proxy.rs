//! Takes each captured connection through its phases: where to, who, may it, and then the bytes.
//!
//! [`outbound`] is for what the node's pods ask for, [`inbound`] for what arrives for them; [`relay`] moves
//! the bytes of both. Does not know how connections got here (`capture`) or how TLS works (`tls`).

mod accept;
mod carrier;
mod close;
mod connections;
mod dial;
mod enforce;
mod gateway;
mod inbound;
mod limits;
mod outbound;
mod outcome;
mod probe;
mod protect;
mod recent;
mod refuse;
mod relay;
mod report;
mod serving;
mod shake;
mod unseen;

use std::{sync::Arc, time::Duration};

pub use connections::{Connection, Connections, Phase, Route, Session};
pub use enforce::{enforce, enforce_trust};
pub use gateway::{Entrance, Gateway, Terminations};
pub use limits::Pending;
pub use protect::{KernelTls, Offload};
pub use recent::{Recent, RecentFlow, RecentFlows};
pub use relay::RelayError;
pub use unseen::{Pods, enforce_unseen};

use accept::{Place, accept};

use crate::{
    capture::{Flows, Kubelet, Listeners, Pod},
    store::Reader,
    telemetry::Metrics,
    tls::TlsConfigs,
};

/// What every connection needs.
pub struct Proxy {
    pub store: Reader,
    pub tls: TlsConfigs,
    pub offload: Offload,
    pub flows: Flows,
    pub kubelet: Arc<Kubelet>,
    pub connections: Arc<Connections>,
    pub pending: Arc<Pending>,
    pub pods: Pods,
    pub recent: RecentFlows,
    pub metrics: Metrics,
    pub timeouts: Timeouts,
}

/// How long the phases of a connection may take.
#[derive(Clone, Copy, Debug)]
pub struct Timeouts {
    /// From the first byte expected to the last of the handshake.
    pub handshake: Duration,
    /// How long a stranger may be silent before a PERMISSIVE port takes it for plaintext.
    pub detect: Duration,
    /// For one endpoint to answer.
    pub connect: Duration,
}

impl Proxy {
    /// Serves a pod's listeners until the pod leaves.
    pub fn serve(self: &Arc<Self>, pod: &Arc<Pod>, listeners: Listeners) {
        self.pods.add(pod);
        for listener in listeners.outbound {
            let (proxy, at) = (Arc::clone(self), Arc::clone(pod));
            tokio::spawn(accept(place(pod), listener, move |arrival| {
                tokio::spawn(outbound::serve(
                    Arc::clone(&proxy),
                    Arc::clone(&at),
                    arrival,
                ));
            }));
        }
        for listener in listeners.inbound {
            let (proxy, at) = (Arc::clone(self), Arc::clone(pod));
            tokio::spawn(accept(place(pod), listener, move |arrival| {
                tokio::spawn(inbound::serve(Arc::clone(&proxy), Arc::clone(&at), arrival));
            }));
        }
    }
}

fn place(pod: &Pod) -> Place {
    Place {
        name: pod.name.to_string(),
        stop: pod.stop.clone(),
    }
}

#[cfg(test)]
mod tests {
    /// What an idle connection costs is decided here: its task holds this, and every byte counts as often as there
    /// are connections.
    #[test]
    fn an_established_connection_is_small() {
        // With tokio's own 96 bytes this fills three blocks of 128, in which tasks are allocated.
        let task = size_of::<super::serving::Serving>();
        assert!(task <= 288, "{task}");
        // With the counters of its Arc and malloc's word this fills a chunk of 272.
        assert!(size_of::<super::Connection>() <= 248);
    }
}
