//! Moves bytes between the pod's socket and the wire until both directions have ended.
//!
//! Exact in what it passes on: a half-close as a half-close, a reset as a reset, back-pressure as
//! back-pressure. A TLS peer that ends without `close_notify` was cut off, and the application sees a reset.
//! Buffers are taken when there is something to move and given back when there is nothing: an idle
//! connection holds none.

mod buffer;
mod plain;
mod secure;

use std::{io, pin::pin};

use futures_util::TryFutureExt as _;
use tokio::{io::Interest, net::TcpStream};

use super::close::{arm_reset, disarm_reset, half_close};
use crate::tls::{
    Keys,
    record::{Alert, RecordError, SealError},
};

/// Everything that an established connection is: another process could take it over.
pub(super) struct Relay {
    /// The pod's side: the client's socket outbound, the application's inbound. Always plaintext.
    pub(super) local: TcpStream,
    pub(super) wire: Wire,
}

/// The side that leaves the pod.
pub(super) enum Wire {
    Plain {
        stream: TcpStream,
        /// Read from the wire already, to be passed on first.
        received: Vec<u8>,
    },
    Tls {
        stream: TcpStream,
        keys: Box<Keys>,
        /// Ciphertext that came behind the handshake.
        received: Vec<u8>,
    },
}

/// Counts what passes.
pub(super) trait Meter {
    /// From the pod to the wire, in bytes of the application.
    fn up(&self, bytes: u64);
    /// From the wire to the pod.
    fn down(&self, bytes: u64);
}

/// Why a connection did not end in order. Both sides have been reset.
#[derive(Debug, thiserror::Error)]
pub enum RelayError {
    #[error("pod: {0}")]
    Local(io::Error),
    #[error("peer: {0}")]
    Wire(io::Error),
    #[error("the peer ended the connection without close_notify")]
    Truncated,
    #[error("the peer sent alert {}", .0.0)]
    Alert(Alert),
    #[error("the peer broke the protocol: {0}")]
    Record(#[from] RecordError),
    #[error(transparent)]
    Seal(#[from] SealError),
}

/// Runs until both directions have ended, or `cut` completes.
///
/// # Errors
/// When it did not end in order; `Ok(Some(_))` is what `cut` said.
pub(super) async fn run<C>(
    relay: Relay,
    meter: &(impl Meter + Sync),
    cut: impl Future<Output = C>,
) -> Result<Option<C>, RelayError> {
    let Relay { local, mut wire } = relay;
    arm_reset(&local);
    arm_reset(wire.stream());
    let outcome = tokio::select! {
        result = transfer(&local, &mut wire, meter) => result.map(|()| None),
        reason = cut => Ok(Some(reason)),
    };
    if matches!(outcome, Ok(None)) {
        disarm_reset(&local);
        disarm_reset(wire.stream());
        return Ok(None);
    }
    if let (Err(RelayError::Record(error)), Wire::Tls { stream, keys, .. }) = (&outcome, &mut wire)
    {
        secure::last_alert(stream, keys, error.alert());
    }
    // Dropped armed: both sides see a reset.
    outcome
}

async fn transfer(
    local: &TcpStream,
    wire: &mut Wire,
    meter: &(impl Meter + Sync),
) -> Result<(), RelayError> {
    match wire {
        Wire::Plain { stream, received } => {
            let received = std::mem::take(received);
            let up = pin!(plain::copy(local, stream, Vec::new(), |n| meter.up(n)));
            let down = pin!(plain::copy(stream, local, received, |n| meter.down(n)));
            let (up, down) = (up.map_err(plain::Side::up), down.map_err(plain::Side::down));
            both(local, stream, up, down).await
        }
        Wire::Tls {
            stream,
            keys,
            received,
        } => {
            let received = std::mem::take(received);
            let (sealer, opener) = keys.split();
            let up = pin!(secure::seal(local, stream, sealer, meter));
            let down = pin!(secure::open(stream, local, opener, received, meter));
            both(local, stream, up, down).await
        }
    }
}

/// Drives both directions. While one goes on after the other has ended, nobody reads from the other's
/// source any more: a reset there would go unnoticed, so it is watched for.
///
/// Takes handles on futures that are pinned elsewhere: an argument that is a future would be kept twice, and
/// every idle connection holds this.
async fn both(
    local: &TcpStream,
    wire: &TcpStream,
    mut up: impl Future<Output = Result<(), RelayError>> + Unpin,
    mut down: impl Future<Output = Result<(), RelayError>> + Unpin,
) -> Result<(), RelayError> {
    tokio::select! {
        result = &mut up => {
            result?;
            tokio::select! {
                result = down => result,
                error = broken(local) => Err(RelayError::Local(error)),
            }
        }
        result = &mut down => {
            result?;
            tokio::select! {
                result = up => result,
                error = broken(wire) => Err(RelayError::Wire(error)),
            }
        }
    }
}

/// Completes when a socket has an error.
async fn broken(stream: &TcpStream) -> io::Error {
    if let Err(error) = stream.ready(Interest::ERROR).await {
        return error;
    }
    match stream.take_error() {
        Ok(Some(error)) | Err(error) => error,
        // Readiness without an error: the socket is closed in both directions, and nothing more can happen
        // to it.
        Ok(None) => std::future::pending().await,
    }
}

impl Wire {
    fn stream(&self) -> &TcpStream {
        match self {
            Self::Plain { stream, .. } | Self::Tls { stream, .. } => stream,
        }
    }

    /// The socket, whatever it carries.
    pub(super) fn into_stream(self) -> TcpStream {
        match self {
            Self::Plain { stream, .. } | Self::Tls { stream, .. } => stream,
        }
    }
}
