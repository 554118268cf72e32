//! Wire -> pod: takes records, sends plaintext.

use std::{
    io, mem,
    task::{Context, Poll, ready},
};

use tokio::net::TcpStream;

use super::{
    Meter, RelayError, Renewal, TURNS,
    buffer::Buffer,
    ciphertext::{Ciphertext, Taken},
    half_close,
    load::Load,
    socket::{More, read, write},
    wire::kernel_key,
};
use crate::{
    offload::{Pipe, Receive},
    tls::record::{Control, Messages, RecordError, content},
};

/// Who opens.
pub(super) enum Opening {
    /// Nobody: the wire is plaintext, as policy allows.
    Plain,
    User(Box<Ciphertext>),
    Kernel {
        receive: Receive,
        splice: bool,
        messages: Messages,
    },
}

/// The direction from the wire to the pod.
pub(super) struct Down {
    opening: Opening,
    load: Load,
    phase: Phase,
}

enum Phase {
    Open,
    /// The peer is lost: what it said before is passed on, and that it ended only if it said so.
    Last,
    /// The peer has ended its direction.
    Ending,
    Ended,
}

impl Down {
    /// `received` has been read from the wire already and is passed on first.
    pub(super) fn new(opening: Opening, received: &[u8]) -> Self {
        Self {
            opening,
            load: if received.is_empty() {
                Load::Empty
            } else {
                Load::copy_of(received, received.len())
            },
            phase: Phase::Open,
        }
    }

    /// Bytes that it carries before it is polled for the first time.
    pub(super) fn received(&self) -> u64 {
        self.load.content() as u64
    }

    /// Ready when the direction has ended in order. After an error of the wire it may still carry what came before:
    /// being polled again it passes that on.
    pub(super) fn poll(
        &mut self,
        cx: &mut Context<'_>,
        wire: &TcpStream,
        local: &TcpStream,
        renewal: &mut Option<Renewal>,
        meter: &impl Meter,
    ) -> Poll<Result<(), RelayError>> {
        for _ in 0..TURNS {
            while !self.load.is_empty() {
                ready!(write(cx, local, || self.load.give(local))).map_err(RelayError::Local)?;
            }
            match self.phase {
                Phase::Open | Phase::Last => {
                    let taken = ready!(self.poll_take(cx, wire, renewal));
                    let noted = self.note(taken, wire, renewal);
                    meter.down(self.load.content() as u64);
                    if let Err(error) = noted
                        && let Phase::Open = mem::replace(&mut self.phase, Phase::Ended)
                    {
                        return Poll::Ready(Err(error));
                    }
                }
                Phase::Ending => {
                    half_close(local).map_err(RelayError::Local)?;
                    self.phase = Phase::Ended;
                }
                Phase::Ended => return Poll::Ready(Ok(())),
            }
        }
        cx.waker().wake_by_ref();
        Poll::Pending
    }

    /// The peer is lost: from now on only what it has said is passed on.
    pub(super) fn peer_is_lost(&mut self) {
        if matches!(self.phase, Phase::Open) {
            self.phase = Phase::Last;
        }
    }

    /// Whether it waits for the peer to say something, and so hears of a reset.
    pub(super) fn is_reading(&self) -> bool {
        matches!(self.phase, Phase::Open) && self.load.is_empty()
    }

    /// Whether the kernel may stop the stream without making the socket readable (`tls_err_abort`).
    pub(super) fn fails_silently(&self) -> bool {
        matches!(self.opening, Opening::Kernel { .. })
    }

    fn poll_take(
        &mut self,
        cx: &mut Context<'_>,
        wire: &TcpStream,
        renewal: &mut Option<Renewal>,
    ) -> Poll<Result<Taken, RelayError>> {
        let more = More::unless(matches!(self.phase, Phase::Last));
        match &mut self.opening {
            Opening::Plain => {
                let load = ready!(read(cx, wire, more, || Load::take(wire, false)));
                Poll::Ready(match load {
                    Ok(Some(load)) => Ok(Taken::Load(load)),
                    Ok(None) if matches!(self.phase, Phase::Open) => {
                        Ok(Taken::Control(Control::CloseNotify))
                    }
                    // Lost: its error has been taken from the socket already.
                    Ok(None) => Err(RelayError::Truncated),
                    Err(error) => Err(RelayError::Wire(error)),
                })
            }
            Opening::User(ciphertext) => ciphertext.poll_take(cx, wire, more, renewal),
            Opening::Kernel {
                receive,
                splice,
                messages,
            } => {
                let splice = *splice;
                let taken = ready!(read(cx, wire, more, || take_opened(receive, wire, splice)));
                let taken = taken.map_err(received_error);
                Poll::Ready(taken.and_then(|opened| opened.meaning(messages)))
            }
        }
    }

