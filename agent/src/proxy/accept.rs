//! The accept loop of one listener.

use std::{net::SocketAddr, sync::Arc, time::Duration};

use tokio::{
    net::{TcpListener, TcpStream},
    task::JoinHandle,
};

use super::{Proxy, dial::canonical};
use crate::capture::Pod;

/// An accepted connection with both of its addresses, IPv4 as IPv4.
pub(super) struct Arrival {
    pub(super) stream: TcpStream,
    pub(super) peer: SocketAddr,
    pub(super) local: SocketAddr,
}

/// Pause after accept failed for want of descriptors or memory.
const BACK_OFF: Duration = Duration::from_millis(20);

/// Accepts until the pod leaves, then takes what the backlog still holds: those clients were told that they
/// are connected.
pub(super) async fn accept(
    proxy: Arc<Proxy>,
    pod: Arc<Pod>,
    listener: TcpListener,
    serve: fn(Arc<Proxy>, Arc<Pod>, Arrival) -> JoinHandle<()>,
) {
    let take = |stream: TcpStream, peer: SocketAddr| {
        // Gone again already: nothing to serve.
        let Ok(local) = stream.local_addr() else {
            return;
        };
        let arrival = Arrival {
            stream,
            peer: canonical(peer),
            local: canonical(local),
        };
        serve(Arc::clone(&proxy), Arc::clone(&pod), arrival);
    };
    loop {
        tokio::select! {
            biased;
            accepted = listener.accept() => match accepted {
                Ok((stream, peer)) => take(stream, peer),
                Err(error) => pause_after(&pod, &error).await,
            },
            () = pod.stop.cancelled() => break,
        }
    }
}

async fn pause_after(pod: &Pod, error: &std::io::Error) {
    use std::io::ErrorKind::{ConnectionAborted, ConnectionReset, Interrupted};
    if matches!(
        error.kind(),
        ConnectionAborted | ConnectionReset | Interrupted
    ) {
        return;
    }
    tracing::warn!(workload = %pod.name, %error, "can't accept");
    tokio::time::sleep(BACK_OFF).await;
}
