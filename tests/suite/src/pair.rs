//! Both ends of a connection between pods, as the applications hold them.

use std::{
    io::{self, Read, Write},
    net::{Shutdown, SocketAddr, TcpListener, TcpStream},
    time::Duration,
};

use anyhow::{Context, Result, bail, ensure};
use sealane_harness::{Pod, pace, sockets::PATIENCE, until};
use socket2::SockRef;

use crate::stage::SOON;

/// A connection with everything between its ends.
#[derive(Debug)]
pub struct Pair {
    pub client: TcpStream,
    pub server: TcpStream,
    /// Whom the server took it from.
    pub peer: SocketAddr,
}

impl Pair {
    /// Connects from `pod` to `address`, where `listener` is the application. Sends nothing: a client that
    /// doesn't speak is taken for one of a protocol in which the server begins.
    pub fn open(pod: &Pod, address: SocketAddr, listener: &TcpListener) -> Result<Self> {
        let client = pod.connect(address).context("connecting")?;
        let (server, peer) = accept(listener)?;
        Ok(Self {
            client,
            server,
            peer,
        })
    }

    /// A word each way.
    pub fn talk(&mut self) -> Result<()> {
        self.say(std::array::from_fn(|_| fastrand::u8(..)))
    }

    /// The same word each way.
    pub fn say(&mut self, word: [u8; 16]) -> Result<()> {
        exchange(&mut self.client, &mut self.server, word).context("client to server")?;
        exchange(&mut self.server, &mut self.client, word).context("server to client")
    }
}

/// Accepts a connection that is on its way.
pub fn accept(listener: &TcpListener) -> Result<(TcpStream, SocketAddr)> {
    listener.set_nonblocking(true)?;
    let (stream, peer) = until("a connection to arrive", SOON, || match listener.accept() {
        Ok(accepted) => Ok(Some(accepted)),
        Err(error) if error.kind() == io::ErrorKind::WouldBlock => Ok(None),
        Err(error) => Err(error.into()),
    })?;
    stream.set_nonblocking(false)?;
    stream.set_read_timeout(Some(pace::span(PATIENCE)))?;
    stream.set_write_timeout(Some(pace::span(PATIENCE)))?;
    Ok((
        stream,
        SocketAddr::new(peer.ip().to_canonical(), peer.port()),
    ))
}

/// Asserts that nothing arrives at `listener`.
pub fn expect_nobody(listener: &TcpListener) -> Result<()> {
    listener.set_nonblocking(true)?;
    match listener.accept() {
        Err(error) if error.kind() == io::ErrorKind::WouldBlock => Ok(()),
        other => bail!("somebody came: {other:?}"),
    }
}

fn exchange(from: &mut TcpStream, to: &mut TcpStream, word: [u8; 16]) -> Result<()> {
    from.write_all(&word).context("writing")?;
    let mut got = [0; 16];
    to.read_exact(&mut got).context("reading")?;
    ensure!(got == word, "sent {word:?}, got {got:?}");
    Ok(())
}

/// Reads to the end; an end is not a reset.
pub fn read_to_end(stream: &mut TcpStream) -> Result<Vec<u8>> {
    let mut all = Vec::new();
    stream.read_to_end(&mut all)?;
    Ok(all)
}

/// Ends this side's direction only.
pub fn end(stream: &TcpStream) -> Result<()> {
    Ok(stream.shutdown(Shutdown::Write)?)
}

/// Closes with a reset (SO_LINGER of zero, socket(7)).
pub fn reset(stream: TcpStream) -> Result<()> {
    SockRef::from(&stream).set_linger(Some(Duration::ZERO))?;
    drop(stream);
    Ok(())
}

/// Asserts that the next read tells of a reset.
pub fn expect_reset(stream: &mut TcpStream) -> Result<()> {
    let mut byte = [0; 1];
    match stream.read(&mut byte) {
        Err(error) if error.kind() == io::ErrorKind::ConnectionReset => Ok(()),
        other => bail!("expected a reset: {other:?}"),
    }
}

/// Asserts that the connection is over, by an end or by a reset, without another byte.
pub fn expect_over(stream: &mut TcpStream) -> Result<()> {
    let mut byte = [0; 1];
    let is_end = |kind| {
        use io::ErrorKind::{BrokenPipe, ConnectionAborted, ConnectionReset};
        // Aborted: ended by an administrator on this side (`SOCK_DESTROY`).
        matches!(kind, BrokenPipe | ConnectionAborted | ConnectionReset)
    };
    match stream.read(&mut byte) {
        Ok(0) => Ok(()),
        Err(error) if is_end(error.kind()) => Ok(()),
        other => bail!("expected its end: {other:?}"),
    }
}