    /// Carries what was taken, and does what a control record asks for.
    fn note(
        &mut self,
        taken: Result<Taken, RelayError>,
        wire: &TcpStream,
        renewal: &mut Option<Renewal>,
    ) -> Result<(), RelayError> {
        match taken? {
            Taken::Load(load) => self.load = load,
            Taken::Last(load, error) => {
                self.load = load;
                return Err(error);
            }
            Taken::LastInOrder(load) => {
                self.load = load;
                self.phase = Phase::Ending;
            }
            Taken::Control(Control::Nothing) => {}
            Taken::Control(Control::CloseNotify) => self.phase = Phase::Ending,
            Taken::Control(Control::Alert(alert)) => return Err(RelayError::Alert(alert)),
            Taken::Control(Control::KeyUpdate { asks }) => self.renew(asks, wire, renewal)?,
        }
        Ok(())
    }

    /// Follows the peer to its next key.
    fn renew(
        &mut self,
        asks: bool,
        wire: &TcpStream,
        renewal: &mut Option<Renewal>,
    ) -> Result<(), RelayError> {
        let Some(renewal) = renewal else {
            return Err(RelayError::KeyUpdate);
        };
        match &mut self.opening {
            // The record layer has done it already.
            Opening::Plain | Opening::User(_) => {}
            Opening::Kernel { receive, .. } => {
                let secret = renewal.schedule.next_rx().map_err(RecordError::from)?;
                receive.renew(wire, &kernel_key(&secret)?)?;
            }
        }
        renewal.requested |= asks;
        Ok(())
    }
}

/// What the kernel has opened.
enum Opened {
    Load(Load),
    Record {
        kind: u8,
        buffer: Buffer,
        length: usize,
    },
    /// TCP has ended.
    End,
}

impl Opened {
    fn meaning(self, messages: &mut Messages) -> Result<Taken, RelayError> {
        match self {
            Self::Load(load) => {
                messages.expect_data()?;
                Ok(Taken::Load(load))
            }
            Self::Record {
                kind: content::APPLICATION_DATA,
                buffer,
                length,
            } => {
                messages.expect_data()?;
                Ok(Taken::Load(Load::bytes(buffer, length, length)))
            }
            Self::Record {
                kind,
                buffer,
                length,
            } => Ok(Taken::Control(messages.control(
                kind,
                &buffer[..length],
                true,
            )?)),
            Self::End => Err(RelayError::Truncated),
        }
    }
}

/// Takes what the kernel has opened: data through a pipe if asked to and as long as there are pipes, everything
/// else through a buffer.
fn take_opened(receive: &Receive, from: &TcpStream, splice: bool) -> io::Result<Opened> {
    let mut control_ahead = false;
    if splice && let Some(mut pipe) = Pipe::take() {
        match pipe.fill(from) {
            // Also what a record without data gives: reading tells that from the end.
            Ok(0) => pipe.give_back(),
            Ok(_) => return Ok(Opened::Load(Load::Pipe(pipe))),
            Err(error) => {
                pipe.give_back();
                control_ahead = error.raw_os_error() == Some(libc::EINVAL);
                if !control_ahead {
                    return Err(error);
                }
            }
        }
    }
    let mut buffer = Buffer::take();
    match receive.record(from, &mut buffer) {
        Ok(Some((kind, length))) => Ok(Opened::Record {
            kind,
            buffer,
            length,
        }),
        Ok(None) => Ok(Opened::End),
        // There was no control record after all: the kernel has given up on the stream.
        Err(error) if control_ahead && error.kind() == io::ErrorKind::WouldBlock => {
            Err(io::Error::from_raw_os_error(libc::EINVAL))
        }
        Err(error) => Err(error),
    }
}

/// What the sending half says when the receiving one has given up on the stream: the socket has one error for both.
/// `EINVAL` is its own here.
pub(super) fn sent_error(error: io::Error) -> RelayError {
    match error.raw_os_error() {
        Some(libc::EINVAL) => RelayError::Wire(error),
        _ => received_error(error),
    }
}

/// What net/tls says of a record, in the words of the record layer.
pub(super) fn received_error(error: io::Error) -> RelayError {
    match error.raw_os_error() {
        Some(libc::EBADMSG) => RecordError::Decrypt.into(),
        Some(libc::EMSGSIZE) => RecordError::Oversized.into(),
        Some(libc::EINVAL) => RecordError::Malformed.into(),
        _ => RelayError::Wire(error),
    }
}
