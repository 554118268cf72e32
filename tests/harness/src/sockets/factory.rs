//! The pod's end: makes the sockets that it is asked for on standard input, until that is closed.

use std::{
    io,
    net::SocketAddr,
    os::fd::{AsFd, OwnedFd},
    time::Duration,
};

use anyhow::Result;
use rustix::io::Errno;
use socket2::{Domain, Protocol, SockAddr, Socket, Type};

use super::wire::{self, Answer, Request};

/// The sub-command's name.
pub const NAME: &str = "sockets";

const BACKLOG: i32 = 4096;

/// Serves requests one after the other.
///
/// # Errors
/// When the channel fails.
pub fn run() -> Result<()> {
    let channel = io::stdin();
    while let Some((request, _)) = wire::receive::<Request>(channel.as_fd())? {
        match make(&request) {
            Ok(socket) => wire::send(channel.as_fd(), &Answer::Ready, Some(socket.as_fd()))?,
            Err(error) => wire::send(channel.as_fd(), &failure(&error), None)?,
        }
    }
    Ok(())
}

fn make(request: &Request) -> io::Result<OwnedFd> {
    let socket = match *request {
        Request::Connect { to, from, wait_ms } => connect(to, from, wait_ms)?,
        Request::Listen { at } => listen(at)?,
    };
    Ok(socket.into())
}

fn connect(to: SocketAddr, from: Option<SocketAddr>, wait_ms: u64) -> io::Result<Socket> {
    let socket = Socket::new(Domain::for_address(to), Type::STREAM, Some(Protocol::TCP))?;
    if let Some(from) = from {
        socket.bind(&SockAddr::from(from))?;
    }
    if wait_ms > 0 {
        socket.connect_timeout(&to.into(), Duration::from_millis(wait_ms))?;
        return Ok(socket);
    }
    socket.set_nonblocking(true)?;
    match socket.connect(&to.into()) {
        Err(error) if error.raw_os_error() != Some(Errno::INPROGRESS.raw_os_error()) => Err(error),
        _ => Ok(socket),
    }
}

fn listen(at: SocketAddr) -> io::Result<Socket> {
    let socket = Socket::new(Domain::for_address(at), Type::STREAM, Some(Protocol::TCP))?;
    socket.set_reuse_address(true)?;
    if at.is_ipv6() {
        socket.set_only_v6(false)?;
    }
    socket.bind(&at.into())?;
    socket.listen(BACKLOG)?;
    Ok(socket)
}

fn failure(error: &io::Error) -> Answer {
    error
        .raw_os_error()
        .map_or(Answer::TimedOut, |errno| Answer::Failed { errno })
}
