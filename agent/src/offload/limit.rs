//! How much one key may seal.

use std::num::NonZeroU32;

/// Bytes of a block of AES.
const BLOCK: u64 = 16;
/// What a record costs beside its payload, in blocks: its header, its rounding with the type, and one for itself.
const PER_RECORD: u64 = 3;
/// Blocks in a MiB.
const MEBIBYTE: u64 = (1 << 20) / BLOCK;

/// What one AES-GCM key may seal, in MiB, records included. ChaCha20-Poly1305 has no limit that a connection could
/// reach.
///
/// With `s` blocks sealed in `q` records an attacker has an advantage of less than 2^-60 while `s + q` is below
/// 2^34.5 (draft-irtf-cfrg-aead-limits, section 5.1.1). RFC 8446, section 5.5, says the same of records of the
/// largest kind.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct KeyLimit(NonZeroU32);

impl KeyLimit {
    /// In MiB: 256 GiB, which are 2^34 blocks.
    pub const MOST: u32 = 1 << 18;
    /// In MiB. A single call may seal a quarter of one.
    pub const LEAST: u32 = 4;

    pub const DEFAULT: Self = Self(NonZeroU32::new(Self::MOST).unwrap());

    /// `None` outside of [`Self::LEAST`] to [`Self::MOST`].
    #[must_use]
    pub fn mebibytes(number: u32) -> Option<Self> {
        let valid = (Self::LEAST..=Self::MOST).contains(&number);
        NonZeroU32::new(number).filter(|_| valid).map(Self)
    }

    /// Blocks that may still be sealed when `plaintext` bytes were in `records` records; what one more call can
    /// make is set aside.
    #[must_use]
    pub fn left(self, plaintext: u64, records: u64) -> u64 {
        let all = u64::from(self.0.get()) * MEBIBYTE;
        all.saturating_sub(MEBIBYTE)
            .saturating_sub(blocks(plaintext, records))
    }
}

/// What `plaintext` bytes in `records` records cost.
pub(super) fn blocks(plaintext: u64, records: u64) -> u64 {
    plaintext / BLOCK + PER_RECORD * records
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn largest_records_end_below_the_limit_of_the_rfc() {
        let limit = KeyLimit::mebibytes(KeyLimit::MOST).unwrap();
        let of_largest = |records: u64| limit.left(records << 14, records);
        assert!(of_largest((1 << 24) - (1 << 16)) > 0);
        assert_eq!(of_largest(1 << 24), 0);
        assert!(limit.left(1 << 31, 1 << 31) > 0);
    }

    #[test]
    fn limits_out_of_range() {
        assert_eq!(KeyLimit::mebibytes(0), None);
        assert_eq!(KeyLimit::mebibytes(KeyLimit::LEAST - 1), None);
        assert_eq!(KeyLimit::mebibytes(KeyLimit::MOST + 1), None);
        assert!(KeyLimit::mebibytes(KeyLimit::LEAST).is_some());
    }
}
