//! Mutual TLS with SPIFFE identities: configurations, verification, the handshake, the record layer.
//!
//! The handshake is rustls'. What follows it is ours: once keys are agreed, a connection is its two sockets
//! and its secrets ([`Secrets`]), with which userspace ([`record`]) or the kernel can carry on. Does not dial,
//! accept, or know policy.

mod anchors;
mod authority;
mod config;
mod handshake;
mod heard;
mod hello;
mod keys;
mod leaf;
mod named;
mod originate;
mod path;
mod pem;
pub mod record;
mod revocation;
mod roots;
mod said;
mod schedule;
mod served;
mod shown;
mod terminate;
#[cfg(test)]
pub(crate) mod testing;
mod verifier;
mod verify;

pub use anchors::{CertificateId, Revocations, TrustAnchors};
pub use authority::{AuthorityError, check_authority};
pub use config::{Credentials, Suites, TlsConfigError, TlsConfigs};
pub use handshake::{
    Declined, Established, HandshakeError, accept, connect, decline, originate, terminate,
};
pub use hello::{FirstBytes, Greeting, first_bytes, is_outdated};
pub use keys::{KeyError, Opener, Sealer, Secret, Secrets};
pub use leaf::check_svid;
pub use named::optional_clients;
pub use originate::{ClientFiles, OriginateError, web_client};
pub use pem::{PemError, certified, is_encrypted};
pub use revocation::{CrlError, RevocationList};
pub use roots::has_expired;
pub use said::Hearing;
pub use schedule::Schedule;
pub use served::ServedError;
pub use shown::ClientChain;
pub use terminate::{Material, TerminateError, Termination, Terminations};
pub use verify::VerifyError;
