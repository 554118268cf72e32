//! One direction between two plain sockets.

use std::io;

use tokio::{io::Interest, net::TcpStream, task::consume_budget};

use super::{RelayError, buffer::Buffer, half_close};

/// Which end of a direction failed.
pub(super) enum Side {
    Reading(io::Error),
    Writing(io::Error),
}

impl Side {
    /// For the direction from the pod to the wire.
    pub(super) fn up(self) -> RelayError {
        match self {
            Self::Reading(error) => RelayError::Local(error),
            Self::Writing(error) => RelayError::Wire(error),
        }
    }

    /// For the other one.
    pub(super) fn down(self) -> RelayError {
        match self {
            Self::Reading(error) => RelayError::Wire(error),
            Self::Writing(error) => RelayError::Local(error),
        }
    }
}

/// Copies until the end of `from`, which is passed on as a half-close. `first` goes ahead of everything.
pub(super) async fn copy(
    from: &TcpStream,
    to: &TcpStream,
    first: Vec<u8>,
    count: impl Fn(u64),
) -> Result<(), Side> {
    if !first.is_empty() {
        write_all(from, to, &first).await?;
        count(first.len() as u64);
        drop(first);
    }
    loop {
        from.readable().await.map_err(Side::Reading)?;
        let mut buffer = Buffer::take();
        loop {
            match from.try_read(&mut buffer) {
                Ok(0) => return half_close(to).map_err(Side::Writing),
                Ok(length) => {
                    write_all(from, to, &buffer[..length]).await?;
                    count(length as u64);
                    // A stream that never waits must not keep its thread from others, or from being cut.
                    consume_budget().await;
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => break,
                Err(error) => return Err(Side::Reading(error)),
            }
        }
    }
}

/// Writes everything, waiting while the receiver's window is closed. A reset of `from` ends the wait: nobody
/// reads there meanwhile.
pub(super) async fn write_all(
    from: &TcpStream,
    to: &TcpStream,
    mut bytes: &[u8],
) -> Result<(), Side> {
    while !bytes.is_empty() {
        match to.try_write(bytes) {
            Ok(written) => bytes = &bytes[written..],
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                tokio::select! {
                    writable = to.writable() => writable.map_err(Side::Writing)?,
                    // The error itself is left for the next read.
                    _ = from.ready(Interest::ERROR) => {
                        return Err(Side::Reading(io::ErrorKind::ConnectionReset.into()));
                    }
                }
            }
            Err(error) => return Err(Side::Writing(error)),
        }
    }
    Ok(())
}
