//! The part of TLS 1.3's key schedule that outlives the handshake: the traffic secrets, from which the next keys are
//! derived (RFC 8446, section 7).
//!
//! rustls keeps them in an object with everything else that a connection has ever been, peer's certificates
//! included: well over a kilobyte, where two secrets do.

use rustls::{
    SupportedCipherSuite, Tls13CipherSuite,
    crypto::tls13::{HkdfExpander, OkmBlock},
};
use zeroize::Zeroizing;

use super::keys::{Cipher, KeyError, Secret, WipedKey};

/// Output of the longest hash function of a suite, SHA-384.
const MAX_HASH: usize = 48;

/// As long as the suite's hash; the rest is not used.
type TrafficSecret = Zeroizing<[u8; MAX_HASH]>;

fn no_secret() -> TrafficSecret {
    Zeroizing::new([0; MAX_HASH])
}

/// Both sides' secrets. Always behind a pointer: what is moved is left behind where it was, and not wiped.
pub(super) struct TrafficSecrets {
    client: TrafficSecret,
    server: TrafficSecret,
    known: Known,
    /// Known once the handshake is over.
    suite: Option<&'static Tls13CipherSuite>,
    is_client: bool,
}

#[derive(Clone, Copy, Default, PartialEq, Eq)]
struct Known {
    client: bool,
    server: bool,
}

impl Default for TrafficSecrets {
    fn default() -> Self {
        Self {
            client: no_secret(),
            server: no_secret(),
            known: Known::default(),
            suite: None,
            is_client: false,
        }
    }
}

impl TrafficSecrets {
    pub(super) fn learn_client(&mut self, secret: &[u8]) {
        self.known.client = copied(&mut self.client, secret);
    }

    pub(super) fn learn_server(&mut self, secret: &[u8]) {
        self.known.server = copied(&mut self.server, secret);
    }

    fn are_known(&self) -> bool {
        self.known.client && self.known.server
    }
}

fn copied(to: &mut TrafficSecret, secret: &[u8]) -> bool {
    let room = to.get_mut(..secret.len());
    room.is_some_and(|room| {
        room.copy_from_slice(secret);
        true
    })
}

/// Derives the next keys of both directions. One word: every idle connection has one.
pub struct Schedule(Box<TrafficSecrets>);

impl Schedule {
    /// `None` unless both secrets have been heard, and for TLS 1.2.
    pub(super) fn new(
        suite: SupportedCipherSuite,
        mut secrets: Box<TrafficSecrets>,
        is_client: bool,
    ) -> Option<Self> {
        secrets.suite = Some(suite.tls13()?);
        secrets.is_client = is_client;
        secrets.are_known().then_some(Self(secrets))
    }

    /// Our own next key. The one before can't be had again.
    ///
    /// # Errors
    /// For a suite that the record layer doesn't have.
    pub fn next_tx(&mut self) -> Result<Secret, KeyError> {
        self.next(self.0.is_client)
    }

    /// The peer's next key.
    ///
    /// # Errors
    /// As [`Self::next_tx`].
    pub fn next_rx(&mut self) -> Result<Secret, KeyError> {
        self.next(!self.0.is_client)
    }

    fn next(&mut self, of_client: bool) -> Result<Secret, KeyError> {
        let TrafficSecrets {
            client,
            server,
            suite,
            ..
        } = &mut *self.0;
        let suite = suite.ok_or(KeyError::Schedule)?;
        next(suite, if of_client { client } else { server })
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
    secret.copy_from_slice(&*following);
    let expander = expander(secret)?;
    let cipher = Cipher::of(SupportedCipherSuite::Tls13(suite)).ok_or(KeyError::Suite)?;
    let mut key = WipedKey::default();
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
