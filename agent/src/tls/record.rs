//! The TLS record layer in userspace (RFC 8446, section 5; RFC 5246, section 6), for connections whose
//! kernel can't do it, and what both have in common.
//!
//! Works on the caller's buffers and keeps none of its own: an idle connection is its keys and two sequence
//! numbers. Says what a record is; what to do about it is the relay's.

mod control;
mod open;
mod seal;

pub use control::{Alert, CLOSE_NOTIFY, Control, INTERNAL_ERROR, KEY_UPDATE_MESSAGE, Messages};
pub use open::{Opened, RecordError};
pub use seal::SealError;

/// Bytes of a record's header: type, version, length.
pub const HEADER: usize = 5;
/// Plaintext of one record at most.
pub const MAX_PLAINTEXT: usize = 1 << 14;
/// Ciphertext of one record at most (TLS 1.2; TLS 1.3 allows 256 bytes of expansion).
pub const MAX_RECORD: usize = MAX_PLAINTEXT + 2048;
/// Tag of every cipher here.
pub(super) const TAG: usize = 16;

/// Record types (RFC 8446, section 5.1).
pub mod content {
    pub const ALERT: u8 = 21;
    pub const HANDSHAKE: u8 = 22;
    pub const APPLICATION_DATA: u8 = 23;
}

#[cfg(test)]
mod tests;
