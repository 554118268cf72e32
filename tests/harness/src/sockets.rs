//! Sockets of a pod in the hands of the test.
//!
//! A small process in the pod (`factory`) makes them, so that they belong to the pod's network namespace and
//! cgroup for their whole life, and hands them over (SCM_RIGHTS, unix(7)). What a test does with them is what
//! an application in the pod would do.

mod factory;
mod wire;

use std::{
    io,
    net::{SocketAddr, TcpListener, TcpStream},
    os::fd::OwnedFd,
    path::Path,
    sync::{Mutex, PoisonError},
    time::Duration,
};

use anyhow::Result;
use rustix::net::{AddressFamily, SocketFlags, SocketType, socketpair};
use socket2::Socket;

pub use factory::{NAME, run};

use crate::{pace, process::Process};
use wire::{Answer, Request};

/// How long a connect, a read or a write may take before the test fails, on a machine of ordinary speed.
pub const PATIENCE: Duration = Duration::from_secs(10);

/// The test's end of a pod's factory.
#[derive(Debug)]
pub struct Sockets {
    channel: Mutex<OwnedFd>,
    _process: Process,
}

impl Sockets {
    /// Starts the factory of a pod.
    ///
    /// # Errors
    /// When the process can't be made.
    pub fn start(netns: &Path, cgroup: &Path, logs: &Path) -> Result<Self> {
        let (ours, theirs) = socketpair(
            AddressFamily::UNIX,
            SocketType::SEQPACKET,
            SocketFlags::CLOEXEC,
            None,
        )?;
        let executable = std::env::current_exe()?;
        let executable = executable.to_string_lossy();
        let mut command = crate::enter::command(Some(netns), Some(cgroup), &executable)?;
        command.arg(NAME);
        command.stdin(theirs);
        Ok(Self {
            channel: Mutex::new(ours),
            _process: Process::spawn("sockets", logs, command)?,
        })
    }

    /// Connects. Reads and writes of the result fail after [`PATIENCE`].
    ///
    /// # Errors
    /// What `connect(2)` said in the pod.
    pub fn connect(&self, to: SocketAddr, from: Option<SocketAddr>) -> io::Result<TcpStream> {
        let patience = pace::span(PATIENCE);
        let wait_ms = patience.as_secs() * 1000;
        let stream = TcpStream::from(self.ask(&Request::Connect { to, from, wait_ms })?);
        stream.set_read_timeout(Some(patience))?;
        stream.set_write_timeout(Some(patience))?;
        Ok(stream)
    }

    /// Starts to connect and doesn't wait: the socket is non-blocking.
    ///
    /// # Errors
    /// What `connect(2)` said, other than that it is in progress.
    pub fn start_connect(&self, to: SocketAddr) -> io::Result<Socket> {
        let request = Request::Connect {
            to,
            from: None,
            wait_ms: 0,
        };
        Ok(Socket::from(self.ask(&request)?))
    }

    /// Listens; `[::]` takes both families.
    ///
    /// # Errors
    /// What `bind(2)` or `listen(2)` said.
    pub fn listen(&self, at: SocketAddr) -> io::Result<TcpListener> {
        Ok(TcpListener::from(self.ask(&Request::Listen { at })?))
    }

    fn ask(&self, request: &Request) -> io::Result<OwnedFd> {
        let channel = self.channel.lock().unwrap_or_else(PoisonError::into_inner);
        wire::send(&*channel, request, None)?;
        match wire::receive(&*channel)? {
            Some((Answer::Ready, Some(socket))) => Ok(socket),
            Some((Answer::Failed { errno }, _)) => Err(io::Error::from_raw_os_error(errno)),
            Some((Answer::TimedOut, _)) => Err(io::ErrorKind::TimedOut.into()),
            Some((Answer::Ready, None)) => Err(io::Error::other("the socket got lost")),
            None => Err(io::Error::other("the pod's socket factory is gone")),
        }
    }
}
