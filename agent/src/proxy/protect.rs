//! How the bytes of an established connection will move: in the kernel with nothing of ours in the way, in the
//! kernel with a copy, or through userspace TLS. Chosen per connection, from what the probe found at start.

use tokio::net::TcpStream;

use super::{
    carrier::Carrier,
    close::reset,
    connections::Connection,
    outcome::Failure,
    relay::{Halves, Received, Wire, kernel_key},
};
use crate::{
    offload::{self, Capabilities, InstallError, KeyLimit, Receive, Transmit},
    telemetry::{RefusalReason, Transport},
    tls::{Established, KeyError, Opener, Secrets},
};

/// What the operator allows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum KernelTls {
    /// Whatever the kernel can.
    Auto,
    /// Kernel TLS without splice.
    Copy,
    Off,
}

/// Chooses and sets up.
#[derive(Debug)]
pub struct Offload {
    pub capabilities: Capabilities,
    pub allowed: KernelTls,
    pub key_limit: KeyLimit,
}

/// Whether a socket was made ready for keys before the handshake began.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Prepared(bool);

/// Who is at the other end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Peer {
    /// A workload of the mesh: its agent doesn't change keys before they are used up.
    Mesh,
    /// Anybody else with a certificate.
    Foreign,
}

/// Why a connection can't go on after its handshake. It has been closed.
#[derive(Debug, thiserror::Error)]
pub(super) enum ProtectError {
    #[error("kernel TLS: {0}")]
    Install(#[from] InstallError),
    #[error(transparent)]
    Key(#[from] KeyError),
}

impl Offload {
    /// To be called before the handshake: see [`offload::prepare`].
    pub(super) fn prepare(&self, stream: &TcpStream) -> Prepared {
        let wanted = self.allowed != KernelTls::Off && !self.capabilities.ciphers.is_empty();
        // A socket that can't be prepared serves as it is.
        Prepared(wanted && offload::prepare(stream).is_ok())
    }

    /// Hands the secrets to the kernel or to the record layer.
    ///
    /// # Errors
    /// When a key could not be installed. The connection has then been reset: the secrets have left rustls, and a
    /// socket without a transmit key would send in clear.
    pub(super) fn protect<P>(
        &self,
        prepared: Prepared,
        peer: Peer,
        established: Established<P>,
    ) -> Result<(Wire, Transport), ProtectError> {
        let Established {
            stream, secrets, ..
        } = established;
        let kernel = prepared.0 && secrets.is_tls13() && self.capabilities.has(secrets.suite);
        if !kernel {
            return Ok((
                Wire::userspace(stream, secrets, self.key_limit)?,
                Transport::UserspaceTls,
            ));
        }
        match self.install(&stream, secrets, peer) {
            Ok((halves, transport)) => Ok((Wire::kernel(stream, halves), transport)),
            Err(error) => {
                reset(stream);
                Err(error)
            }
        }
    }

    fn install(
        &self,
        stream: &TcpStream,
        secrets: Secrets,
        peer: Peer,
    ) -> Result<(Halves, Transport), ProtectError> {
        let Secrets {
            tx,
            rx,
            suite,
            schedule,
        } = secrets;
        let rekey = self.capabilities.rekey;
        let splice = self.capabilities.splice && self.allowed == KernelTls::Auto;
        let transmit = Transmit::install(stream, &kernel_key(&tx)?, self.key_limit)?;
        // Foreign peers may change their key at any time (OpenSSL's `SSL_key_update`), and a kernel that can't
        // follow would end the connection: userspace receives.
        let (received, transport) = if rekey || peer == Peer::Mesh {
            let receive = Receive::install(stream, &kernel_key(&rx)?)?;
            let transport = if splice {
                Transport::KtlsSplice
            } else {
                Transport::KtlsCopy
            };
            (Received::Kernel(receive), transport)
        } else {
            let opener = Opener::new(suite, &rx)?;
            (Received::User(opener), Transport::KtlsTransmit)
        };
        let halves = Halves {
            transmit,
            received,
            splice,
            rekey,
            schedule,
        };
        Ok((halves, transport))
    }
}

/// [`Offload::protect`] for a connection: what came of it is counted and shown.
pub(super) fn protected<P>(
    carrier: &impl Carrier,
    connection: &Connection,
    prepared: Prepared,
    peer: Peer,
    established: Established<P>,
) -> Result<Wire, Failure> {
    match carrier.offload().protect(prepared, peer, established) {
        Ok((wire, transport)) => {
            connection.set_transport(transport);
            carrier.metrics().connection_protected(transport);
            Ok(wire)
        }
        Err(error) => {
            carrier.metrics().offload_failed();
            let reason = RefusalReason::OffloadFailed;
            Err(Failure::RefusedBecause(reason, error.to_string()))
        }
    }
}
