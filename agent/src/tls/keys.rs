//! A connection's keys after the handshake: what the record layer needs, and how to renew it.

use std::fmt;

use aws_lc_rs::aead::{
    AES_128_GCM, AES_256_GCM, Algorithm, CHACHA20_POLY1305, LessSafeKey, UnboundKey,
};
use rustls::{
    ConnectionTrafficSecrets, ExtractedSecrets, ProtocolVersion, SupportedCipherSuite,
    client::ClientConnectionData, kernel::KernelConnection, server::ServerConnectionData,
};

/// The keys of one established connection. Never cloned, never printed; aws-lc and rustls wipe them on drop.
pub struct Keys {
    pub(super) tx: Protection,
    pub(super) rx: Protection,
    schedule: Schedule,
}

/// Derives the next traffic secrets (RFC 8446, section 7.2).
enum Schedule {
    Client(KernelConnection<ClientConnectionData>),
    Server(KernelConnection<ServerConnectionData>),
}

/// One direction's key, IV and position.
pub struct Protection {
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
    #[error("unsupported cipher suite {0:?}")]
    Suite(rustls::CipherSuite),
    #[error("key of the wrong length")]
    Length,
    #[error(transparent)]
    Rustls(#[from] rustls::Error),
}

impl Keys {
    pub(super) fn client(
        secrets: ExtractedSecrets,
        connection: KernelConnection<ClientConnectionData>,
    ) -> Result<Self, KeyError> {
        let suite = connection.negotiated_cipher_suite();
        let version = connection.protocol_version();
        Self::new(secrets, version, suite, Schedule::Client(connection))
    }

    pub(super) fn server(
        secrets: ExtractedSecrets,
        connection: KernelConnection<ServerConnectionData>,
    ) -> Result<Self, KeyError> {
        let suite = connection.negotiated_cipher_suite();
        let version = connection.protocol_version();
        Self::new(secrets, version, suite, Schedule::Server(connection))
    }

    fn new(
        secrets: ExtractedSecrets,
        version: ProtocolVersion,
        suite: SupportedCipherSuite,
        schedule: Schedule,
    ) -> Result<Self, KeyError> {
        let tls13 = version == ProtocolVersion::TLSv1_3;
        let protection = |secret: &(u64, ConnectionTrafficSecrets)| {
            Protection::new(secret, tls13)?.ok_or_else(|| KeyError::Suite(suite.suite()))
        };
        Ok(Self {
            tx: protection(&secrets.tx)?,
            rx: protection(&secrets.rx)?,
            schedule,
        })
    }

    /// Whether keys can be renewed on this connection.
    #[must_use]
    pub fn is_tls13(&self) -> bool {
        self.tx.nonce == NonceKind::Tls13
    }

    /// Moves on to the peer's next key, after its `KeyUpdate`.
    ///
    /// # Errors
    /// When the connection has no such thing (TLS 1.2).
    pub fn renew_rx(&mut self) -> Result<(), KeyError> {
        let secret = match &mut self.schedule {
            Schedule::Client(c) => c.update_rx_secret()?,
            Schedule::Server(c) => c.update_rx_secret()?,
        };
        self.rx = Protection::new(&secret, true)?.ok_or(KeyError::Length)?;
        Ok(())
    }

    /// Moves on to our own next key; the `KeyUpdate` must already be sealed.
    ///
    /// # Errors
    /// When the connection has no such thing (TLS 1.2).
    pub fn renew_tx(&mut self) -> Result<(), KeyError> {
        let secret = match &mut self.schedule {
            Schedule::Client(c) => c.update_tx_secret()?,
            Schedule::Server(c) => c.update_tx_secret()?,
        };
        self.tx = Protection::new(&secret, true)?.ok_or(KeyError::Length)?;
        Ok(())
    }
}

impl fmt::Debug for Keys {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Keys").finish_non_exhaustive()
    }
}

impl Protection {
    /// `None` for a cipher that the record layer doesn't have.
    fn new(
        (sequence, secrets): &(u64, ConnectionTrafficSecrets),
        tls13: bool,
    ) -> Result<Option<Self>, KeyError> {
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
            _ => return Ok(None),
        };
        let key = UnboundKey::new(algorithm, key.as_ref()).map_err(|_| KeyError::Length)?;
        Ok(Some(Self {
            key: LessSafeKey::new(key),
            iv: iv.as_ref().try_into().map_err(|_| KeyError::Length)?,
            sequence: *sequence,
            nonce: if tls13 { NonceKind::Tls13 } else { nonce },
        }))
    }
}
