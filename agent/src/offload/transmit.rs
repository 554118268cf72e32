//! The sending half of a connection whose records the kernel seals.

use std::{io, os::fd::AsFd};

use ktls::CryptoInfo;

use super::{
    InstallError, Key, KeyLimit,
    limit::blocks,
    sys::{self, Half},
};

/// Plaintext of one record at most (RFC 8446, section 5.1).
const MAX_PLAINTEXT: u64 = 1 << 14;
/// What TLS 1.3 adds to each record: header, type and tag.
const OVERHEAD: u64 = 5 + 1 + 16;
/// How the kernel cuts records is its own business, but what it seals costs at most so many times as much as by
/// our own count, in which every record is a full one.
const ERROR: u64 = 4;

/// Proof that a socket has a transmit key in the kernel, and the count of what went out under it: the kernel
/// doesn't count. Every idle connection holds one: it is kept small.
#[derive(Debug)]
pub struct Transmit {
    /// Position in the TCP stream of everything that was handed over, less the plaintext and the records under
    /// the key in force. (Modulo 2^64: it may be less than nothing.)
    origin: u64,
    /// Plaintext handed over under the key in force.
    plaintext: u64,
    /// `None` for a cipher without one.
    limit: Option<KeyLimit>,
    /// Blocks by our own count until the kernel is asked for its.
    until_recount: u32,
    /// Size of the cipher's structure, by which getsockopt knows it.
    info: u8,
}

impl Transmit {
    /// Hands the key over; TLS 1.3 only. `limit` is for AES-GCM.
    ///
    /// # Errors
    /// When the kernel refuses. The socket is then still a plain one: **whatever is written to it goes out in
    /// clear**, so it must be closed.
    pub fn install(socket: impl AsFd, key: &Key, limit: KeyLimit) -> Result<Self, InstallError> {
        let unlimited = matches!(key.info, CryptoInfo::Chacha20Poly1305(_));
        let mut transmit = Self {
            origin: sys::outgoing(socket.as_fd()).map_err(kernel)?.position(),
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
    fn recount_after(&mut self, records: u64) {
        let limit = self.limit;
        let left = limit.map_or(u64::MAX, |limit| limit.left(self.plaintext, records));
        self.until_recount = u32::try_from(left / ERROR).unwrap_or(u32::MAX);
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
        let cost = blocks(bytes, bytes / MAX_PLAINTEXT + 1);
        let cost = u32::try_from(cost).unwrap_or(u32::MAX);
        self.until_recount = self.until_recount.saturating_sub(cost);
    }

    /// To be called when the socket takes no more: makes TCP send what it has. Before Linux 6.5, pages that are
    /// spliced into a TLS socket are queued as if others were to follow (`MSG_SENDPAGE_NOTLAST`); when there is no
    /// room for those, nobody sends the first ones, and there never will be room.
    pub fn push(&self, socket: impl AsFd) {
        // Sends what is queued also when it is on already (net/ipv4/tcp.c, `__tcp_sock_set_nodelay`). A socket that
        // can't do it any more has an error, which the next call tells.
        let _ = rustix::net::sockopt::set_tcp_nodelay(socket, true);
    }

    /// Whether the key is used up, so that another must take its place before anything else is sent.
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
        let records = self.next_sequence(socket)?;
        self.recount_after(records);
        Ok(limit.left(self.plaintext, records) == 0)
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
        Ok(sys::outgoing(socket)?.position() >= self.handed_over(sequence))
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
