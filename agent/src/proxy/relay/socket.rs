//! Operations on sockets that don't wait, and waiting for when they can go on.
//!
//! A relay is one task with four reasons to wake: each socket's two directions. tokio keeps one waker for each
//! of them inside the socket's registration, so that waiting needs no memory of the relay's.

use std::{
    io,
    task::{Context, Poll, ready},
};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use tokio::{io::Interest, net::TcpStream};

/// Whether there may be more than what has arrived.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum More {
    MayCome,
    /// The side is lost: `WouldBlock` is the end.
    IsLost,
}

impl More {
    pub(super) fn unless(lost: bool) -> Self {
        if lost { Self::IsLost } else { Self::MayCome }
    }
}

/// Reads with `operation` when the socket is readable.
pub(super) fn read<T>(
    cx: &mut Context<'_>,
    stream: &TcpStream,
    more: More,
    mut operation: impl FnMut() -> io::Result<T>,
) -> Poll<io::Result<T>> {
    if more == More::IsLost {
        return Poll::Ready(operation());
    }
    loop {
        ready!(stream.poll_read_ready(cx))?;
        match stream.try_io(Interest::READABLE, &mut operation) {
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
            result => return Poll::Ready(result),
        }
    }
}

/// Writes with `operation`, at once or when the socket is writable. It is tried first, because [`broken`]
/// forgets that a socket was writable.
pub(super) fn write<T>(
    cx: &mut Context<'_>,
    stream: &TcpStream,
    mut operation: impl FnMut() -> io::Result<T>,
) -> Poll<io::Result<T>> {
    match operation() {
        Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
        result => return Poll::Ready(result),
    }
    loop {
        ready!(stream.poll_write_ready(cx))?;
        match stream.try_io(Interest::WRITABLE, &mut operation) {
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
            result => return Poll::Ready(result),
        }
    }
}

/// Is ready when the socket has an error, and wakes the task when it gets one. For sockets from which nobody
/// reads meanwhile: a reset would go unnoticed.
pub(super) fn broken(cx: &mut Context<'_>, stream: &TcpStream) -> Poll<io::Error> {
    // A reset makes the socket writable as well. That it is so already must be forgotten, or there is nothing
    // to wait for; an event that comes in between makes another round.
    for _ in 0..2 {
        let _ = stream.try_io(Interest::WRITABLE, || {
            io::Result::<()>::Err(io::ErrorKind::WouldBlock.into())
        });
        match stream.poll_write_ready(cx) {
            Poll::Pending => return Poll::Pending,
            Poll::Ready(Err(error)) => return Poll::Ready(error),
            Poll::Ready(Ok(())) => {}
        }
        if let Some(error) = error_of(stream) {
            return Poll::Ready(error);
        }
    }
    // Closed in both directions, and no error: nothing more can happen to it.
    Poll::Pending
}

/// The error that the socket has. Asked for only when poll(2) says that there is one: `SO_ERROR` alone would also
/// tell what TCP gets over by itself, such as a route that was lost for a moment.
fn error_of(stream: &TcpStream) -> Option<io::Error> {
    let mut watched = [PollFd::new(stream, PollFlags::empty())];
    let now = Timespec {
        tv_sec: 0,
        tv_nsec: 0,
    };
    match poll(&mut watched, Some(&now)) {
        Ok(0) => None,
        Ok(_) if !watched[0].revents().contains(PollFlags::ERR) => None,
        Ok(_) => stream.take_error().unwrap_or_else(Some),
        Err(error) => Some(error.into()),
    }
}
