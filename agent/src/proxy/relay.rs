//! Moves bytes between the pod's socket and the wire until both directions have ended.
//!
//! Exact in what it passes on: a half-close as a half-close, a reset as a reset, back-pressure as
//! back-pressure. A TLS peer that ends without `close_notify` was cut off, and the application sees a reset.
//! A [`Relay`] is one value: two sockets, what each direction carries, and the state of the records. Buffers and
//! pipes are taken when there is something to move and given back when there is nothing: an idle connection
//! holds none. When descriptors run out there are no more pipes, and bytes are copied.

mod buffer;
mod ciphertext;
mod down;
mod load;
mod socket;
mod up;
mod wire;

use std::{
    future::poll_fn,
    io,
    task::{Context, Poll},
};

use rustls::SupportedCipherSuite;
use tokio::net::TcpStream;

use super::close::{arm_reset, disarm_reset, half_close};
use crate::{
    offload::InstallError,
    tls::{
        Schedule,
        record::{Alert, CLOSE_NOTIFY, RecordError, SealError},
    },
};
use down::{Down, received_error};
use up::Up;
pub(super) use wire::{Halves, Received, Wire};

/// Everything that an established connection is: another process could take it over.
pub(super) struct Relay {
    /// The pod's side: the client's socket outbound, the application's inbound. Always plaintext.
    local: TcpStream,
    wire: TcpStream,
    up: Up,
    down: Down,
    renewal: Option<Box<Renewal>>,
}

/// What it takes to change keys; absent where they can't be changed.
struct Renewal {
    suite: SupportedCipherSuite,
    schedule: Schedule,
    /// The peer wants our next key before our next data.
    requested: bool,
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
    #[error("the peer changed its key, which this kernel can't follow")]
    KeyUpdate,
    #[error("the peer broke the protocol: {0}")]
    Record(#[from] RecordError),
    #[error(transparent)]
    Seal(#[from] SealError),
    #[error("key update: {0}")]
    Install(#[from] InstallError),
}

/// Runs until both directions have ended, or `cut` is ready.
///
/// # Errors
/// When it did not end in order; `Ok(Some(_))` is what `cut` said.
pub(super) async fn run<C>(
    mut relay: Relay,
    meter: &impl Meter,
    cut: impl Fn(&mut Context<'_>) -> Poll<C>,
) -> Result<Option<C>, RelayError> {
    arm_reset(&relay.local);
    arm_reset(&relay.wire);
    meter.down(relay.down.received());
    let outcome = poll_fn(|cx| match cut(cx) {
        Poll::Ready(reason) => Poll::Ready(Ok(Some(reason))),
        Poll::Pending => relay.poll(cx, meter).map_ok(|()| None),
    })
    .await;
    relay.finish(&outcome);
    outcome
}

impl Relay {
    pub(super) fn new(local: TcpStream, wire: Wire) -> Self {
        let Wire {
            stream,
            sealing,
            opening,
            renewal,
            received,
        } = wire;
        Self {
            local,
            wire: stream,
            up: Up::new(sealing),
            down: Down::new(opening, &received),
            renewal,
        }
    }

    fn poll(&mut self, cx: &mut Context<'_>, meter: &impl Meter) -> Poll<Result<(), RelayError>> {
        let Self {
            local,
            wire,
            up,
            down,
            renewal,
        } = self;
        let up_ended = up
            .poll(cx, local, wire, renewal, |bytes| meter.up(bytes))?
            .is_ready();
        let down_ended = down
            .poll(cx, wire, local, renewal, |bytes| meter.down(bytes))?
            .is_ready();
        if up_ended && down_ended {
            return Poll::Ready(Ok(()));
        }
        if !up.is_reading()
            && let Poll::Ready(error) = socket::broken(cx, local)
        {
            return Poll::Ready(Err(RelayError::Local(error)));
        }
        if (!down.is_reading() || down.fails_silently())
            && let Poll::Ready(error) = socket::broken(cx, wire)
        {
            return Poll::Ready(Err(received_error(error)));
        }
        Poll::Pending
    }

    /// Leaves the sockets as they must end when they are dropped.
    fn finish<C>(&mut self, outcome: &Result<Option<C>, RelayError>) {
        let fatal = 2;
        match outcome {
            Ok(None) => {
                disarm_reset(&self.local);
                disarm_reset(&self.wire);
            }
            Err(RelayError::Record(error)) => {
                self.up.last_word(&self.wire, [fatal, error.alert()]);
            }
            // Nobody did anything wrong: the peer sees an orderly end, the pod that something is missing.
            Err(RelayError::KeyUpdate | RelayError::Seal(SealError::KeyUsedUp)) => {
                self.up.last_word(&self.wire, CLOSE_NOTIFY);
                disarm_reset(&self.wire);
            }
            // Dropped armed: both sides see a reset.
            Ok(Some(_)) | Err(_) => {}
        }
    }
}
