//! A connection's secrets after the handshake, and the two halves of the record layer that is made from them.

use std::fmt;

use aws_lc_rs::aead::{
    AES_128_GCM, AES_256_GCM, Algorithm, CHACHA20_POLY1305, LessSafeKey, UnboundKey,
};
use rustls::{
    CipherSuite, ConnectionTrafficSecrets, ExtractedSecrets, ProtocolVersion, SupportedCipherSuite,
};
use zeroize::Zeroizing;

use super::{
    record::Messages,
    schedule::{Schedule, TrafficSecrets},
};
use crate::offload::KeyLimit;

/// Bytes of the longest key.
pub(super) const MAX_KEY: usize = 32;
/// Room for one. Behind a pointer: what is moved is left behind where it was, and not wiped.
pub(super) type WipedKey = Box<Zeroizing<[u8; MAX_KEY]>>;

/// One direction's key and the sequence number of the first record under it.
pub struct Secret {
    cipher: Cipher,
    sequence: u64,
    key: WipedKey,
    iv: [u8; 12],
}

/// The ciphers that the record layer has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Cipher {
    Aes128Gcm,
    Aes256Gcm,
    Chacha20Poly1305,
}

/// What a handshake leaves. Never cloned, never printed.
pub struct Secrets {
    pub tx: Secret,
    pub rx: Secret,
    pub suite: SupportedCipherSuite,
    /// TLS 1.2 has none: its keys can't be renewed.
    pub schedule: Option<Schedule>,
}

/// The half that seals.
pub struct Sealer {
    pub(super) tx: Protection,
    pub(super) limit: KeyLimit,
    /// Bytes of plaintext under the key in force.
    pub(super) sealed: u64,
}

/// The half that opens.
pub struct Opener {
    pub(super) rx: Protection,
    pub(super) messages: Messages,
}

/// One direction's key, IV and position. aws-lc wipes the key on drop.
pub(super) struct Protection {
    pub(super) key: LessSafeKey,
    pub(super) iv: [u8; 12],
    /// Sequence number of the next record.
    pub(super) sequence: u64,
    pub(super) nonce: NonceKind,
}

/// How a record's nonce is made and whether it is sent along.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum NonceKind {
    /// RFC 8446, section 5.3.
    Tls13,
    /// RFC 5288: four bytes of salt, eight sent with the record.
    Tls12Explicit,
    /// RFC 7905.
    Tls12Implicit,
}

/// Keys of a kind that the record layer doesn't have.
#[derive(Debug, thiserror::Error)]
pub enum KeyError {
    #[error("unsupported cipher suite")]
    Suite,
    #[error("key of the wrong length")]
    Length,
    #[error("the handshake did not tell its traffic secrets")]
    Schedule,
}

impl Secrets {
    pub(super) fn new(
        extracted: ExtractedSecrets,
        suite: SupportedCipherSuite,
        traffic: Box<TrafficSecrets>,
        is_client: bool,
    ) -> Result<Self, KeyError> {
        let schedule = Schedule::new(suite, traffic, is_client);
        if is_tls13(suite) && schedule.is_none() {
            return Err(KeyError::Schedule);
        }
        Ok(Self {
            tx: extracted.tx.try_into()?,
            rx: extracted.rx.try_into()?,
            suite,
            schedule,
        })
    }

    /// Whether the version is TLS 1.3, in which keys can be renewed.
    #[must_use]
    pub fn is_tls13(&self) -> bool {
        is_tls13(self.suite)
    }
}

fn is_tls13(suite: SupportedCipherSuite) -> bool {
    suite.version().version == ProtocolVersion::TLSv1_3
}

impl Secret {
    pub(super) fn new(cipher: Cipher, sequence: u64, key: WipedKey, iv: [u8; 12]) -> Self {
        Self {
            cipher,
            sequence,
            key,
            iv,
        }
    }

    #[must_use]
    pub fn sequence(&self) -> u64 {
        self.sequence
    }

    /// Records before it have been opened.
    pub(super) fn advance_to(&mut self, sequence: u64) {
        self.sequence = sequence;
    }

    #[must_use]
    pub fn key(&self) -> &[u8] {
        &self.key[..self.cipher.key_length()]
    }

    /// The suite of TLS 1.3 that the key is for.
    #[must_use]
    pub fn tls13_suite(&self) -> CipherSuite {
        match self.cipher {
            Cipher::Aes128Gcm => CipherSuite::TLS13_AES_128_GCM_SHA256,
            Cipher::Aes256Gcm => CipherSuite::TLS13_AES_256_GCM_SHA384,
            Cipher::Chacha20Poly1305 => CipherSuite::TLS13_CHACHA20_POLY1305_SHA256,
        }
    }

