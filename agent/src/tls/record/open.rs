//! Records -> plaintext and what the peer wants to say beside it.

use aws_lc_rs::aead::{Aad, Nonce};

use super::{Control, HEADER, INTERNAL_ERROR, MAX_PLAINTEXT, MAX_RECORD, TAG, content};
use crate::tls::keys::{KeyError, NonceKind, Opener, Protection};

/// What one record meant.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Opened {
    /// Not a whole record yet.
    Incomplete,
    /// `length` bytes of plaintext stand at the start of the output; `record` bytes of input are used up.
    Data { record: usize, length: usize },
    /// Nothing for the application.
    Control { record: usize, control: Control },
}

/// Why a record can't be accepted; each names the alert that it is answered with.
#[derive(Debug, thiserror::Error)]
pub enum RecordError {
    #[error("a record of {0} bytes")]
    TooLong(usize),
    #[error("a record that is longer than allowed")]
    Oversized,
    #[error("a record of type {0}")]
    UnexpectedType(u8),
    #[error("a record that does not decrypt")]
    Decrypt,
    #[error("a handshake message of type {0} after the handshake")]
    UnexpectedHandshake(u8),
    #[error("a malformed handshake message or alert")]
    Malformed,
    #[error(transparent)]
    Keys(#[from] KeyError),
}

impl RecordError {
    /// RFC 8446, section 6.2.
    #[must_use]
    pub fn alert(&self) -> u8 {
        match self {
            Self::TooLong(_) | Self::Oversized => 22,
            Self::UnexpectedType(_) | Self::UnexpectedHandshake(_) => 10,
            Self::Decrypt => 20,
            Self::Malformed => 50,
            Self::Keys(_) => INTERNAL_ERROR,
        }
    }
}

impl Opener {
    /// Opens the first record of `input` into the start of `output`, which must have room for
    /// [`MAX_RECORD`] bytes. After a `KeyUpdate` the opener must be renewed before it opens the next.
    ///
    /// # Errors
    /// When the peer breaks the protocol: the connection must be closed with the error's alert.
    pub fn open(&mut self, input: &[u8], output: &mut [u8]) -> Result<Opened, RecordError> {
        let Some((header, rest)) = input.split_first_chunk::<HEADER>() else {
            return Ok(Opened::Incomplete);
        };
        self.rx.check_type(header[0])?;
        let length = usize::from(u16::from_be_bytes([header[3], header[4]]));
        if length > MAX_RECORD {
            return Err(RecordError::TooLong(length));
        }
        let Some(body) = rest.get(..length) else {
            return Ok(Opened::Incomplete);
        };
        let record = HEADER + length;
        let (kind, plaintext) = self.rx.open(*header, body, output)?;
        if kind == content::APPLICATION_DATA {
            self.messages.expect_data()?;
            return Ok(Opened::Data {
                record,
                length: plaintext,
            });
        }
        let message = &output[..plaintext];
        let tls13 = self.rx.is_tls13();
        let control = self.messages.control(kind, message, tls13)?;
        Ok(Opened::Control { record, control })
    }
}

impl Protection {
    /// Before the record is there: who speaks something else than TLS may never send as much as its first bytes
    /// seem to announce.
    fn check_type(&self, kind: u8) -> Result<(), RecordError> {
        let known = match kind {
            content::APPLICATION_DATA => true,
            content::ALERT | content::HANDSHAKE => !self.is_tls13(),
            _ => false,
        };
        if known {
            Ok(())
        } else {
            Err(RecordError::UnexpectedType(kind))
        }
    }

    /// Decrypts into `output`. Returns the record's real type and the length of its plaintext.
    fn open(
        &mut self,
        header: [u8; HEADER],
        body: &[u8],
        output: &mut [u8],
    ) -> Result<(u8, usize), RecordError> {
        let (nonce, sealed) = self.split_nonce(body)?;
        let (ciphertext, tag) = sealed
            .split_last_chunk::<TAG>()
            .ok_or(RecordError::Decrypt)?;
        let output = output
            .get_mut(..ciphertext.len())
            .ok_or(RecordError::Decrypt)?;
        let (aad, used) = self.additional_data(header, header[0], ciphertext.len());
        let nonce = Nonce::assume_unique_for_key(nonce);
        self.key
            .open_separate_gather(nonce, Aad::from(&aad[..used]), ciphertext, tag, output)
            .map_err(|_| RecordError::Decrypt)?;
        self.sequence += 1;
        let (kind, length) = if self.nonce == NonceKind::Tls13 {
            let end = output.iter().rposition(|byte| *byte != 0);
            let end = end.ok_or(RecordError::UnexpectedType(0))?;
            (output[end], end)
        } else {
            (header[0], output.len())
        };
        if length > MAX_PLAINTEXT {
            return Err(RecordError::TooLong(length));
        }
        Ok((kind, length))
    }

    fn split_nonce<'b>(&self, body: &'b [u8]) -> Result<([u8; 12], &'b [u8]), RecordError> {
        if self.nonce != NonceKind::Tls12Explicit {
            return Ok((self.nonce_of(self.sequence), body));
        }
        let (explicit, sealed) = body.split_first_chunk::<8>().ok_or(RecordError::Decrypt)?;
        let mut nonce = self.iv;
        nonce[4..].copy_from_slice(explicit);
        Ok((nonce, sealed))
    }
}
