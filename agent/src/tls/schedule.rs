//! The part of TLS 1.3's key schedule that outlives the handshake: the traffic secrets, from which the next keys are
//! derived (RFC 8446, section 7).
//!
//! rustls keeps them in an object with everything else that a connection has ever been, peer's certificates
//! included: well over a kilobyte, where two secrets do.

use std::{cell::RefCell, fmt};

use rustls::{
    KeyLog, SupportedCipherSuite, Tls13CipherSuite,
    crypto::tls13::{HkdfExpander, OkmBlock},
};
use zeroize::Zeroizing;

use super::keys::{Cipher, KeyError, MAX_KEY, Secret};

/// Output of the longest hash function of a suite, SHA-384.
const MAX_HASH: usize = 48;

/// As long as the suite's hash; the rest is not used.
type TrafficSecret = Zeroizing<[u8; MAX_HASH]>;

fn no_secret() -> TrafficSecret {
    Zeroizing::new([0; MAX_HASH])
}

/// Derives the next keys of both directions.
pub struct Schedule {
    suite: &'static Tls13CipherSuite,
    tx: TrafficSecret,
    rx: TrafficSecret,
}

impl Schedule {
    /// `None` unless both secrets have been heard, and for TLS 1.2.
    pub(super) fn new(suite: SupportedCipherSuite, heard: Heard, is_client: bool) -> Option<Self> {
        let (client, server) = (heard.client?, heard.server?);
        let (tx, rx) = if is_client {
            (client, server)
        } else {
            (server, client)
        };
        let suite = suite.tls13()?;
        Some(Self { suite, tx, rx })
    }

    #[must_use]
    pub fn suite(&self) -> SupportedCipherSuite {
        SupportedCipherSuite::Tls13(self.suite)
    }

    /// Our own next key. The one before can't be had again.
    ///
    /// # Errors
    /// For a suite that the record layer doesn't have.
    pub fn next_tx(&mut self) -> Result<Secret, KeyError> {
        next(self.suite, &mut self.tx)
    }

    /// The peer's next key.
    ///
    /// # Errors
    /// As [`Self::next_tx`].
    pub fn next_rx(&mut self) -> Result<Secret, KeyError> {
        next(self.suite, &mut self.rx)
    }
}

/// RFC 8446, section 7.2, then 7.3.
fn next(suite: &'static Tls13CipherSuite, secret: &mut TrafficSecret) -> Result<Secret, KeyError> {
    let length = suite.common.hash_provider.output_len();
    let expander = |secret: &TrafficSecret| {
        let block = secret.get(..length).ok_or(KeyError::Length)?;
        Ok(suite.hkdf_provider.expander_for_okm(&OkmBlock::new(block)))
    };
    let mut following = no_secret();
    let room = following.get_mut(..length).ok_or(KeyError::Length)?;
    expand_label(&*expander(secret)?, b"traffic upd", room)?;
    *secret = following;
    let expander = expander(secret)?;
    let cipher = Cipher::of(SupportedCipherSuite::Tls13(suite)).ok_or(KeyError::Suite)?;
    let mut key = Zeroizing::new([0; MAX_KEY]);
    expand_label(&*expander, b"key", &mut key[..cipher.key_length()])?;
    let mut iv = [0; 12];
    expand_label(&*expander, b"iv", &mut iv)?;
    Ok(Secret::new(cipher, 0, key, iv))
}

/// `HKDF-Expand-Label` with an empty context (RFC 8446, section 7.1).
fn expand_label(
    expander: &dyn HkdfExpander,
    label: &[u8],
    output: &mut [u8],
) -> Result<(), KeyError> {
    const PREFIX: &[u8] = b"tls13 ";
    let length = u16::try_from(output.len()).map_err(|_| KeyError::Length)?;
    let label_length = u8::try_from(PREFIX.len() + label.len()).map_err(|_| KeyError::Length)?;
    let info = [
        &length.to_be_bytes(),
        &[label_length][..],
        PREFIX,
        label,
        &[0],
    ];
    expander
        .expand_slice(&info, output)
        .map_err(|_| KeyError::Length)
}

/// The traffic secrets that a handshake has come to so far.
#[derive(Default)]
pub(super) struct Heard {
    client: Option<TrafficSecret>,
    server: Option<TrafficSecret>,
}

thread_local! {
    /// Whose secrets rustls is telling: `None` outside of [`Heard::during`].
    static LISTENING: RefCell<Option<Heard>> = const { RefCell::new(None) };
}

impl Heard {
    /// Does a step of a handshake whose configuration has [`Listener`], and hears what it tells. Must not be nested.
    pub(super) fn during<R>(&mut self, step: impl FnOnce() -> R) -> R {
        LISTENING.set(Some(std::mem::take(self)));
        let result = step();
        *self = LISTENING.take().unwrap_or_default();
        result
    }
}

/// Gives the traffic secrets to whoever is at [`Heard::during`], and to nobody else.
pub(super) struct Listener;

impl fmt::Debug for Listener {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Listener")
    }
}

const CLIENT: &str = "CLIENT_TRAFFIC_SECRET_0";
const SERVER: &str = "SERVER_TRAFFIC_SECRET_0";

impl KeyLog for Listener {
    fn log(&self, label: &str, _client_random: &[u8], secret: &[u8]) {
        LISTENING.with_borrow_mut(|listening| {
            let Some(heard) = listening else { return };
            let place = match label {
                CLIENT => &mut heard.client,
                SERVER => &mut heard.server,
                _ => return,
            };
            let mut kept = no_secret();
            if let Some(room) = kept.get_mut(..secret.len()) {
                room.copy_from_slice(secret);
                *place = Some(kept);
            }
        });
    }

    fn will_log(&self, label: &str) -> bool {
        matches!(label, CLIENT | SERVER)
    }
}
