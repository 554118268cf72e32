//! The roots that peers are checked against, and what was revoked.

use std::{
    cell::Cell,
    collections::{HashMap, HashSet},
    fmt,
    sync::Arc,
};

use aws_lc_rs::digest;
use rustls::{CertificateError, Error, OtherError, crypto::WebPkiSupportedAlgorithms};
use rustls_pki_types::{CertificateDer, TrustAnchor, UnixTime};
use webpki::{EndEntityCert, KeyUsage, VerifiedPath};

use super::{RevocationList, VerifyError, leaf, roots::Roots, verify::ours};
use crate::identity::{SpiffeId, TrustBundle, TrustDomain, spiffe_id};

/// Authorities that a peer may show. Paths are tried out in all orders before any signature is looked at: a few dozen of
/// equal name keep a core busy for seconds, whoever has made them.
const MOST_AUTHORITIES: usize = 10;

/// Roots by trust domain, parsed once per bundle.
#[derive(Debug, Default)]
pub struct TrustAnchors {
    domains: HashMap<TrustDomain, Roots>,
    lists: Vec<Arc<Vec<RevocationList>>>,
    revoked: HashSet<CertificateId>,
}

/// Tells a certificate from all others by its issuer's name and its serial number (RFC 5280, section 4.1.2.2), in
/// little room.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct CertificateId([u8; 16]);

impl CertificateId {
    /// `issuer` without, `serial` with or without leading zeros.
    pub(super) fn new(issuer: &[u8], serial: &[u8]) -> Self {
        let zeros = serial.iter().take_while(|byte| **byte == 0).count();
        let mut context = digest::Context::new(&digest::SHA256);
        context.update(&issuer.len().to_be_bytes());
        context.update(issuer);
        context.update(&serial[zeros..]);
        let mut id = [0; 16];
        id.copy_from_slice(&context.finish().as_ref()[..16]);
        Self(id)
    }

    /// Those of a chain.
    #[must_use]
    pub fn of_chain(chain: &[CertificateDer<'_>]) -> Vec<Self> {
        let parsed = chain.iter().filter_map(|c| EndEntityCert::try_from(c).ok());
        parsed.map(|c| Self::new(c.issuer(), c.serial())).collect()
    }
}

impl TrustAnchors {
    /// Roots that can't be parsed are left out with a warning: one bad root must not disable the others.
    #[must_use]
    pub fn new(bundle: &TrustBundle) -> Self {
        let anchors = bundle.iter().map(|(domain, roots)| {
            let mut parsed = Roots::default();
            for root in roots {
                if let Err(error) = parsed.add(root) {
                    tracing::warn!(%domain, ?error, "root ignored");
                }
            }
            (domain.clone(), parsed)
        });
        Self {
            domains: anchors.collect(),
            ..Self::default()
        }
    }

    /// With lists of what is not to be trusted any more.
    #[must_use]
    pub fn revoking(self, lists: Vec<Arc<Vec<RevocationList>>>) -> Self {
        let all = lists.iter().flat_map(|lists| lists.iter());
        let revoked = all.flat_map(|list| &list.revoked).copied().collect();
        Self {
            lists,
            revoked,
            ..self
        }
    }

    /// Whether somebody who has proven an identity with these certificates would be trusted still.
    #[must_use]
    pub fn still_trusts(&self, domain: &TrustDomain, chain: &[CertificateId]) -> bool {
        self.domains
            .get(domain)
            .is_some_and(|roots| !roots.is_empty())
            && !chain.iter().any(|id| self.revoked.contains(id))
    }

    /// Whether it must be remembered which certificates a peer had.
    #[must_use]
    pub fn revokes(&self) -> bool {
        !self.lists.is_empty()
    }

    pub(super) fn lists(&self) -> impl Iterator<Item = &RevocationList> {
        self.lists.iter().flat_map(|lists| lists.iter())
    }

    pub(super) fn has_revoked(&self, certificate: CertificateId) -> bool {
        self.revoked.contains(&certificate)
    }

    pub(super) fn roots(&self) -> impl Iterator<Item = &Roots> {
        self.domains.values()
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
        let id = spiffe_id(&certificate).map_err(|error| ours(error.into()))?;
        let anchors = self
            .domains
            .get(id.trust_domain())
            .filter(|anchors| !anchors.is_empty())
            .ok_or_else(|| ours(VerifyError::TrustDomain(id.clone())))?
            .at(now);
        if anchors.is_empty() {
            return Err(ours(VerifyError::RootsExpired(id)));
        }
        self.verify_chain(
            &certificate,
            &anchors,
            intermediates,
            now,
            usage,
            algorithms,
        )?;
        leaf::check_own(end_entity)?;
        Ok(id)
    }

    /// Checks a chain to one of some roots, which need not be of these, against the lists.
    ///
    /// # Errors
    /// As [`verify`](Self::verify).
    pub(super) fn verify_chain(
        &self,
        certificate: &EndEntityCert<'_>,
        roots: &[TrustAnchor<'_>],
        intermediates: &[CertificateDer<'_>],
        now: UnixTime,
        usage: KeyUsage,
        algorithms: WebPkiSupportedAlgorithms,
    ) -> Result<(), Error> {
        if intermediates.len() > MOST_AUTHORITIES {
            return Err(chain_error(webpki::Error::MaximumPathBuildCallsExceeded));
        }
        // Other paths are tried then, and where they end says nothing of why this one isn't to be believed.
        let reason = Cell::new(None);
        let (all, path) = (algorithms.all, |path: &VerifiedPath<'_>| {
            let checked = self.check_path(path, roots, algorithms);
            checked.inspect_err(|error| reason.set(Some(error.clone())))
        });
        let verified =
            certificate.verify_for_usage(all, roots, intermediates, now, usage, None, Some(&path));
        let verified = verified.map(|_| ());
        verified.map_err(|error| chain_error(reason.take().unwrap_or(error)))
    }
}

/// Who takes back what authorities have certified.
pub trait Revocations: fmt::Debug + Send + Sync {
    /// The same `Arc` while nothing changes.
    fn anchors(&self) -> Arc<TrustAnchors>;
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
        E::CertRevoked => CertificateError::Revoked.into(),
        E::RequiredEkuNotFoundContext(_) => CertificateError::InvalidPurpose.into(),
        other => CertificateError::Other(OtherError(Arc::new(other))).into(),
    }
}

#[cfg(test)]
mod tests;
