//! Two connected sockets and the keys between them.

use std::{
    io::{self, Read as _, Write as _},
    net::{Ipv4Addr, Ipv6Addr, TcpListener, TcpStream},
    time::{Duration, Instant},
};

use rustls::SupportedCipherSuite;

use super::super::{InstallError, Key, KeyLimit, Receive, Transmit, prepare};

/// Nothing on the loopback interface takes long, unless the kernel lost it.
const PATIENCE: Duration = Duration::from_secs(2);

/// A connection with both ends in this process.
pub(super) struct Loopback {
    pub(super) near: TcpStream,
    pub(super) far: TcpStream,
}

/// Why a check did not pass.
#[derive(Debug, thiserror::Error)]
pub(super) enum CheckError {
    #[error(transparent)]
    Io(#[from] io::Error),
    #[error(transparent)]
    Install(#[from] InstallError),
    #[error("{0}")]
    Wrong(&'static str),
}

impl Loopback {
    pub(super) fn open() -> io::Result<Self> {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))
            .or_else(|_| TcpListener::bind((Ipv6Addr::LOCALHOST, 0)))?;
        let near = TcpStream::connect_timeout(&listener.local_addr()?, PATIENCE)?;
        // Anybody on the node may have been quicker.
        let far = loop {
            let (stream, peer) = listener.accept()?;
            if peer == near.local_addr()? {
                break stream;
            }
        };
        for stream in [&near, &far] {
            stream.set_read_timeout(Some(PATIENCE))?;
            stream.set_write_timeout(Some(PATIENCE))?;
            stream.set_nodelay(true)?;
        }
        Ok(Self { near, far })
    }

    /// A connection on which what `near` sends is sealed and what `far` receives is opened by the kernel.
    pub(super) fn keyed(
        suite: SupportedCipherSuite,
    ) -> Result<(Self, Transmit, Receive), CheckError> {
        let pair = Self::open()?;
        prepare(&pair.near)?;
        prepare(&pair.far)?;
        let transmit = Transmit::install(&pair.near, &Key::known(suite, 1)?, KeyLimit::DEFAULT)?;
        let receive = Receive::install(&pair.far, &Key::known(suite, 1)?)?;
        Ok((pair, transmit, receive))
    }

    /// Sends `data` from near to far and compares what arrives. Returns how long it took.
    pub(super) fn pass(&mut self, data: &[u8]) -> Result<Duration, CheckError> {
        let mut received = vec![0; data.len()];
        let begun = Instant::now();
        self.near.write_all(data)?;
        self.far.read_exact(&mut received)?;
        let took = begun.elapsed();
        if received == data {
            Ok(took)
        } else {
            Err(CheckError::Wrong("data arrived changed"))
        }
    }
}

/// Bytes among which a shifted or repeated part shows.
pub(super) fn pattern(length: usize) -> Vec<u8> {
    (0..length)
        .map(|i| u8::try_from((i / 256 + i) % 251).unwrap_or_default())
        .collect()
}
