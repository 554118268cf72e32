//! What has been taken from one socket and not yet been given to the other.

use std::io;

use rustix::{
    event::{PollFd, PollFlags, Timespec, poll},
    net::{RecvFlags, SendFlags, recv, send},
};
use tokio::net::TcpStream;

use super::buffer::Buffer;
use crate::offload::Pipe;

/// Bytes on their way. An idle direction carries nothing.
#[derive(Default)]
pub(super) enum Load {
    #[default]
    Empty,
    Pipe(Pipe),
    Bytes {
        buffer: Buffer,
        /// What of the buffer is still to be given.
        start: u32,
        end: u32,
        /// Bytes of the application that these are, which may be sealed already.
        content: u32,
    },
}

/// Whether splice found nothing only because the next byte is urgent data (RFC 9293, section 3.8.5). It never gets
/// past that one (net/ipv4/tcp.c, `tcp_read_sock`); recv(2) does, and leaves it out.
fn stops_at_urgent(from: &TcpStream, error: &io::Error) -> bool {
    let mut watched = [PollFd::new(from, PollFlags::PRI)];
    let now = Timespec {
        tv_sec: 0,
        tv_nsec: 0,
    };
    error.kind() == io::ErrorKind::WouldBlock
        && poll(&mut watched, Some(&now)).is_ok()
        && watched[0].revents().contains(PollFlags::PRI)
}

impl Load {
    /// The first `end` bytes of a buffer, which carry `content` bytes of the application.
    pub(super) fn bytes(buffer: Buffer, end: usize, content: usize) -> Self {
        if end == 0 {
            return Self::Empty;
        }
        // A buffer is far shorter than 4 GiB.
        let short = |length: usize| u32::try_from(length).unwrap_or(u32::MAX);
        Self::Bytes {
            buffer,
            start: 0,
            end: short(end),
            content: short(content),
        }
    }

    /// A copy of `bytes`, which must fit into a buffer: what does not is cut off.
    pub(super) fn copy_of(bytes: &[u8], content: usize) -> Self {
        let mut buffer = Buffer::take();
        let length = bytes.len().min(buffer.len());
        buffer[..length].copy_from_slice(&bytes[..length]);
        Self::bytes(buffer, length, content)
    }

    /// Takes what a plain socket has: through a pipe if asked to and as long as there are pipes, else through a
    /// buffer. `None` is the end of the stream.
    pub(super) fn take(from: &TcpStream, splice: bool) -> io::Result<Option<Self>> {
        if splice && let Some(mut pipe) = Pipe::take() {
            match pipe.fill(from) {
                Ok(1..) => return Ok(Some(Self::Pipe(pipe))),
                // The end, or so it seems: reading tells.
                Ok(0) => pipe.give_back(),
                Err(error) => {
                    pipe.give_back();
                    if !stops_at_urgent(from, &error) {
                        return Err(error);
                    }
                }
            }
        }
        let mut buffer = Buffer::take();
        let (length, _) = recv(from, &mut buffer[..], RecvFlags::DONTWAIT)?;
        Ok((length > 0).then(|| Self::bytes(buffer, length, length)))
    }

    pub(super) fn is_empty(&self) -> bool {
        matches!(self, Self::Empty)
    }

    /// Bytes of the application in it.
    pub(super) fn content(&self) -> usize {
        match self {
            Self::Empty => 0,
            Self::Pipe(pipe) => pipe.filled(),
            Self::Bytes { content, .. } => *content as usize,
        }
    }

    /// Gives as much as the socket takes, and returns how much that was. What carried it goes back where it
    /// came from as soon as it is empty.
    pub(super) fn give(&mut self, to: &TcpStream) -> io::Result<usize> {
        let (given, left) = match self {
            Self::Empty => return Ok(0),
            Self::Pipe(pipe) => (pipe.drain(to)?, pipe.filled()),
            Self::Bytes {
                buffer, start, end, ..
            } => {
                let flags = SendFlags::DONTWAIT | SendFlags::NOSIGNAL;
                let given = send(to, &buffer[*start as usize..*end as usize], flags)?;
                *start += u32::try_from(given).unwrap_or(u32::MAX);
                (given, (*end - *start) as usize)
            }
        };
        if given == 0 {
            return Err(io::ErrorKind::WriteZero.into());
        }
        if left == 0
            && let Self::Pipe(pipe) = std::mem::take(self)
        {
            pipe.give_back();
        }
        Ok(given)
    }
}
