//! The accept loop of one listener.

use std::{net::SocketAddr, time::Duration};

use tokio::net::{TcpListener, TcpStream};
use tokio_util::sync::CancellationToken;

use super::{
    close::{arm_reset, reset},
    dial::canonical,
};

/// An accepted connection with both of its addresses, IPv4 as IPv4.
pub(super) struct Arrival {
    pub(super) stream: TcpStream,
    pub(super) peer: SocketAddr,
    pub(super) local: SocketAddr,
}

/// Where connections arrive.
pub(super) struct Place {
    /// For the log.
    pub(super) name: String,
    /// Cancelled when it is no more.
    pub(super) stop: CancellationToken,
}

/// Pause after accept failed for want of descriptors or memory.
const BACK_OFF: Duration = Duration::from_millis(100);

/// Accepts until the place is gone, then takes what the backlog still holds: those clients were told that they
/// are connected.
pub(super) async fn accept(
    Place { name, stop }: Place,
    listener: TcpListener,
    serve: impl Fn(Arrival),
) {
    let take = |stream: TcpStream, peer: SocketAddr| {
        // Gone again already: nothing to serve.
        let Ok(local) = stream.local_addr() else {
            return;
        };
        // In every phase: until it is served to its end, the client must not read an end.
        if let Err(error) = arm_reset(&stream) {
            tracing::warn!(at = name, %error, "can't serve a connection safely: it is reset");
            return reset(stream);
        }
        let arrival = Arrival {
            stream,
            peer: canonical(peer),
            local: canonical(local),
        };
        serve(arrival);
    };
    loop {
        tokio::select! {
            biased;
            accepted = listener.accept() => match accepted {
                Ok((stream, peer)) => take(stream, peer),
                Err(error) if is_transient(&error) => {}
                Err(error) => {
                    tracing::warn!(at = name, %error, "can't accept");
                    tokio::select! {
                        () = tokio::time::sleep(BACK_OFF) => {}
                        () = stop.cancelled() => break,
                    }
                }
            },
            () = stop.cancelled() => break,
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
