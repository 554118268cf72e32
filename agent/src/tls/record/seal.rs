//! Plaintext -> records.

use aws_lc_rs::aead::{Aad, CHACHA20_POLY1305, Nonce};

use super::{HEADER, KEY_UPDATE_MESSAGE, MAX_PLAINTEXT, TAG, content};
use crate::tls::{
    Schedule,
    keys::{KeyError, NonceKind, Protection, Sealer},
};

/// Room before the payload: the header and, in TLS 1.2, eight bytes of nonce.
const EXPLICIT_NONCE: usize = 8;
/// Room behind it: in TLS 1.3 a byte for the type, then the tag.
const BEHIND: usize = 1 + TAG;

/// Why nothing can be sent any more.
#[derive(Debug, thiserror::Error)]
pub enum SealError {
    #[error("encryption failed")]
    Cipher,
    #[error("the key has sealed as much as it may, and can't be renewed")]
    KeyUsedUp,
    #[error(transparent)]
    Keys(#[from] KeyError),
}

impl Sealer {
    /// Where a record's payload starts in its slot.
    #[must_use]
    pub fn payload_offset(&self) -> usize {
        HEADER + self.tx.explicit_nonce()
    }

    /// Distance of slots, which is the length of a full record: sealed records follow each other without a gap.
    #[must_use]
    pub fn slot(&self) -> usize {
        self.payload_offset() + MAX_PLAINTEXT + self.tx.type_byte() + TAG
    }

    /// Seals application data in place: `buffer` holds slots, payloads of [`MAX_PLAINTEXT`] but for the last,
    /// `plaintext` bytes in all. Returns the length of the records, which follow each other without a gap.
    ///
    /// # Errors
    /// When the cipher refuses; nothing of `buffer` may then be sent.
    pub fn seal_slots(&mut self, buffer: &mut [u8], plaintext: usize) -> Result<usize, SealError> {
        let (slot, mut left, mut written) = (self.slot(), plaintext, 0);
        for record in buffer.chunks_mut(slot) {
            if left == 0 {
                break;
            }
            let length = left.min(MAX_PLAINTEXT);
            written += self.tx.seal(content::APPLICATION_DATA, record, length)?;
            left -= length;
        }
        self.sealed += plaintext as u64;
        Ok(written)
    }

    /// Whether the key has sealed as much as it may: it must be renewed before anything else is sealed.
    #[must_use]
    pub fn is_used_up(&self) -> bool {
        self.tx.key.algorithm() != &CHACHA20_POLY1305
            && self.limit.left(self.sealed, self.tx.sequence) == 0
    }

    /// A `KeyUpdate` (RFC 8446, section 4.6.3); what is sealed afterwards uses the next key.
    ///
    /// # Errors
    /// In TLS 1.2, which can't renew.
    pub fn key_update(&mut self, schedule: &mut Schedule) -> Result<Vec<u8>, SealError> {
        if !self.tx.is_tls13() {
            return Err(SealError::KeyUsedUp);
        }
        let record = self
            .tx
            .seal_message(content::HANDSHAKE, &KEY_UPDATE_MESSAGE)?;
        self.renew(schedule)?;
        Ok(record)
    }

    /// A record of another type than data.
    ///
    /// # Errors
    /// When the cipher refuses.
    pub fn control(&mut self, kind: u8, message: &[u8]) -> Result<Vec<u8>, SealError> {
        self.tx.seal_message(kind, message)
    }
}

impl Protection {
    fn explicit_nonce(&self) -> usize {
        if self.nonce == NonceKind::Tls12Explicit {
            EXPLICIT_NONCE
        } else {
            0
        }
    }

    /// The record's real type behind the payload (RFC 8446, section 5.2).
    fn type_byte(&self) -> usize {
        usize::from(self.is_tls13())
    }

    fn seal_message(&mut self, kind: u8, message: &[u8]) -> Result<Vec<u8>, SealError> {
        let start = HEADER + self.explicit_nonce();
        let mut record = vec![0; start + message.len() + BEHIND];
        record[start..start + message.len()].copy_from_slice(message);
        let length = self.seal(kind, &mut record, message.len())?;
        record.truncate(length);
        Ok(record)
    }

    /// Seals `length` bytes of payload that stand in `record` behind the room for header and nonce.
    fn seal(&mut self, kind: u8, record: &mut [u8], length: usize) -> Result<usize, SealError> {
        let nonce = self.nonce_of(self.sequence);
        let start = HEADER + self.explicit_nonce();
        let tls13 = self.nonce == NonceKind::Tls13;
        let inner = length + self.type_byte();
        let total = start + inner + TAG;
        let outer = if tls13 {
            content::APPLICATION_DATA
        } else {
            kind
        };
        let body = u16::try_from(total - HEADER).map_err(|_| SealError::Cipher)?;
        let record = record.get_mut(..total).ok_or(SealError::Cipher)?;
        let (front, rest) = record.split_at_mut(start);
        let (payload, tag_room) = rest.split_at_mut(inner);
        let header = header(outer, body);
        front[..HEADER].copy_from_slice(&header);
        front[HEADER..].copy_from_slice(&nonce[12 - self.explicit_nonce()..]);
        if tls13 {
            payload[length] = kind;
        }
        let (aad, used) = self.additional_data(header, outer, length);
        let nonce = Nonce::assume_unique_for_key(nonce);
        let tag = self
            .key
            .seal_in_place_separate_tag(nonce, Aad::from(&aad[..used]), payload)
            .map_err(|_| SealError::Cipher)?;
        tag_room.copy_from_slice(tag.as_ref());
        self.sequence += 1;
        Ok(total)
    }

    /// RFC 8446, section 5.3: the sequence number over the IV. Our TLS 1.2 nonces are made the same way.
    pub(super) fn nonce_of(&self, sequence: u64) -> [u8; 12] {
        let mut nonce = self.iv;
        for (byte, bits) in nonce[4..].iter_mut().zip(sequence.to_be_bytes()) {
            *byte ^= bits;
        }
        nonce
    }

    /// TLS 1.3: the header. TLS 1.2: sequence number, type, version, length of the plaintext.
    pub(super) fn additional_data(
        &self,
        header: [u8; HEADER],
        kind: u8,
        length: usize,
    ) -> ([u8; 13], usize) {
        let mut data = [0; 13];
        if self.nonce == NonceKind::Tls13 {
            data[..HEADER].copy_from_slice(&header);
            return (data, HEADER);
        }
        data[..8].copy_from_slice(&self.sequence.to_be_bytes());
        data[8..11].copy_from_slice(&[kind, 3, 3]);
        let length = u16::try_from(length).unwrap_or(u16::MAX);
        data[11..].copy_from_slice(&length.to_be_bytes());
        (data, 13)
    }
}

fn header(kind: u8, length: u16) -> [u8; HEADER] {
    let [high, low] = length.to_be_bytes();
    [kind, 3, 3, high, low]
}
