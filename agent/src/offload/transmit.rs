//! The sending half of a connection whose records the kernel seals.

use std::{io, os::fd::AsFd};

use ktls::CryptoInfo;

use super::{
    InstallError, Key,
    sys::{self, Half},
};

/// Plaintext of one record at most (RFC 8446, section 5.1).
const MAX_PLAINTEXT: u64 = 1 << 14;
/// What TLS 1.3 adds to each record: header, type and tag.
const OVERHEAD: u64 = 5 + 1 + 16;
/// Records left under a key when it counts as used up: more than one call can make.
const MARGIN: u64 = 4096;

/// Proof that a socket has a transmit key in the kernel, and the count of what went out under it: the kernel
/// doesn't count.
#[derive(Debug)]
pub struct Transmit {
    /// Size of the cipher's structure, by which getsockopt knows it.
    info: usize,
    /// Records that may be sealed under one key.
    limit: u64,
    /// Sealed under the key in force, at most.
    sealed: u64,
    /// Sequence number of the first record under the key in force.
    first: u64,
    /// Position in the TCP stream that comes before everything that is counted here.
    origin: u64,
    /// Bytes that everything handed over until the key in force makes in the TCP stream.
    earlier: u64,
    /// Plaintext handed over under the key in force.
    plaintext: u64,
}

impl Transmit {
    /// Hands the key over; TLS 1.3 only. `limit` is how many records AES-GCM may seal under one key.
    ///
    /// # Errors
    /// When the kernel refuses. The socket is then still a plain one: **whatever is written to it goes out in
    /// clear**, so it must be closed.
    pub fn install(socket: impl AsFd, key: &Key, limit: u64) -> Result<Self, InstallError> {
        let unlimited = matches!(key.info, CryptoInfo::Chacha20Poly1305(_));
        let mut transmit = Self {
            info: key.info.size(),
            limit: if unlimited { u64::MAX } else { limit },
            sealed: 0,
            first: 0,
            origin: sys::written_position(socket.as_fd()).map_err(kernel)?,
            earlier: 0,
            plaintext: 0,
        };
        transmit.set(socket, key)?;
        Ok(transmit)
    }

    fn set(&mut self, socket: impl AsFd, key: &Key) -> Result<(), InstallError> {
        sys::set_key(socket, Half::Transmit, &key.info).map_err(kernel)?;
        (self.first, self.sealed, self.plaintext) = (key.sequence, key.sequence, 0);
        Ok(())
    }

    /// Replaces the key, after our `KeyUpdate` was sent.
    ///
    /// # Errors
    /// `EBUSY` before Linux 6.14.
    pub fn renew(&mut self, socket: impl AsFd, key: &Key) -> Result<(), InstallError> {
        let sequence = sys::next_sequence(socket.as_fd(), self.info).map_err(kernel)?;
        let earlier = self.earlier + self.in_stream(sequence);
        self.set(socket, key)?;
        self.earlier = earlier;
        Ok(())
    }

    /// To be told after each write or splice to the socket: `bytes` that it took.
    pub fn count(&mut self, bytes: usize) {
        let bytes = bytes as u64;
        self.plaintext += bytes;
        // How the kernel cuts records is its own business: one call may end one record and begin another.
        self.sealed += bytes.div_ceil(MAX_PLAINTEXT) + 1;
    }

    /// Whether the key is used up (RFC 8446, section 5.5), so that another must take its place before anything
    /// else is sent.
    ///
    /// # Errors
    /// As getsockopt(2).
    pub fn is_used_up(&mut self, socket: impl AsFd) -> io::Result<bool> {
        if self.sealed.saturating_add(MARGIN) < self.limit {
            return Ok(false);
        }
        if self.limit == u64::MAX {
            return Ok(false);
        }
        self.sealed = sys::next_sequence(socket, self.info)?;
        Ok(self.sealed.saturating_add(MARGIN) >= self.limit)
    }

    /// Sends one record of another type than data.
    ///
    /// # Errors
    /// `WouldBlock` when nothing was taken.
    pub fn record(&mut self, socket: impl AsFd, kind: u8, message: &[u8]) -> io::Result<()> {
        sys::send_record(socket, kind, message)?;
        self.count(message.len());
        Ok(())
    }

    /// Whether TCP has everything that was handed over. Records that the socket's buffer had no room for wait
    /// in the TLS layer, and `shutdown` and `close` forget them (net/tls/tls_sw.c, `tls_sw_release_resources_tx`):
    /// neither may be called before this is true.
    ///
    /// # Errors
    /// As getsockopt(2).
    pub fn is_flushed(&self, socket: impl AsFd) -> io::Result<bool> {
        let sequence = sys::next_sequence(socket.as_fd(), self.info)?;
        let handed_over = self.origin + self.earlier + self.in_stream(sequence);
        Ok(sys::written_position(socket)? >= handed_over)
    }

    /// Bytes of the TCP stream that the records under the key in force make.
    fn in_stream(&self, sequence: u64) -> u64 {
        self.plaintext + OVERHEAD * sequence.saturating_sub(self.first)
    }
}

fn kernel(source: io::Error) -> InstallError {
    InstallError::Kernel {
        half: "transmit",
        source,
    }
}
