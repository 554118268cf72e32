//! Records that userspace opens: what has been read from the wire and is not a whole record yet.

use std::{
    io,
    task::{Context, Poll},
};

use rustix::net::{RecvFlags, recv};
use tokio::net::TcpStream;

use super::{
    RelayError, Renewal,
    buffer::{Buffer, SIZE},
    load::Load,
    socket::{More, read},
};
use crate::tls::{
    Opener,
    record::{Control, MAX_RECORD, Opened, RecordError},
};

/// What was taken from the wire.
pub(super) enum Taken {
    Load(Load),
    Control(Control),
    /// Data with an error behind it.
    Last(Load, RelayError),
    /// Data with the peer's `close_notify` behind it.
    LastInOrder(Load),
}

/// The receiving half in userspace.
pub(super) struct Ciphertext {
    opener: Opener,
    /// While something is being read: the buffer, and how much of it is filled.
    input: Option<(Buffer, usize)>,
    /// Otherwise: the beginning of a record that is not whole yet, nearly always nothing.
    partial: Vec<u8>,
    /// The input holds no whole record.
    starved: bool,
}

impl Ciphertext {
    pub(super) fn new(opener: Opener) -> Self {
        Self {
            opener,
            input: None,
            partial: Vec::new(),
            starved: true,
        }
    }

    /// Reads and opens until there is something to tell.
    pub(super) fn poll_take(
        &mut self,
        cx: &mut Context<'_>,
        wire: &TcpStream,
        more: More,
        renewal: &mut Option<Renewal>,
    ) -> Poll<Result<Taken, RelayError>> {
        loop {
            if !self.starved
                && let Some(taken) = self.open(renewal)
            {
                return Poll::Ready(Ok(taken));
            }
            match read(cx, wire, more, || self.read(wire)) {
                Poll::Pending => {
                    self.rest();
                    return Poll::Pending;
                }
                Poll::Ready(Err(error)) => return Poll::Ready(Err(RelayError::Wire(error))),
                Poll::Ready(Ok(0)) => return Poll::Ready(Err(RelayError::Truncated)),
                Poll::Ready(Ok(_)) => self.starved = false,
            }
        }
    }

    fn read(&mut self, wire: &TcpStream) -> io::Result<usize> {
        let partial = &mut self.partial;
        let (buffer, filled) = self.input.get_or_insert_with(|| {
            let mut buffer = Buffer::take();
            buffer[..partial.len()].copy_from_slice(partial);
            let filled = partial.len();
            *partial = Vec::new();
            (buffer, filled)
        });
        let (length, _) = recv(wire, &mut buffer[*filled..], RecvFlags::DONTWAIT)?;
        *filled += length;
        Ok(length)
    }

    /// Gives the buffer back; a record's beginning is kept.
    fn rest(&mut self) {
        if let Some((buffer, filled)) = self.input.take() {
            self.partial = buffer[..filled].to_vec();
        }
    }

    /// Opens whole records until the output is full or something else than data comes. `None`: nothing to tell.
    fn open(&mut self, renewal: &mut Option<Renewal>) -> Option<Taken> {
        let (input, filled) = self.input.as_mut()?;
        let mut output = Buffer::take();
        let (mut used, mut written) = (0, 0);
        let end = loop {
            if SIZE - written < MAX_RECORD {
                break None;
            }
            let opened = self
                .opener
                .open(&input[used..*filled], &mut output[written..]);
            match opened {
                Ok(Opened::Incomplete) => {
                    self.starved = true;
                    break None;
                }
                Ok(Opened::Data { record, length }) => {
                    used += record;
                    written += length;
                }
                Ok(Opened::Control { record, control }) => {
                    used += record;
                    match follow(&mut self.opener, control, renewal) {
                        Ok(Control::Nothing | Control::KeyUpdate { .. }) => {}
                        Ok(control) => break Some(Ok(control)),
                        Err(error) => break Some(Err(error)),
                    }
                }
                Err(error) => break Some(Err(error)),
            }
        };
        input.copy_within(used..*filled, 0);
        *filled -= used;
        let load = Load::bytes(output, written, written);
        match end {
            None if load.is_empty() => None,
            None => Some(Taken::Load(load)),
            Some(Ok(Control::Alert(alert))) => Some(Taken::Last(load, RelayError::Alert(alert))),
            Some(Ok(_)) => Some(Taken::LastInOrder(load)),
            Some(Err(error)) => Some(Taken::Last(load, error.into())),
        }
    }
}

/// A `KeyUpdate` concerns the very next record.
fn follow(
    opener: &mut Opener,
    control: Control,
    renewal: &mut Option<Renewal>,
) -> Result<Control, RecordError> {
    if let Control::KeyUpdate { asks } = control {
        let renewal = renewal.as_mut().ok_or(RecordError::Malformed)?;
        opener.renew(&mut renewal.schedule)?;
        renewal.requested |= asks;
    }
    Ok(control)
}
