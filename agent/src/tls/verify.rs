//! Who is at the other end: chain, validity, usage, and exactly one SPIFFE ID
//! (X509-SVID specification, sections 4 and 5).

use std::{collections::HashMap, sync::Arc};

use rustls::{CertificateError, Error, OtherError, crypto::WebPkiSupportedAlgorithms};
use rustls_pki_types::{CertificateDer, ServerName, TrustAnchor, UnixTime};
use webpki::{EndEntityCert, KeyUsage};

use super::verifier::Check;
use crate::identity::{ParseSpiffeIdError, SpiffeId, TrustBundle, TrustDomain};

/// Roots by trust domain, parsed once per bundle.
#[derive(Debug, Default)]
pub struct TrustAnchors(HashMap<TrustDomain, Vec<TrustAnchor<'static>>>);

/// Why a certificate of the right form is not accepted. What is wrong with the form or the chain is told by
/// [`CertificateError`].
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum VerifyError {
    #[error("the certificate has {0} URI names; an SVID has exactly one")]
    UriNames(usize),
    #[error("the certificate's URI name: {0}")]
    SpiffeId(#[from] ParseSpiffeIdError),
    #[error("{0}: no root of this trust domain is trusted")]
    TrustDomain(SpiffeId),
    #[error("the peer is {actual}, expected {expected}")]
    WrongIdentity {
        expected: SpiffeId,
        actual: SpiffeId,
    },
}

impl TrustAnchors {
    /// Roots that can't be parsed are left out with a warning: one bad root must not disable the others.
    #[must_use]
    pub fn new(bundle: &TrustBundle) -> Self {
        let anchors = bundle.iter().map(|(domain, roots)| {
            let parsed = roots.iter().filter_map(|root| {
                webpki::anchor_from_trusted_cert(root)
                    .inspect_err(|error| tracing::warn!(%domain, ?error, "root ignored"))
                    .ok()
                    .map(|anchor| anchor.to_owned())
            });
            (domain.clone(), parsed.collect())
        });
        Self(anchors.collect())
    }

    /// Checks a chain and says whose it is.
    ///
    /// # Errors
    /// As rustls reports them; ours are [`VerifyError`] inside [`CertificateError::Other`].
    pub fn verify(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        now: UnixTime,
        usage: KeyUsage,
        algorithms: WebPkiSupportedAlgorithms,
    ) -> Result<SpiffeId, Error> {
        let certificate = EndEntityCert::try_from(end_entity).map_err(chain_error)?;
        let id = spiffe_id(&certificate).map_err(ours)?;
        let anchors = self
            .0
            .get(id.trust_domain())
            .filter(|anchors| !anchors.is_empty())
            .ok_or_else(|| ours(VerifyError::TrustDomain(id.clone())))?;
        certificate
            .verify_for_usage(
                algorithms.all,
                anchors,
                intermediates,
                now,
                usage,
                None,
                None,
            )
            .map_err(chain_error)?;
        Ok(id)
    }
}

fn spiffe_id(certificate: &EndEntityCert<'_>) -> Result<SpiffeId, VerifyError> {
    let mut names = certificate.valid_uri_names();
    match (names.next(), names.next()) {
        (Some(name), None) => Ok(name.parse()?),
        (first, second) => Err(VerifyError::UriNames(
            usize::from(first.is_some()) + usize::from(second.is_some()) + names.count(),
        )),
    }
}

fn ours(error: VerifyError) -> Error {
    CertificateError::Other(OtherError(Arc::new(error))).into()
}

pub(super) fn chain_error(error: webpki::Error) -> Error {
    use webpki::Error as E;
    match error {
        E::BadDer | E::BadDerTime | E::TrailingData(_) => CertificateError::BadEncoding.into(),
        E::CertExpired { time, not_after } => {
            CertificateError::ExpiredContext { time, not_after }.into()
        }
        E::CertNotValidYet { time, not_before } => {
            CertificateError::NotValidYetContext { time, not_before }.into()
        }
        // A root of the right name with another key is another root.
        E::UnknownIssuer | E::InvalidSignatureForPublicKey => {
            CertificateError::UnknownIssuer.into()
        }
        E::RequiredEkuNotFoundContext(_) => CertificateError::InvalidPurpose.into(),
        other => CertificateError::Other(OtherError(Arc::new(other))).into(),
    }
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
        let usage = match asked {
            Some(_) => KeyUsage::server_auth(),
            None => KeyUsage::client_auth(),
        };
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
pub(super) fn verified_id(certificates: Option<&[CertificateDer<'_>]>) -> Option<SpiffeId> {
    let certificate = EndEntityCert::try_from(certificates?.first()?).ok()?;
    spiffe_id(&certificate).ok()
}
