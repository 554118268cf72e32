//! The side of a connection that leaves the pod, before the relay begins.

use tokio::net::TcpStream;

use super::{super::close::reset, Renewal, ciphertext::Ciphertext, down::Opening, up::Sealing};
use crate::{
    offload::{InstallError, Key, KeyLimit, Receive, Transmit},
    tls::{KeyError, Opener, Schedule, Sealer, Secret, Secrets, record::Messages},
};

/// A socket, and who seals and opens what passes it.
pub(in crate::proxy) struct Wire {
    pub(super) stream: TcpStream,
    pub(super) sealing: Sealing,
    pub(super) opening: Opening,
    pub(super) renewal: Option<Renewal>,
    /// Plaintext that was read already.
    pub(super) received: Vec<u8>,
}

/// Both halves of a wire of which the kernel has at least the sending one.
pub(in crate::proxy) struct Halves {
    pub(in crate::proxy) transmit: Transmit,
    pub(in crate::proxy) received: Received,
    pub(in crate::proxy) splice: bool,
    /// Whether the kernel can change keys.
    pub(in crate::proxy) rekey: bool,
    pub(in crate::proxy) schedule: Option<Schedule>,
}

/// The receiving half.
pub(in crate::proxy) enum Received {
    Kernel(Receive),
    User(Opener),
}

impl Wire {
    /// Plaintext, as policy allows. `received` has been read already and is passed on first.
    pub(in crate::proxy) fn plain(stream: TcpStream, received: Vec<u8>) -> Self {
        Self {
            stream,
            sealing: Sealing::Plain,
            opening: Opening::Plain,
            renewal: None,
            received,
        }
    }

    /// Both halves in userspace.
    ///
    /// # Errors
    /// When the record layer doesn't have the cipher.
    pub(in crate::proxy) fn userspace(
        stream: TcpStream,
        secrets: Secrets,
        limit: KeyLimit,
    ) -> Result<Self, KeyError> {
        let sealer = Sealer::new(secrets.suite, &secrets.tx, limit)?;
        let opener = Opener::new(secrets.suite, &secrets.rx)?;
        Ok(Self {
            stream,
            sealing: Sealing::User(Box::new(sealer)),
            opening: Opening::User(Box::new(Ciphertext::new(opener))),
            renewal: secrets.schedule.map(Renewal::new),
            received: Vec::new(),
        })
    }

    /// With plaintext that was read already and is passed on first.
    pub(in crate::proxy) fn after(self, received: Vec<u8>) -> Self {
        Self { received, ..self }
    }

    /// Closes with a reset.
    pub(in crate::proxy) fn reset(self) {
        reset(self.stream);
    }

    /// The sending half in the kernel.
    pub(in crate::proxy) fn kernel(stream: TcpStream, halves: Halves) -> Self {
        let Halves {
            transmit,
            received,
            splice,
            rekey,
            schedule,
        } = halves;
        let renewable = rekey || matches!(received, Received::User(_));
        Self {
            stream,
            sealing: Sealing::Kernel {
                transmit,
                splice,
                rekey,
            },
            opening: match received {
                Received::Kernel(receive) => Opening::Kernel {
                    receive,
                    splice,
                    messages: Messages::default(),
                },
                Received::User(opener) => Opening::User(Box::new(Ciphertext::new(opener))),
            },
            renewal: schedule.filter(|_| renewable).map(Renewal::new),
            received: Vec::new(),
        }
    }
}

impl Renewal {
    fn new(schedule: Schedule) -> Self {
        Self {
            schedule,
            requested: false,
        }
    }
}

/// A key in the kernel's words.
pub(in crate::proxy) fn kernel_key(secret: &Secret) -> Result<Key, InstallError> {
    let suite = secret.tls13_suite();
    Key::new(suite, secret.sequence(), secret.key(), secret.iv())
}
