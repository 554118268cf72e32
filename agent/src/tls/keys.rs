//! A connection's secrets after the handshake, and the two halves of the record layer that is made from them.

use std::fmt;

use aws_lc_rs::aead::{
    AES_128_GCM, AES_256_GCM, Algorithm, CHACHA20_POLY1305, LessSafeKey, UnboundKey,
};
use rustls::{
    ConnectionTrafficSecrets, ExtractedSecrets, ProtocolVersion, SupportedCipherSuite,
    client::ClientConnectionData, kernel::KernelConnection, server::ServerConnectionData,
};

use crate::offload::KeyLimit;

/// One direction's traffic secret and the sequence number of its first record. rustls wipes it on drop.
pub type Secret = (u64, ConnectionTrafficSecrets);

/// What a handshake leaves. Never cloned, never printed.
pub struct Secrets {
    pub tx: Secret,
    pub rx: Secret,
    pub suite: SupportedCipherSuite,
    pub schedule: Schedule,
}

/// Derives the next traffic secrets (RFC 8446, section 7.2).
pub enum Schedule {
    Client(KernelConnection<ClientConnectionData>),
    Server(KernelConnection<ServerConnectionData>),
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
    #[error(transparent)]
    Rustls(#[from] rustls::Error),
}

impl Secrets {
    pub(super) fn client(
        secrets: ExtractedSecrets,
        connection: KernelConnection<ClientConnectionData>,
    ) -> Self {
        let suite = connection.negotiated_cipher_suite();
        Self::new(secrets, suite, Schedule::Client(connection))
    }

    pub(super) fn server(
        secrets: ExtractedSecrets,
        connection: KernelConnection<ServerConnectionData>,
    ) -> Self {
        let suite = connection.negotiated_cipher_suite();
        Self::new(secrets, suite, Schedule::Server(connection))
    }

    fn new(secrets: ExtractedSecrets, suite: SupportedCipherSuite, schedule: Schedule) -> Self {
        let ExtractedSecrets { tx, rx } = secrets;
        Self {
            tx,
            rx,
            suite,
            schedule,
        }
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

impl Schedule {
    /// # Errors
    /// In TLS 1.2.
    pub fn next_tx(&mut self) -> Result<Secret, KeyError> {
        Ok(match self {
            Self::Client(c) => c.update_tx_secret()?,
            Self::Server(c) => c.update_tx_secret()?,
        })
    }

    /// # Errors
    /// In TLS 1.2.
    pub fn next_rx(&mut self) -> Result<Secret, KeyError> {
        Ok(match self {
            Self::Client(c) => c.update_rx_secret()?,
            Self::Server(c) => c.update_rx_secret()?,
        })
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
        let rx = Protection::new(secret, is_tls13(suite))?;
        Ok(Self { rx })
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

    fn new((sequence, secrets): &Secret, tls13: bool) -> Result<Self, KeyError> {
        let (algorithm, key, iv, nonce): (&'static Algorithm, _, _, _) = match secrets {
            ConnectionTrafficSecrets::Aes128Gcm { key, iv } => {
                (&AES_128_GCM, key, iv, NonceKind::Tls12Explicit)
            }
            ConnectionTrafficSecrets::Aes256Gcm { key, iv } => {
                (&AES_256_GCM, key, iv, NonceKind::Tls12Explicit)
            }
            ConnectionTrafficSecrets::Chacha20Poly1305 { key, iv } => {
                (&CHACHA20_POLY1305, key, iv, NonceKind::Tls12Implicit)
            }
            _ => return Err(KeyError::Suite),
        };
        let key = UnboundKey::new(algorithm, key.as_ref()).map_err(|_| KeyError::Length)?;
        Ok(Self {
            key: LessSafeKey::new(key),
            iv: iv.as_ref().try_into().map_err(|_| KeyError::Length)?,
            sequence: *sequence,
            nonce: if tls13 { NonceKind::Tls13 } else { nonce },
        })
    }
}
