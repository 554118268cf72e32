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
mod parting;
mod socket;
mod up;
mod wait;
mod wire;

use std::{
    io,
    task::{Context, Poll, ready},
};

use tokio::net::TcpStream;

use super::close::{arm_reset, disarm_reset, half_close};
use crate::{
    offload::InstallError,
    tls::{
        Schedule,
        record::{Alert, INTERNAL_ERROR, RecordError, SealError},
    },
};
use down::{Down, received_error};
use parting::{Parting, Survivor};
use up::Up;
pub(super) use wire::{Halves, Received, Wire, kernel_key};

/// Loads that a direction moves before others have their turn.
const TURNS: usize = 16;

/// Everything that an established connection is: another process could take it over.
pub(super) struct Relay {
    /// The pod's side: the client's socket outbound, the application's inbound. Always plaintext.
    local: TcpStream,
    wire: TcpStream,
    up: Up,
    down: Down,
    renewal: Option<Box<Renewal>>,
    parting: Option<Box<Parting>>,
}

/// What it takes to change keys; absent where they can't be changed.
struct Renewal {
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
    /// What is sent has the next key.
    fn key_updated(&self);
}

/// Why a connection did not end in order. The pod's side has been reset, and the wire unless it could be ended in
/// order.
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

impl Relay {
    pub(super) fn new(local: TcpStream, wire: Wire) -> Self {
        let Wire {
            stream,
            sealing,
            opening,
            renewal,
            received,
        } = wire;
        arm_reset(&local);
        arm_reset(&stream);
        Self {
            local,
            wire: stream,
            up: Up::new(sealing),
            down: Down::new(opening, &received),
            renewal,
            parting: None,
        }
    }

    /// Bytes from the wire that it has been given to pass on.
    pub(super) fn received(&self) -> u64 {
        self.down.received()
    }

    /// Ready when both directions have ended, or when `cut` is: the sockets are then as they must be when they
    /// are dropped, which is to be done at once.
    ///
    /// # Errors
    /// When it did not end in order; `Ok(Some(_))` is what `cut` said.
    pub(super) fn poll_run<C>(
        &mut self,
        cx: &mut Context<'_>,
        meter: &impl Meter,
        cut: Poll<C>,
    ) -> Poll<Result<Option<C>, RelayError>> {
        let outcome = match cut {
            Poll::Ready(reason) => Ok(Some(reason)),
            Poll::Pending => ready!(self.poll(cx, meter)).map(|()| None),
        };
        self.finish(&outcome);
        Poll::Ready(outcome)
    }

    fn poll(&mut self, cx: &mut Context<'_>, meter: &impl Meter) -> Poll<Result<(), RelayError>> {
        if self.parting.is_none() {
            let Err(error) = ready!(self.poll_both(cx, meter)) else {
                return Poll::Ready(Ok(()));
            };
            let parting = Parting::after(error)?;
            match parting.survivor {
                Survivor::Local => self.down.peer_is_lost(),
                Survivor::Wire => self.up.pod_is_lost(),
            }
            self.parting = Some(parting);
        }
        if let Some(mut parting) = self.parting.take() {
            if self.poll_rest(cx, meter, &mut parting).is_ready() {
                return Poll::Ready(Err(parting.error));
            }
            self.parting = Some(parting);
        }
        Poll::Pending
    }

    fn poll_both(
        &mut self,
        cx: &mut Context<'_>,
        meter: &impl Meter,
    ) -> Poll<Result<(), RelayError>> {
        let up = self.poll_up(cx, meter);
        let down = self.poll_down(cx, meter);
        // An alert tells more than that the peer takes nothing any more.
        let (down_ended, up_ended) = (down?.is_ready(), up?.is_ready());
        if up_ended && down_ended {
            return Poll::Ready(Ok(()));
        }
        if !self.up.is_reading()
            && let Poll::Ready(error) = socket::broken(cx, &self.local)
        {
            return Poll::Ready(Err(RelayError::Local(error)));
        }
        if (!self.down.is_reading() || self.down.fails_silently())
            && let Poll::Ready(error) = socket::broken(cx, &self.wire)
        {
            return Poll::Ready(Err(received_error(error)));
        }
        Poll::Pending
    }

    fn poll_up(
        &mut self,
        cx: &mut Context<'_>,
        meter: &impl Meter,
    ) -> Poll<Result<(), RelayError>> {
        let renewal = &mut self.renewal;
        self.up.poll(cx, &self.local, &self.wire, renewal, meter)
    }

    fn poll_down(
        &mut self,
        cx: &mut Context<'_>,
        meter: &impl Meter,
    ) -> Poll<Result<(), RelayError>> {
        let renewal = &mut self.renewal;
        self.down.poll(cx, &self.wire, &self.local, renewal, meter)
    }

    /// Ready when the survivor has been given what the other side had said.
    fn poll_rest(
        &mut self,
        cx: &mut Context<'_>,
        meter: &impl Meter,
        parting: &mut Parting,
    ) -> Poll<()> {
        loop {
            let all_given = match parting.survivor {
                Survivor::Local => self.poll_down(cx, meter).map_ok(|()| true),
                Survivor::Wire => self.poll_up(cx, meter).map(|ended| {
                    ended?;
                    self.up.is_flushed(&self.wire).map_err(RelayError::Wire)
                }),
            };
            let survivor = match parting.survivor {
                Survivor::Local => &self.local,
                Survivor::Wire => &self.wire,
            };
            if parting.is_over(cx, survivor, &all_given) {
                return Poll::Ready(());
            }
            ready!(parting.wait.poll(cx));
        }
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
                self.up.alert(&self.wire, [fatal, error.alert()]);
            }
            // Nobody did anything wrong. Where nothing is on its way the peer sees an orderly end; else an error, for
            // it must not take the cut for the end of the data.
            Err(RelayError::KeyUpdate | RelayError::Seal(SealError::KeyUsedUp)) => {
                if self.up.close(&self.local, &self.wire) {
                    disarm_reset(&self.wire);
                } else {
                    self.up.alert(&self.wire, [fatal, INTERNAL_ERROR]);
                }
            }
            // Dropped armed: both sides see a reset.
            Ok(Some(_)) | Err(_) => {}
        }
    }
}
