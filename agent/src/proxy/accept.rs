//! The accept loop of one listener.

use std::{net::SocketAddr, sync::Arc, time::Duration};

use tokio::{
    net::{TcpListener, TcpStream},
    task::JoinHandle,
};

use super::{
    Proxy,
    close::{arm_reset, reset},
    dial::canonical,
};
use crate::capture::Pod;

/// An accepted connection with both of its addresses, IPv4 as IPv4.
pub(super) struct Arrival {
    pub(super) stream: TcpStream,
    pub(super) peer: SocketAddr,
    pub(super) local: SocketAddr,
}

/// Pause after accept failed for want of descriptors or memory.
const BACK_OFF: Duration = Duration::from_millis(100);

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
        // In every phase: until it is served to its end, the client must not read an end.
        if let Err(error) = arm_reset(&stream) {
            tracing::warn!(workload = %pod.name, %error, "can't serve a connection safely: it is reset");
            return reset(stream);
        }
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
                Err(error) if is_transient(&error) => {}
                Err(error) => {
                    tracing::warn!(workload = %pod.name, %error, "can't accept");
                    tokio::select! {
                        () = tokio::time::sleep(BACK_OFF) => {}
                        () = pod.stop.cancelled() => break,
                    }
                }
            },
            () = pod.stop.cancelled() => break,
        }
    }
}

fn is_transient(error: &std::io::Error) -> bool {
    use std::io::ErrorKind::{ConnectionAborted, ConnectionReset, Interrupted};
    matches!(
        error.kind(),
        ConnectionAborted | ConnectionReset | Interrupted
    )
}
