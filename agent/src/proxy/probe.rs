//! The kubelet's probes. It speaks no mutual TLS and has no identity, so policy that asks for either would refuse them:
//! those pass where the pod declares them, in clear, and by the kubelet's own sockets only (`capture::Kubelet`).
//!
//! As in Istio, authorization policies don't hold for them: its injector sends probes to the sidecar's agent instead
//! (`rewriteAppHTTPProbers`), which asks the application behind the sidecar's back. There that agent answers whoever asks;
//! here nobody else is heard.

use std::sync::Arc;

use tokio::net::TcpStream;

use super::{
    Proxy,
    connections::{Connection, Session},
    enforce::decision_on,
};
use crate::{capture::Stranger, policy::Verdict, telemetry::ProbeResult, workload::Workload};

/// What a connection without the mesh's TLS is.
pub(super) enum Clear {
    Plaintext,
    /// On a port where pods are probed, and policy refuses all others.
    Probe,
    NotProbe(Stranger),
}

impl Clear {
    pub(super) fn session(&self) -> Session {
        match self {
            Self::Probe => Session::Probe,
            Self::Plaintext | Self::NotProbe(_) => Session::Plaintext,
        }
    }
}

/// Whether the kubelet connects to a workload on this port.
pub(super) fn is_declared(server: &Workload, port: u16) -> bool {
    server.probe_ports.binary_search(&port).is_ok()
}

/// Asks who the client is where that makes a difference: nothing else is proven of it.
pub(super) async fn in_clear(
    proxy: &Proxy,
    server: &Workload,
    connection: &Connection,
    stream: &TcpStream,
) -> Clear {
    let (client, local) = (connection.client, connection.destination);
    // Pods of the cluster have addresses of their own.
    let is_pod = connection.route().is_some_and(|r| r.source.is_some());
    if is_pod || !is_declared(server, local.port()) || is_welcome(proxy, server, connection) {
        return Clear::Plaintext;
    }
    let kubelet = Arc::clone(&proxy.kubelet);
    // A netlink socket waits for the kernel.
    let asked = tokio::task::spawn_blocking(move || kubelet.made(client, local));
    let asked = match asked.await {
        Ok(Ok(())) => still_open(stream),
        Ok(Err(stranger)) => Err(stranger),
        Err(error) => Err(Stranger::Failed(error.into())),
    };
    proxy.metrics.probed(result(&asked));
    match asked {
        Ok(()) => Clear::Probe,
        Err(stranger) => Clear::NotProbe(stranger),
    }
}

fn is_welcome(proxy: &Proxy, server: &Workload, connection: &Connection) -> bool {
    let snapshot = proxy.store.current();
    let decision = decision_on(&snapshot, server, connection, &Session::Plaintext);
    decision.verdict == Verdict::Allow
}

/// The kubelet's socket may belong to a later connection between the same ports. But then the pod's end of this one, which
/// had them before, has been closed: the kernel knows one connection by two ends at a time.
fn still_open(stream: &TcpStream) -> Result<(), Stranger> {
    let peer = stream.peer_addr();
    peer.map(drop).map_err(|_| Stranger::NoSocket)
}

fn result(asked: &Result<(), Stranger>) -> ProbeResult {
    match asked {
        Ok(()) => ProbeResult::Passed,
        Err(Stranger::NoSocket) => ProbeResult::NoSocket,
        Err(Stranger::Other { .. }) => ProbeResult::OtherProcess,
        Err(Stranger::Unknown(_)) => ProbeResult::NoKubelet,
        Err(Stranger::Failed(_)) => ProbeResult::Error,
    }
}
