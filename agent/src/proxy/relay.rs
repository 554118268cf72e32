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

use super::close::{arm_reset, disarm_reset, half_close, reset};
use crate::{
    offload::InstallError,
    tls::{
        Schedule,
        record::{Alert, RecordError, SealError},
    },
};
use down::{Down, received_error};
use parting::{Parting, Remains};
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
    renewal: Option<Renewal>,
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

/// Why a connection did not end in order. Both sides see that it did not: a reset, or an alert.
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
    /// # Errors
    /// When a socket can't be made to end in a reset. Both have been reset.
    pub(super) fn new(local: TcpStream, wire: Wire) -> Result<Self, RelayError> {
        let Wire {
            stream,
            sealing,
            opening,
            renewal,
            received,
        } = wire;
        if let Err(error) = arm_reset(&local).and_then(|()| arm_reset(&stream)) {
            reset(local);
            reset(stream);
            return Err(RelayError::Local(error));
        }
        Ok(Self {
            local,
            wire: stream,
            up: Up::new(sealing),
            down: Down::new(opening, &received),
            renewal,
            parting: None,
        })
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
        match cut {
            // Dropped armed: both sides see a reset.
            Poll::Ready(reason) => Poll::Ready(Ok(Some(reason))),
            Poll::Pending => self.poll(cx, meter).map_ok(|()| None),
        }
    }

    fn poll(&mut self, cx: &mut Context<'_>, meter: &impl Meter) -> Poll<Result<(), RelayError>> {
        let mut parting = match self.parting.take() {
            Some(parting) => parting,
            None => match ready!(self.poll_both(cx, meter)) {
                Ok(()) => match self.disarm() {
                    Some(parting) => parting,
                    None => return Poll::Ready(Ok(())),
                },
                Err(error) => self.part(error),
            },
        };
        if self.poll_rest(cx, meter, &mut parting).is_ready() {
            return Poll::Ready(parting.outcome);
        }
        self.parting = Some(parting);
        Poll::Pending
    }

    /// Both directions have ended in order. A socket that can't be told so must not be closed before it is empty.
    fn disarm(&self) -> Option<Box<Parting>> {
        let [local, wire] = [&self.local, &self.wire].map(|s| disarm_reset(s).is_err());
        (local || wire).then(|| Parting::new(Ok(()), local, wire))
    }

    fn part(&mut self, error: RelayError) -> Box<Parting> {
        let Remains { local, wire } = Remains::after(&error);
        if local {
            self.down.peer_is_lost();
        }
        match wire {
            parting::Wire::Lost => {}
            parting::Wire::There => self.up.pod_is_lost(),
            parting::Wire::Told(alert) => self.up.tell(alert),
        }
        Parting::new(Err(error), local, wire != parting::Wire::Lost)
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

    /// Ready when both sides have what they are owed.
    fn poll_rest(
        &mut self,
        cx: &mut Context<'_>,
        meter: &impl Meter,
        parting: &mut Parting,
    ) -> Poll<()> {
        loop {
            if let Some(debt) = &mut parting.local {
                let given = self.poll_down(cx, meter).map_ok(|()| true);
                if debt.is_settled(cx, &self.local, &given) {
                    parting.local = None;
                }
            }
            if let Some(debt) = &mut parting.wire {
                let given = self.poll_up(cx, meter).map(|ended| {
                    ended?;
                    self.up.is_flushed(&self.wire).map_err(RelayError::Wire)
                });
                if debt.is_settled(cx, &self.wire, &given) {
                    parting.wire = None;
                }
            }
            if parting.local.is_none() && parting.wire.is_none() {
                return Poll::Ready(());
            }
            ready!(parting.wait.poll(cx));
        }
    }
}
