//! Pod -> wire: takes plaintext, sends records.

use std::{
    io::{self, IoSliceMut},
    task::{Context, Poll, ready},
};

use rustix::io::readv;
use tokio::net::TcpStream;

use super::{
    Meter, RelayError, Renewal, TURNS,
    buffer::Buffer,
    down::sent_error,
    half_close,
    load::Load,
    socket::{More, read, write},
    wait::Wait,
    wire::kernel_key,
};
use crate::{
    offload::Transmit,
    tls::{
        Sealer,
        record::{CLOSE_NOTIFY, KEY_UPDATE_MESSAGE, MAX_PLAINTEXT, SealError, content},
    },
};

/// Records that are filled with one read. Seven make less than two segments of the largest kind (GSO); eight make
/// two and a bit, which costs more.
const SLOTS: usize = 7;

/// Who seals.
pub(super) enum Sealing {
    /// Nobody: the wire is plaintext, as policy allows.
    Plain,
    User(Box<Sealer>),
    Kernel {
        transmit: Transmit,
        splice: bool,
        /// Whether the kernel can change keys. When it can't, a peer that asks for our next key doesn't get it:
        /// TLS 1.3 demands it (RFC 8446, section 4.6.3), but no implementation insists.
        rekey: bool,
    },
}

/// The direction from the pod to the wire.
pub(super) struct Up {
    sealing: Sealing,
    load: Load,
    phase: Phase,
}

enum Phase {
    Open,
    /// The key is to be changed before anything else is sent.
    Renewal,
    /// The pod is lost: what it said before is passed on, and no farewell, for it said none.
    Last,
    /// Nothing more will be sent: the peer is to be told so, with this alert.
    Farewell([u8; 2]),
    /// The kernel's TLS may still hold records that TCP had no room for.
    Flush(Box<Wait>),
    Shut,
    Ended,
}

impl Up {
    pub(super) fn new(sealing: Sealing) -> Self {
        Self {
            sealing,
            load: Load::Empty,
            phase: Phase::Open,
        }
    }

    /// Ready when the direction has ended in order.
    pub(super) fn poll(
        &mut self,
        cx: &mut Context<'_>,
        local: &TcpStream,
        wire: &TcpStream,
        renewal: &mut Option<Renewal>,
        meter: &impl Meter,
    ) -> Poll<Result<(), RelayError>> {
        for _ in 0..TURNS {
            ready!(self.poll_give(cx, wire))?;
            if matches!(self.phase, Phase::Open) && self.must_renew(wire, renewal.as_ref())? {
                self.phase = Phase::Renewal;
            }
            match &mut self.phase {
                Phase::Renewal => {
                    ready!(self.poll_renew(cx, wire, renewal))?;
                    meter.key_updated();
                    self.phase = Phase::Open;
                }
                Phase::Open | Phase::Last => {
                    let taken = ready!(self.poll_take(cx, local));
                    self.note(taken, meter)?;
                }
                Phase::Farewell(alert) => {
                    let alert = *alert;
                    ready!(self.poll_farewell(cx, wire, alert))?;
                }
                Phase::Flush(wait) => {
                    ready!(wait.poll(cx));
                    if self.is_flushed(wire).map_err(RelayError::Wire)? {
                        self.phase = Phase::Shut;
                    }
                }
                Phase::Shut => {
                    half_close(wire).map_err(RelayError::Wire)?;
                    self.phase = Phase::Ended;
                }
                Phase::Ended => return Poll::Ready(Ok(())),
            }
        }
        // A stream that never waits must not keep its thread from others, nor the other direction from going on.
        cx.waker().wake_by_ref();
        Poll::Pending
    }

    /// The pod is lost: from now on only what it has said is passed on.
    pub(super) fn pod_is_lost(&mut self) {
        // What is left is a few megabytes, and limits are well below what a key can bear.
        if matches!(self.phase, Phase::Open | Phase::Renewal) {
            self.phase = Phase::Last;
        }
    }

    /// The connection is given up, though the pod has not ended: what has been taken from it is still sent, then this
    /// alert. After `close_notify` there is nothing more to say (RFC 8446, section 6.1).
    pub(super) fn tell(&mut self, alert: u8) {
        const FATAL: u8 = 2;
        match self.phase {
            Phase::Open | Phase::Renewal | Phase::Last | Phase::Farewell(_) => {
                self.phase = Phase::Farewell([FATAL, alert]);
            }
            Phase::Flush(_) | Phase::Shut | Phase::Ended => {}
        }
    }

    /// Carries what was taken.
    fn note(
        &mut self,
        taken: Result<Option<Load>, RelayError>,
        meter: &impl Meter,
    ) -> Result<(), RelayError> {
        let last = matches!(self.phase, Phase::Last);
        match taken {
            Ok(Some(load)) => {
                meter.up(load.content() as u64);
                self.load = load;
            }
            Ok(None) if !last => self.phase = Phase::Farewell(CLOSE_NOTIFY),
            Ok(None) => self.phase = Phase::Ended,
            Err(error) => {
                self.phase = Phase::Ended;
                return if last { Ok(()) } else { Err(error) };
            }
        }
        Ok(())
    }

    /// Whether TCP has all that was sealed.
    pub(super) fn is_flushed(&self, wire: &TcpStream) -> io::Result<bool> {
        match &self.sealing {
            Sealing::Kernel { transmit, .. } => transmit.is_flushed(wire),
            Sealing::Plain | Sealing::User(_) => Ok(true),
        }
    }

