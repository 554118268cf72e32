//! What path validation leaves out of a path that is good otherwise.

use rustls::{DistinguishedName, crypto::WebPkiSupportedAlgorithms};
use rustls_pki_types::{SubjectPublicKeyInfoDer, TrustAnchor};
use webpki::{Cert, Error, VerifiedPath};
use x509_parser::{certificate::X509Certificate, extensions::KeyUsage, prelude::FromDer as _};

use super::{
    CertificateId, CrlError, RevocationList, TrustAnchors,
    authority::{self, accepted},
};

impl TrustAnchors {
    /// `roots`: those that are trusted in this place, besides the mesh's.
    ///
    /// # Errors
    /// The path is not to be believed.
    pub(super) fn check_path(
        &self,
        path: &VerifiedPath<'_>,
        roots: &[TrustAnchor<'_>],
        algorithms: WebPkiSupportedAlgorithms,
    ) -> Result<(), Error> {
        let mut certificate: &Cert<'_> = path.end_entity();
        for authority in path.intermediate_certificates() {
            if !is_for(authority, KeyUsage::key_cert_sign) {
                return Err(Error::EndEntityUsedAsCa);
            }
            self.check_revoked(certificate, Some(authority), roots, algorithms)?;
            certificate = authority;
        }
        self.check_revoked(certificate, None, roots, algorithms)
    }

    /// Looks for lists whose issuer's name a known authority has, and which none of that name has signed. Whose authority
    /// isn't known may be that of an intermediate, which clients show.
    ///
    /// # Errors
    /// When there is one.
    pub fn check_lists(&self, lists: &[RevocationList]) -> Result<(), CrlError> {
        let algorithms = accepted();
        for (list, position) in lists.iter().zip(1..) {
            let keys = self.roots().flat_map(|r| named(r.all(), &list.issuer));
            let keys: Vec<_> = keys.collect();
            if !keys.is_empty() && !keys.iter().any(|key| list.is_signed_by(key, algorithms)) {
                return Err(CrlError::Stranger(position));
            }
        }
        Ok(())
    }

    /// All lists of an issuer count, and one of them must be its own: signed by the key that has signed the certificate, or
    /// by that of a known authority of the same name (RFC 5280, section 6.3.3 (f)). `issuer`: none for a root.
    fn check_revoked(
        &self,
        certificate: &Cert<'_>,
        issuer: Option<&Cert<'_>>,
        roots: &[TrustAnchor<'_>],
        algorithms: WebPkiSupportedAlgorithms,
    ) -> Result<(), Error> {
        let name = certificate.issuer();
        let mut lists = self.lists().filter(|list| list.issuer == name).peekable();
        if lists.peek().is_none() {
            return Ok(());
        }
        if self.has_revoked(CertificateId::new(name, certificate.serial())) {
            return Err(Error::CertRevoked);
        }
        let signs_lists = issuer.is_none_or(|issuer| is_for(issuer, KeyUsage::crl_sign));
        let issuer = issuer.filter(|_| signs_lists);
        let mut keys: Vec<_> = issuer
            .map(|issuer| issuer.subject_public_key_info())
            .into_iter()
            .collect();
        keys.extend(named(roots, name));
        keys.extend(self.roots().flat_map(|roots| named(roots.all(), name)));
        let own = |list: &RevocationList| keys.iter().any(|key| list.is_signed_by(key, algorithms));
        match lists.any(own) {
            true => Ok(()),
            false if !signs_lists => Err(Error::IssuerNotCrlSigner),
            false => Err(Error::InvalidCrlSignatureForPublicKey),
        }
    }
}

/// The keys of roots of this name.
pub(super) fn named<'r>(
    roots: &'r [TrustAnchor<'_>],
    name: &'r [u8],
) -> impl Iterator<Item = SubjectPublicKeyInfoDer<'static>> + 'r {
    let named = roots.iter().filter(move |r| r.subject.as_ref() == name);
    named.map(|root| {
        // Anchors have it without its tag and length, as they have names.
        let whole = DistinguishedName::in_sequence(&root.subject_public_key_info);
        SubjectPublicKeyInfoDer::from(whole.as_ref().to_vec())
    })
}

fn is_for(certificate: &Cert<'_>, usage: fn(&KeyUsage) -> bool) -> bool {
    let der = certificate.der();
    let parsed = X509Certificate::from_der(&der);
    parsed.is_ok_and(|(_, parsed)| authority::is_for(&parsed, usage))
}

#[cfg(test)]
mod tests;