    /// Exclusive-ored with the sequence number it gives a record's nonce (RFC 8446, section 5.3).
    #[must_use]
    pub fn iv(&self) -> &[u8; 12] {
        &self.iv
    }
}

impl TryFrom<(u64, ConnectionTrafficSecrets)> for Secret {
    type Error = KeyError;

    fn try_from((sequence, secrets): (u64, ConnectionTrafficSecrets)) -> Result<Self, Self::Error> {
        let (cipher, from, iv) = match &secrets {
            ConnectionTrafficSecrets::Aes128Gcm { key, iv } => (Cipher::Aes128Gcm, key, iv),
            ConnectionTrafficSecrets::Aes256Gcm { key, iv } => (Cipher::Aes256Gcm, key, iv),
            ConnectionTrafficSecrets::Chacha20Poly1305 { key, iv } => {
                (Cipher::Chacha20Poly1305, key, iv)
            }
            _ => return Err(KeyError::Suite),
        };
        if from.as_ref().len() != cipher.key_length() {
            return Err(KeyError::Length);
        }
        let mut key = WipedKey::default();
        key[..cipher.key_length()].copy_from_slice(from.as_ref());
        let iv = iv.as_ref().try_into().map_err(|_| KeyError::Length)?;
        Ok(Self::new(cipher, sequence, key, iv))
    }
}

impl Cipher {
    /// That of a suite of TLS 1.3.
    pub(super) fn of(suite: SupportedCipherSuite) -> Option<Self> {
        match suite.suite() {
            CipherSuite::TLS13_AES_128_GCM_SHA256 => Some(Self::Aes128Gcm),
            CipherSuite::TLS13_AES_256_GCM_SHA384 => Some(Self::Aes256Gcm),
            CipherSuite::TLS13_CHACHA20_POLY1305_SHA256 => Some(Self::Chacha20Poly1305),
            _ => None,
        }
    }

    pub(super) fn key_length(self) -> usize {
        self.algorithm().key_len()
    }

    fn algorithm(self) -> &'static Algorithm {
        match self {
            Self::Aes128Gcm => &AES_128_GCM,
            Self::Aes256Gcm => &AES_256_GCM,
            Self::Chacha20Poly1305 => &CHACHA20_POLY1305,
        }
    }

    /// How TLS 1.2 makes nonces for it.
    fn tls12_nonce(self) -> NonceKind {
        match self {
            Self::Aes128Gcm | Self::Aes256Gcm => NonceKind::Tls12Explicit,
            Self::Chacha20Poly1305 => NonceKind::Tls12Implicit,
        }
    }
}

impl Sealer {
    /// # Errors
    /// When the record layer doesn't have the cipher.
    pub fn new(
        suite: SupportedCipherSuite,
        secret: &Secret,
        limit: KeyLimit,
    ) -> Result<Self, KeyError> {
        Ok(Self {
            tx: Protection::new(secret, is_tls13(suite))?,
            limit,
            sealed: 0,
        })
    }

    /// Moves on to our own next key; the `KeyUpdate` must already be sealed.
    pub(super) fn renew(&mut self, schedule: &mut Schedule) -> Result<(), KeyError> {
        self.tx = Protection::new(&schedule.next_tx()?, true)?;
        self.sealed = 0;
        Ok(())
    }
}

impl Opener {
    /// # Errors
    /// When the record layer doesn't have the cipher.
    pub fn new(suite: SupportedCipherSuite, secret: &Secret) -> Result<Self, KeyError> {
        Ok(Self {
            rx: Protection::new(secret, is_tls13(suite))?,
            messages: Messages::default(),
        })
    }

    /// Moves on to the peer's next key, after its `KeyUpdate`.
    ///
    /// # Errors
    /// In TLS 1.2.
    pub fn renew(&mut self, schedule: &mut Schedule) -> Result<(), KeyError> {
        self.rx = Protection::new(&schedule.next_rx()?, true)?;
        Ok(())
    }
}

impl fmt::Debug for Secrets {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Secrets").finish_non_exhaustive()
    }
}

impl Protection {
    pub(super) fn is_tls13(&self) -> bool {
        self.nonce == NonceKind::Tls13
    }

    fn new(secret: &Secret, tls13: bool) -> Result<Self, KeyError> {
        let cipher = secret.cipher;
        let key =
            UnboundKey::new(cipher.algorithm(), secret.key()).map_err(|_| KeyError::Length)?;
        Ok(Self {
            key: LessSafeKey::new(key),
            iv: secret.iv,
            sequence: secret.sequence,
            nonce: match tls13 {
                true => NonceKind::Tls13,
                false => cipher.tls12_nonce(),
            },
        })
    }
}
