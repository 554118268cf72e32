//! Who is at the other end: chain, validity, usage, and exactly one SPIFFE ID
//! (X509-SVID specification, sections 4 and 5).

use std::sync::Arc;

use rustls::{CertificateError, Error, OtherError, crypto::WebPkiSupportedAlgorithms};
use rustls_pki_types::{CertificateDer, ServerName, UnixTime};
use webpki::EndEntityCert;

use super::{
    TrustAnchors,
    verifier::{Check, usage},
};
use crate::identity::{SpiffeId, SvidNameError, spiffe_id};

/// Why a certificate of the right form is not accepted. What is wrong with the form or the chain is told by
/// [`CertificateError`].
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum VerifyError {
    #[error(transparent)]
    Name(#[from] SvidNameError),
    #[error("{0}: no root of this trust domain is trusted")]
    TrustDomain(SpiffeId),
    #[error("{0}: every root of this trust domain has expired")]
    RootsExpired(SpiffeId),
    #[error("every authority that it could be from has expired")]
    AuthoritiesExpired,
    #[error("its key usage: {0}")]
    KeyUsage(&'static str),
    #[error("its RSA key has fewer than 2048 bits")]
    WeakKey,
    #[error("the peer is {actual}, expected {expected}")]
    WrongIdentity {
        expected: SpiffeId,
        actual: SpiffeId,
    },
}

pub(super) fn ours(error: VerifyError) -> Error {
    CertificateError::Other(OtherError(Arc::new(error))).into()
}

/// Both roles: as a client it accepts exactly one SPIFFE ID, as a server any of a trusted domain.
#[derive(Debug)]
pub(super) struct PeerVerifier {
    anchors: Arc<TrustAnchors>,
    expected: Option<SpiffeId>,
    algorithms: WebPkiSupportedAlgorithms,
}

impl PeerVerifier {
    pub(super) fn new(
        anchors: Arc<TrustAnchors>,
        expected: Option<SpiffeId>,
        algorithms: WebPkiSupportedAlgorithms,
    ) -> Self {
        Self {
            anchors,
            expected,
            algorithms,
        }
    }
}

impl Check for PeerVerifier {
    fn check(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        asked: Option<&ServerName<'_>>,
        now: UnixTime,
    ) -> Result<(), Error> {
        let usage = usage(asked);
        let actual = self
            .anchors
            .verify(end_entity, intermediates, now, usage, self.algorithms)?;
        match (&self.expected, asked) {
            (Some(expected), _) if *expected == actual => Ok(()),
            (Some(expected), _) => Err(ours(VerifyError::WrongIdentity {
                expected: expected.clone(),
                actual,
            })),
            (None, None) => Ok(()),
            (None, Some(_)) => Err(Error::General("no expected identity".to_owned())),
        }
    }

    fn algorithms(&self) -> &WebPkiSupportedAlgorithms {
        &self.algorithms
    }
}

/// The SPIFFE ID of a certificate whose chain the handshake has verified.
pub(super) fn verified_id(certificates: &[CertificateDer<'_>]) -> Option<SpiffeId> {
    let certificate = EndEntityCert::try_from(certificates.first()?).ok()?;
    spiffe_id(&certificate).ok()
}
