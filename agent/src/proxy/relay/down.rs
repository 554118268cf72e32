//! Wire -> pod: takes records, sends plaintext.

use std::{
    io, mem,
    task::{Context, Poll, ready},
};

use tokio::net::TcpStream;

use super::{
    RelayError, Renewal,
    buffer::Buffer,
    ciphertext::{Ciphertext, Taken},
    half_close,
    load::Load,
    socket::{read, write},
};
use crate::{
    offload::{Key, Pipe, Receive},
    tls::record::{Control, RecordError, content, control},
};

/// Who opens.
pub(super) enum Opening {
    /// Nobody: the wire is plaintext, as policy allows.
    Plain,
    User(Box<Ciphertext>),
    Kernel {
        receive: Receive,
        splice: bool,
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
    /// The peer has ended its direction.
    Ending,
    /// What came before the error is passed on first.
    Failing(RelayError),
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

    /// Ready when the direction has ended in order.
    pub(super) fn poll(
        &mut self,
        cx: &mut Context<'_>,
        wire: &TcpStream,
        local: &TcpStream,
        renewal: &mut Option<Box<Renewal>>,
        count: impl Fn(u64),
    ) -> Poll<Result<(), RelayError>> {
        loop {
            while !self.load.is_empty() {
                ready!(write(cx, local, || self.load.give(local))).map_err(RelayError::Local)?;
            }
            match &mut self.phase {
                Phase::Open => {
                    let taken = ready!(self.poll_take(cx, wire, renewal));
                    self.note(taken, wire, renewal);
                    count(self.load.content() as u64);
                }
                Phase::Ending => {
                    half_close(local).map_err(RelayError::Local)?;
                    self.phase = Phase::Ended;
                }
                phase @ Phase::Failing(_) => {
                    if let Phase::Failing(error) = mem::replace(phase, Phase::Ended) {
                        return Poll::Ready(Err(error));
                    }
                }
                Phase::Ended => return Poll::Ready(Ok(())),
            }
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
        renewal: &mut Option<Box<Renewal>>,
    ) -> Poll<Result<Taken, RelayError>> {
        match &mut self.opening {
            Opening::Plain => {
                let load = ready!(read(cx, wire, || Load::take(wire, false)));
                Poll::Ready(match load {
                    Ok(Some(load)) => Ok(Taken::Load(load)),
                    Ok(None) => Ok(Taken::Control(Control::CloseNotify)),
                    Err(error) => Err(RelayError::Wire(error)),
                })
            }
            Opening::User(ciphertext) => ciphertext.poll_take(cx, wire, renewal),
            Opening::Kernel { receive, splice } => {
                let splice = *splice;
                let taken = ready!(read(cx, wire, || take_opened(receive, wire, splice)));
                Poll::Ready(taken.map_err(received_error).and_then(Opened::meaning))
            }
        }
    }

    /// Carries what was taken, and does what a control record asks for.
    fn note(
        &mut self,
        taken: Result<Taken, RelayError>,
        wire: &TcpStream,
        renewal: &mut Option<Box<Renewal>>,
    ) {
        let done = taken.and_then(|taken| match taken {
            Taken::Load(load) => {
                self.load = load;
                Ok(())
            }
            Taken::Last(load, error) => {
                self.load = load;
                Err(error)
            }
            Taken::LastInOrder(load) => {
                self.load = load;
                self.phase = Phase::Ending;
                Ok(())
            }
            Taken::Control(Control::Nothing) => Ok(()),
            Taken::Control(Control::CloseNotify) => {
                self.phase = Phase::Ending;
                Ok(())
            }
            Taken::Control(Control::Alert(alert)) => Err(RelayError::Alert(alert)),
            Taken::Control(Control::KeyUpdate { asks }) => self.renew(asks, wire, renewal),
        });
        if let Err(error) = done {
            self.phase = Phase::Failing(error);
        }
    }

    /// Follows the peer to its next key.
    fn renew(
        &mut self,
        asks: bool,
        wire: &TcpStream,
        renewal: &mut Option<Box<Renewal>>,
    ) -> Result<(), RelayError> {
        let Some(renewal) = renewal else {
            return Err(RelayError::KeyUpdate);
        };
        match &mut self.opening {
            // The record layer has done it already.
            Opening::Plain | Opening::User(_) => {}
            Opening::Kernel { receive, .. } => {
                let secret = renewal.schedule.next_rx().map_err(RecordError::from)?;
                receive.renew(wire, &Key::new(renewal.suite, secret)?)?;
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
    fn meaning(self) -> Result<Taken, RelayError> {
        match self {
            Self::Load(load) => Ok(Taken::Load(load)),
            Self::Record {
                kind: content::APPLICATION_DATA,
                buffer,
                length,
            } => Ok(Taken::Load(Load::bytes(buffer, length, length))),
            Self::Record {
                kind,
                buffer,
                length,
            } => Ok(Taken::Control(control(kind, &buffer[..length], true)?)),
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

/// What net/tls says of a record, in the words of the record layer.
pub(super) fn received_error(error: io::Error) -> RelayError {
    match error.raw_os_error() {
        Some(libc::EBADMSG) => RecordError::Decrypt.into(),
        Some(libc::EMSGSIZE) => RecordError::Oversized.into(),
        Some(libc::EINVAL) => RecordError::Malformed.into(),
        _ => RelayError::Wire(error),
    }
}