    /// Whether it waits for the pod to say something, and so hears of a reset.
    pub(super) fn is_reading(&self) -> bool {
        matches!(self.phase, Phase::Open) && self.load.is_empty()
    }

    fn poll_give(
        &mut self,
        cx: &mut Context<'_>,
        wire: &TcpStream,
    ) -> Poll<Result<(), RelayError>> {
        let Self { sealing, load, .. } = self;
        while !load.is_empty() {
            let mut give = || {
                let given = load.give(wire);
                if let Sealing::Kernel {
                    transmit, splice, ..
                } = sealing
                {
                    match &given {
                        Ok(bytes) => transmit.count(*bytes),
                        Err(_) if *splice => transmit.push(wire),
                        Err(_) => {}
                    }
                }
                given.map(drop)
            };
            ready!(write(cx, wire, &mut give)).map_err(sent_error)?;
        }
        Poll::Ready(Ok(()))
    }

    fn poll_take(
        &mut self,
        cx: &mut Context<'_>,
        local: &TcpStream,
    ) -> Poll<Result<Option<Load>, RelayError>> {
        let more = More::unless(matches!(self.phase, Phase::Last));
        let splice = match &mut self.sealing {
            Sealing::Plain => false,
            Sealing::Kernel { splice, .. } => *splice,
            Sealing::User(sealer) => {
                let filled = ready!(read(cx, local, more, || fill(local, sealer)));
                return Poll::Ready(seal(sealer, filled.map_err(RelayError::Local)?));
            }
        };
        let load = ready!(read(cx, local, more, || Load::take(local, splice)));
        Poll::Ready(load.map_err(RelayError::Local))
    }

    /// Whether the key must be changed: it is used up, or the peer has asked for another.
    fn must_renew(
        &mut self,
        wire: &TcpStream,
        renewal: Option<&Renewal>,
    ) -> Result<bool, RelayError> {
        let (used_up, renewable) = match &mut self.sealing {
            Sealing::Plain => return Ok(false),
            Sealing::User(sealer) => (sealer.is_used_up(), true),
            Sealing::Kernel {
                transmit, rekey, ..
            } => {
                let used_up = transmit.is_used_up(wire).map_err(RelayError::Wire)?;
                (used_up, *rekey)
            }
        };
        match renewal {
            Some(renewal) if renewable => Ok(used_up || renewal.requested),
            _ if used_up => Err(SealError::KeyUsedUp.into()),
            _ => Ok(false),
        }
    }

    fn poll_renew(
        &mut self,
        cx: &mut Context<'_>,
        wire: &TcpStream,
        renewal: &mut Option<Renewal>,
    ) -> Poll<Result<(), RelayError>> {
        let renewal = renewal.as_mut().ok_or(SealError::KeyUsedUp)?;
        match &mut self.sealing {
            Sealing::Plain => {}
            Sealing::User(sealer) => {
                let record = sealer.key_update(&mut renewal.schedule)?;
                self.load = Load::copy_of(&record, 0);
            }
            Sealing::Kernel { transmit, .. } => {
                let update = || transmit.record(wire, content::HANDSHAKE, &KEY_UPDATE_MESSAGE);
                ready!(write(cx, wire, update)).map_err(RelayError::Wire)?;
                let secret = renewal.schedule.next_tx().map_err(SealError::from)?;
                transmit.renew(wire, &kernel_key(&secret)?)?;
            }
        }
        renewal.requested = false;
        Poll::Ready(Ok(()))
    }

    fn poll_farewell(
        &mut self,
        cx: &mut Context<'_>,
        wire: &TcpStream,
        alert: [u8; 2],
    ) -> Poll<Result<(), RelayError>> {
        self.phase = match &mut self.sealing {
            Sealing::Plain => Phase::Shut,
            Sealing::User(sealer) => {
                let record = sealer.control(content::ALERT, &alert)?;
                self.load = Load::copy_of(&record, 0);
                Phase::Shut
            }
            Sealing::Kernel { transmit, .. } => {
                let farewell = || transmit.record(wire, content::ALERT, &alert);
                ready!(write(cx, wire, farewell)).map_err(RelayError::Wire)?;
                Phase::Flush(Box::default())
            }
        };
        Poll::Ready(Ok(()))
    }
}

/// Reads plaintext to where the record layer wants it: no copy between the socket and the cipher.
fn fill(local: &TcpStream, sealer: &Sealer) -> io::Result<(Buffer, usize)> {
    let mut buffer = Buffer::take();
    let (slot, offset) = (sealer.slot(), sealer.payload_offset());
    let mut slots = buffer.chunks_exact_mut(slot);
    let mut payloads: [IoSliceMut<'_>; SLOTS] = std::array::from_fn(|_| {
        let slot = slots.next().unwrap_or_default();
        IoSliceMut::new(
            slot.get_mut(offset..offset + MAX_PLAINTEXT)
                .unwrap_or_default(),
        )
    });
    let filled = readv(local, &mut payloads)?;
    Ok((buffer, filled))
}

/// Nothing filled is the end of the stream.
fn seal(
    sealer: &mut Sealer,
    (mut buffer, filled): (Buffer, usize),
) -> Result<Option<Load>, RelayError> {
    if filled == 0 {
        return Ok(None);
    }
    let sealed = sealer.seal_slots(&mut buffer, filled)?;
    Ok(Some(Load::bytes(buffer, sealed, filled)))
}
