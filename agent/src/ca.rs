//! Issues SVIDs and keeps one ready for every identity of this node.
//!
//! Does not verify peers (`tls` does) and does not decide who may have an identity (`control` does, and for the
//! CA service `service`).

mod authority;
mod client;
mod directory;
mod embedded;
mod error;
mod issuer;
mod leaf;
mod offline;
mod rotate;
mod rotation;
mod service;
mod signer;
mod svids;
mod trial;
mod wire;

pub use client::{
    AnswerError, CaAddress, CaClient, CaClientError, CaClientSettings, ConnectError,
    ParseCaAddressError,
};
pub use directory::{FILES, lock};
pub use embedded::{EmbeddedCa, check_directory, kept_elsewhere};
pub use error::CaError;
pub use issuer::{Issue, IssueError, Issuer};
pub use offline::{Issued, KeyType, Kind, LeafName, Order};
pub use rotate::{Anchor, AnchorUse, CaState, Rotate};
pub use rotation::{Rotated, Rotation, Stage};
pub use service::{
    CaService, CsrError, NodeAccount, ParseNodeAccountError, Placement, Refusal, ReviewError,
    Reviewed, Reviewer, Reviews, Revocation, ServiceSettings, TokenError, TokenKeys,
    TokenKeysError, TokenRules, Tokens, serve,
};
pub use svids::{Clock, SvidReader, SvidState, SvidStatus, Svids};
pub use trial::Unaccepted;

/// A certificate as text (RFC 7468), its lines as those of keys.
#[must_use]
pub fn pem(certificate: &rustls_pki_types::CertificateDer<'_>) -> String {
    encoded("CERTIFICATE", certificate)
}

fn encoded(label: &str, der: &[u8]) -> String {
    let lines = pem::EncodeConfig::new().set_line_ending(pem::LineEnding::LF);
    pem::encode_config(&pem::Pem::new(label, der), lines)
}
