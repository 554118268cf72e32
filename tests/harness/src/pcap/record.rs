//! TLS record headers (RFC 8446, section 5.1), to tell ciphertext from anything else. Decrypts nothing.

use std::fmt;

use anyhow::{Result, bail};

/// RFC 8446, section 5.2: 2^14 bytes of plaintext and at most 256 of expansion.
const MAX_LENGTH: usize = (1 << 14) + 256;
const HEADER: usize = 5;

/// A record's header.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Record {
    /// `ContentType`: 20 change_cipher_spec, 21 alert, 22 handshake, 23 application_data.
    pub kind: u8,
    /// Of its body, in bytes.
    pub length: usize,
}

impl fmt::Display for Record {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let kind = match self.kind {
            20 => "change_cipher_spec",
            21 => "alert",
            22 => "handshake",
            _ => "application_data",
        };
        write!(f, "{kind} ({} bytes)", self.length)
    }
}

/// Splits one direction of a connection into records. The last may be cut short by a reset.
///
/// # Errors
/// At the first byte that isn't part of a TLS record.
pub fn records(payload: &[u8]) -> Result<Vec<Record>> {
    let mut records = Vec::new();
    let mut at = 0;
    while let Some(&[kind, major, minor, high, low]) = payload.get(at..at + HEADER) {
        let length = usize::from(u16::from_be_bytes([high, low]));
        if !(20..=23).contains(&kind) || major != 3 || minor > 3 || length > MAX_LENGTH {
            let shown = String::from_utf8_lossy(&payload[at..payload.len().min(at + 80)]);
            bail!("byte {at} doesn't begin a TLS record: {shown:?}");
        }
        records.push(Record { kind, length });
        at += HEADER + length;
    }
    Ok(records)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn records_are_split_and_text_is_refused() {
        let mut payload = vec![22, 3, 1, 0, 2, 7, 7, 23, 3, 3, 0, 1, 9];
        let kinds: Vec<_> = records(&payload).unwrap().iter().map(|r| r.kind).collect();
        assert_eq!(kinds, [22, 23]);
        payload.extend(b"GET / HTTP/1.1");
        assert!(records(&payload).is_err());
    }
}
