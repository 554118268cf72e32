//! The sending half of a connection whose records the kernel seals.

use std::{io, num::NonZeroU32, os::fd::AsFd};

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
/// Records by our own count after which the kernel is asked for its: how it cuts them is its own business, but
/// it makes fewer than four times as many as we think.
const RECOUNT: u32 = 1 << 20;

/// Proof that a socket has a transmit key in the kernel, and the count of what went out under it: the kernel
/// doesn't count. Every idle connection holds one: it is kept small.
#[derive(Debug)]
pub struct Transmit {
    /// Position in the TCP stream of everything that was handed over, less the plaintext and the records under
    /// the key in force. (Modulo 2^64: it may be less than nothing.)
    origin: u64,
    /// Plaintext handed over under the key in force.
    plaintext: u64,
    /// Records that may be sealed under one key; `None` for a cipher without such a limit.
    limit: Option<NonZeroU32>,
    /// Records by our own count until the kernel is asked.
    until_recount: u32,
    /// Size of the cipher's structure, by which getsockopt knows it.
    info: u8,
}

impl Transmit {
    /// Hands the key over; TLS 1.3 only. `limit` is how many records AES-GCM may seal under one key.
    ///
    /// # Errors
    /// When the kernel refuses. The socket is then still a plain one: **whatever is written to it goes out in
    /// clear**, so it must be closed.
    pub fn install(socket: impl AsFd, key: &Key, limit: NonZeroU32) -> Result<Self, InstallError> {
        let unlimited = matches!(key.info, CryptoInfo::Chacha20Poly1305(_));
        let mut transmit = Self {
            origin: sys::written_position(socket.as_fd()).map_err(kernel)?,
            plaintext: 0,
            limit: (!unlimited).then_some(limit),
            until_recount: 0,
            info: u8::try_from(key.info.size()).unwrap_or(u8::MAX),
        };
        transmit.set(socket, key)?;
        Ok(transmit)
    }

    fn set(&mut self, socket: impl AsFd, key: &Key) -> Result<(), InstallError> {
        sys::set_key(socket, Half::Transmit, &key.info).map_err(kernel)?;
        self.origin = self.origin.wrapping_sub(OVERHEAD * key.sequence);
        self.recount_after(key.sequence);
        Ok(())
    }

    /// The nearer the limit, the sooner the kernel is asked again.
    fn recount_after(&mut self, sealed: u64) {
        let limit = self.limit.map_or(u64::MAX, |limit| limit.get().into());
        let left = limit.saturating_sub(sealed) / 4;
        self.until_recount = u32::try_from(left).map_or(RECOUNT, |left| left.min(RECOUNT));
    }

    /// Replaces the key, after our `KeyUpdate` was sent.
    ///
    /// # Errors
    /// `EBUSY` before Linux 6.14.
    pub fn renew(&mut self, socket: impl AsFd, key: &Key) -> Result<(), InstallError> {
        let sequence = self.next_sequence(socket.as_fd()).map_err(kernel)?;
        self.origin = self.handed_over(sequence);
        self.plaintext = 0;
        self.set(socket, key)
    }

    /// To be told after each write or splice to the socket: `bytes` that it took.
    pub fn count(&mut self, bytes: usize) {
        let bytes = bytes as u64;
        self.plaintext += bytes;
        let records = bytes.div_ceil(MAX_PLAINTEXT) + 1;
        let records = u32::try_from(records).unwrap_or(u32::MAX);
        self.until_recount = self.until_recount.saturating_sub(records);
    }

    /// Whether the key is used up (RFC 8446, section 5.5), so that another must take its place before anything
    /// else is sent.
    ///
    /// # Errors
    /// As getsockopt(2).
    pub fn is_used_up(&mut self, socket: impl AsFd) -> io::Result<bool> {
        let Some(limit) = self.limit else {
            return Ok(false);
        };
        if self.until_recount > 0 {
            return Ok(false);
        }
        let sealed = self.next_sequence(socket)?;
        self.recount_after(sealed);
        Ok(sealed + MARGIN >= limit.get().into())
    }

    fn next_sequence(&self, socket: impl AsFd) -> io::Result<u64> {
        sys::next_sequence(socket, self.info.into())
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
        let sequence = self.next_sequence(socket.as_fd())?;
        Ok(sys::written_position(socket)? >= self.handed_over(sequence))
    }

    /// Position in the TCP stream behind the record before `sequence`.
    fn handed_over(&self, sequence: u64) -> u64 {
        let records = OVERHEAD * sequence;
        self.origin
            .wrapping_add(self.plaintext)
            .wrapping_add(records)
    }
}

fn kernel(source: io::Error) -> InstallError {
    InstallError::Kernel {
        half: "transmit",
        source,
    }
}
