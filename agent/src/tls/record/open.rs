//! Records -> plaintext and what the peer wants to say beside it.

use aws_lc_rs::aead::{Aad, Nonce};

use super::{HEADER, MAX_PLAINTEXT, MAX_RECORD, TAG, content};
use crate::tls::keys::{KeyError, NonceKind, Opener, Protection};

/// What one record meant.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Opened {
    /// Not a whole record yet.
    Incomplete,
    /// `length` bytes of plaintext stand at the start of the output; `record` bytes of input are used up.
    Data { record: usize, length: usize },
    /// Nothing for the application: a session ticket or a key update.
    Nothing { record: usize },
    /// The peer sends no more.
    CloseNotify { record: usize },
    /// The peer ends the connection.
    Alert(Alert),
}

/// A fatal alert (RFC 8446, section 6.2).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Alert(pub u8);

/// Why a record can't be accepted; each names the alert that it is answered with.
#[derive(Debug, thiserror::Error)]
pub enum RecordError {
    #[error("a record of {0} bytes")]
    TooLong(usize),
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
            Self::TooLong(_) => 22,
            Self::UnexpectedType(_) | Self::UnexpectedHandshake(_) => 10,
            Self::Decrypt => 20,
            Self::Malformed => 50,
            Self::Keys(_) => 80,
        }
    }
}

const KEY_UPDATE: u8 = 24;
const NEW_SESSION_TICKET: u8 = 4;
const HELLO_REQUEST: u8 = 0;

impl Opener<'_> {
    /// Opens the first record of `input` into the start of `output`, which must have room for
    /// [`MAX_RECORD`] bytes.
    ///
    /// # Errors
    /// When the peer breaks the protocol: the connection must be closed with the error's alert.
    pub fn open(&mut self, input: &[u8], output: &mut [u8]) -> Result<Opened, RecordError> {
        let Some((header, rest)) = input.split_first_chunk::<HEADER>() else {
            return Ok(Opened::Incomplete);
        };
        let length = usize::from(u16::from_be_bytes([header[3], header[4]]));
        if length > MAX_RECORD {
            return Err(RecordError::TooLong(length));
        }
        let Some(body) = rest.get(..length) else {
            return Ok(Opened::Incomplete);
        };
        let record = HEADER + length;
        let (kind, plaintext) = self.rx.open(*header, body, output)?;
        match kind {
            content::APPLICATION_DATA => Ok(Opened::Data {
                record,
                length: plaintext,
            }),
            content::ALERT => self.alert(record, &output[..plaintext]),
            content::HANDSHAKE => self.handshake(record, &output[..plaintext]),
            other => Err(RecordError::UnexpectedType(other)),
        }
    }

    fn alert(&self, record: usize, message: &[u8]) -> Result<Opened, RecordError> {
        match message {
            [_, 0] => Ok(Opened::CloseNotify { record }),
            // TLS 1.2 has warnings that may be passed over; TLS 1.3 has none but this one.
            [1, description] if !self.rx.is_tls13() || *description == 90 => {
                Ok(Opened::Nothing { record })
            }
            [_, description] => Ok(Opened::Alert(Alert(*description))),
            _ => Err(RecordError::Malformed),
        }
    }

    /// Messages after the handshake. Several may share a record; one split over records is not something
    /// that tickets or key updates of a sane peer are, and is refused.
    fn handshake(&mut self, record: usize, mut messages: &[u8]) -> Result<Opened, RecordError> {
        while let [kind, a, b, c, rest @ ..] = messages {
            let length = u32::from_be_bytes([0, *a, *b, *c]) as usize;
            let body = rest.get(..length).ok_or(RecordError::Malformed)?;
            messages = &rest[length..];
            match (*kind, body) {
                // The key changes with the next record: nothing may follow in this one (RFC 8446, 5.1).
                (KEY_UPDATE, [asks @ (0 | 1)]) if self.rx.is_tls13() && messages.is_empty() => {
                    self.renew()?;
                    if *asks == 1 {
                        self.request_update();
                    }
                }
                (NEW_SESSION_TICKET, _) if self.rx.is_tls13() => {}
                (HELLO_REQUEST, []) if !self.rx.is_tls13() => {}
                (other, _) => return Err(RecordError::UnexpectedHandshake(other)),
            }
        }
        if messages.is_empty() {
            Ok(Opened::Nothing { record })
        } else {
            Err(RecordError::Malformed)
        }
    }
}

impl Protection {
    /// Decrypts into `output`. Returns the record's real type and the length of its plaintext.
    fn open(
        &mut self,
        header: [u8; HEADER],
        body: &[u8],
        output: &mut [u8],
    ) -> Result<(u8, usize), RecordError> {
        if self.nonce == NonceKind::Tls13 && header[0] != content::APPLICATION_DATA
            || header[0] == content::CHANGE_CIPHER_SPEC
        {
            return Err(RecordError::UnexpectedType(header[0]));
        }
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
