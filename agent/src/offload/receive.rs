//! The receiving half of a connection whose records the kernel opens.

use std::{io, os::fd::AsFd};

use super::{
    InstallError, Key,
    sys::{self, Half},
};

/// Proof that a socket has a receive key in the kernel.
#[derive(Debug)]
pub struct Receive(());

impl Receive {
    /// Hands the key over. The socket must stand at the beginning of the record with the key's sequence number.
    ///
    /// # Errors
    /// When the kernel refuses.
    pub fn install(socket: impl AsFd, key: &Key) -> Result<Self, InstallError> {
        let receive = Self(());
        receive.renew(socket, key)?;
        Ok(receive)
    }

    /// Replaces the key, after the peer's `KeyUpdate` has been read.
    ///
    /// # Errors
    /// `EBUSY` before Linux 6.14.
    pub fn renew(&self, socket: impl AsFd, key: &Key) -> Result<(), InstallError> {
        sys::set_key(socket, Half::Receive, &key.info).map_err(|source| InstallError::Kernel {
            half: "receive",
            source,
        })
    }

    /// Reads from the next record, whatever its type (RFC 8446, section 5.1). Returns the type and how much of
    /// `buffer` was filled; `None` at the end of the TCP stream. A record longer than `buffer` is continued by
    /// the next call.
    ///
    /// # Errors
    /// `WouldBlock`, `EBADMSG` for a record that does not decrypt, `EMSGSIZE` for one that is too long, `EINVAL`
    /// for one that is malformed.
    pub fn record(&self, socket: impl AsFd, buffer: &mut [u8]) -> io::Result<Option<(u8, usize)>> {
        sys::receive_record(socket, buffer)
    }
}
