//! A connection's keys after the handshake: what the record layer needs, and how to renew it.

use std::{
    fmt,
    sync::{
        Mutex, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
};

use aws_lc_rs::aead::{
    AES_128_GCM, AES_256_GCM, Algorithm, CHACHA20_POLY1305, LessSafeKey, UnboundKey,
};
use rustls::{
    ConnectionTrafficSecrets, ExtractedSecrets, ProtocolVersion, SupportedCipherSuite,
    client::ClientConnectionData, kernel::KernelConnection, server::ServerConnectionData,
};

/// The keys of one established connection. Never cloned, never printed; aws-lc and rustls wipe them on drop.
pub struct Keys {
    tx: Protection,
    rx: Protection,
    schedule: Mutex<Schedule>,
    /// The peer has asked for our next key.
    update_requested: AtomicBool,
    /// A record has been begun and not been sent whole.
    sending: bool,
}

/// The half that seals.
pub struct Sealer<'k> {
    pub(super) tx: &'k mut Protection,
    schedule: &'k Mutex<Schedule>,
    update_requested: &'k AtomicBool,
    sending: &'k mut bool,
}

/// The half that opens.
pub struct Opener<'k> {
    pub(super) rx: &'k mut Protection,
    schedule: &'k Mutex<Schedule>,
    update_requested: &'k AtomicBool,
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
        secrets: &ExtractedSecrets,
        connection: KernelConnection<ClientConnectionData>,
    ) -> Result<Self, KeyError> {
        let suite = connection.negotiated_cipher_suite();
        let version = connection.protocol_version();
        Self::new(secrets, version, suite, Schedule::Client(connection))
    }

    pub(super) fn server(
        secrets: &ExtractedSecrets,
        connection: KernelConnection<ServerConnectionData>,
    ) -> Result<Self, KeyError> {
        let suite = connection.negotiated_cipher_suite();
        let version = connection.protocol_version();
        Self::new(secrets, version, suite, Schedule::Server(connection))
    }

    fn new(
        secrets: &ExtractedSecrets,
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
            schedule: Mutex::new(schedule),
            update_requested: AtomicBool::new(false),
            sending: false,
        })
    }

    /// One half for each direction.
    pub fn split(&mut self) -> (Sealer<'_>, Opener<'_>) {
        let Self {
            tx,
            rx,
            schedule,
            update_requested,
            sending,
        } = self;
        (
            Sealer {
                tx,
                schedule,
                update_requested,
                sending,
            },
            Opener {
                rx,
                schedule,
                update_requested,
            },
        )
    }
}

impl Sealer<'_> {
    /// To be set while records are being written, so that nothing is put in between.
    pub fn sending(&mut self, sending: bool) {
        *self.sending = sending;
    }

    #[must_use]
    pub fn is_between_records(&self) -> bool {
        !*self.sending
    }

    /// Whether the peer waits for our next key; asking takes the answer away.
    pub(super) fn take_update_request(&self) -> bool {
        self.update_requested.swap(false, Ordering::Relaxed)
    }

    /// Moves on to our own next key; the `KeyUpdate` must already be sealed.
    pub(super) fn renew(&mut self) -> Result<(), KeyError> {
        *self.tx = Protection::next(self.schedule, Schedule::next_tx)?;
        Ok(())
    }
}

impl Opener<'_> {
    pub(super) fn request_update(&self) {
        self.update_requested.store(true, Ordering::Relaxed);
    }

    /// Moves on to the peer's next key, after its `KeyUpdate`.
    pub(super) fn renew(&mut self) -> Result<(), KeyError> {
        *self.rx = Protection::next(self.schedule, Schedule::next_rx)?;
        Ok(())
    }
}

impl Schedule {
    fn next_tx(&mut self) -> Result<(u64, ConnectionTrafficSecrets), rustls::Error> {
        match self {
            Self::Client(c) => c.update_tx_secret(),
            Self::Server(c) => c.update_tx_secret(),
        }
    }

    fn next_rx(&mut self) -> Result<(u64, ConnectionTrafficSecrets), rustls::Error> {
        match self {
            Self::Client(c) => c.update_rx_secret(),
            Self::Server(c) => c.update_rx_secret(),
        }
    }
}

impl fmt::Debug for Keys {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Keys").finish_non_exhaustive()
    }
}

impl Protection {
    /// Whether keys can be renewed on this connection.
    pub(super) fn is_tls13(&self) -> bool {
        self.nonce == NonceKind::Tls13
    }

    fn next(
        schedule: &Mutex<Schedule>,
        next: fn(&mut Schedule) -> Result<(u64, ConnectionTrafficSecrets), rustls::Error>,
    ) -> Result<Self, KeyError> {
        let mut schedule = schedule.lock().unwrap_or_else(PoisonError::into_inner);
        Self::new(&next(&mut schedule)?, true)?.ok_or(KeyError::Length)
    }

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
