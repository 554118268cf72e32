//! Who is at the other end, outside of the mesh: a chain to one of some roots, and one of some names.

use std::sync::Arc;

use rustls::{
    CertificateError, DistinguishedName, Error, RootCertStore,
    client::verify_server_name,
    crypto::{CryptoProvider, WebPkiSupportedAlgorithms},
    server::ParsedCertificate,
};
use rustls_pki_types::{CertificateDer, ServerName, UnixTime};
use webpki::EndEntityCert;

use super::{
    TrustAnchors,
    anchors::{Revocations, chain_error},
    leaf,
    verifier::{Check, usage},
};

/// Istio's `caCertificates` and `subjectAltNames`, of either end.
#[derive(Debug)]
pub(super) struct Named {
    roots: RootCertStore,
    /// Empty: the name that a server was asked for, and any name of a client.
    names: Vec<String>,
    /// Of the roots.
    subjects: Vec<DistinguishedName>,
    /// Whether clients must have a certificate.
    mandatory: bool,
    provider: Arc<CryptoProvider>,
    /// `None`: nothing is ever taken back.
    revocations: Option<Arc<dyn Revocations>>,
}

impl Named {
    pub(super) fn new(
        roots: RootCertStore,
        names: Vec<String>,
        mandatory: bool,
        provider: Arc<CryptoProvider>,
    ) -> Self {
        Self {
            subjects: roots.subjects(),
            roots,
            names,
            mandatory,
            provider,
            revocations: None,
        }
    }

    /// What is taken back counts from then on, without another configuration.
    pub(super) fn heeding(self, revocations: Arc<dyn Revocations>) -> Self {
        Self {
            revocations: Some(revocations),
            ..self
        }
    }

    /// What is taken back now.
    pub(super) fn revoked(&self) -> Arc<TrustAnchors> {
        let revocations = self.revocations.as_ref();
        revocations.map(|r| r.anchors()).unwrap_or_default()
    }

    fn has_name(&self, certificate: &CertificateDer<'_>) -> Result<bool, Error> {
        let parsed = ParsedCertificate::try_from(certificate)?;
        let end_entity = EndEntityCert::try_from(certificate);
        let has = |name: &String| {
            if name.contains("://") {
                let end_entity = end_entity.as_ref();
                return end_entity.is_ok_and(|e| e.valid_uri_names().any(|uri| uri == name));
            }
            let name = ServerName::try_from(name.as_str());
            name.is_ok_and(|name| verify_server_name(&parsed, &name).is_ok())
        };
        Ok(self.names.iter().any(has))
    }
}

impl Check for Named {
    fn check(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        asked: Option<&ServerName<'_>>,
        now: UnixTime,
    ) -> Result<(), Error> {
        let certificate = EndEntityCert::try_from(end_entity).map_err(chain_error)?;
        let (roots, algorithms) = (&self.roots.roots, *self.algorithms());
        let usage = usage(asked);
        self.revoked()
            .verify_chain(&certificate, roots, intermediates, now, usage, algorithms)?;
        leaf::check(end_entity)?;
        match asked {
            Some(asked) if self.names.is_empty() => {
                verify_server_name(&ParsedCertificate::try_from(end_entity)?, asked)
            }
            None if self.names.is_empty() => Ok(()),
            _ if self.has_name(end_entity)? => Ok(()),
            _ => Err(CertificateError::NotValidForName.into()),
        }
    }

    fn algorithms(&self) -> &WebPkiSupportedAlgorithms {
        &self.provider.signature_verification_algorithms
    }

    fn hints(&self) -> &[DistinguishedName] {
        &self.subjects
    }

    fn is_mandatory(&self) -> bool {
        self.mandatory
    }
}
