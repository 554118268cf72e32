//! Who is at the other end, outside of the mesh: a chain to one of some roots, and one of some names.

use std::sync::Arc;

use rustls::{
    CertificateError, DistinguishedName, Error,
    client::verify_server_name,
    crypto::{CryptoProvider, WebPkiSupportedAlgorithms},
    server::{ParsedCertificate, danger::ClientCertVerifier},
};
use rustls_pki_types::{CertificateDer, ServerName, UnixTime};
use webpki::EndEntityCert;

use super::{
    TrustAnchors,
    anchors::{Revocations, chain_error},
    leaf,
    roots::Roots,
    verifier::{Check, Verifier, usage},
    verify::{VerifyError, ours},
};

/// Istio's `caCertificates` and `subjectAltNames`, of either end.
#[derive(Debug)]
pub(super) struct Named {
    roots: Roots,
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
        roots: Roots,
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

/// For servers whose clients may show a certificate under one of these roots, whatever its name. Those that can't be roots
/// are left out.
#[must_use]
pub fn optional_clients(
    roots: Vec<CertificateDer<'_>>,
    provider: Arc<CryptoProvider>,
) -> Arc<dyn ClientCertVerifier> {
    let named = Named::new(Roots::parsable(roots), Vec::new(), false, provider);
    Arc::new(Verifier(Arc::new(named)))
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
        let roots = self.roots.at(now);
        if roots.is_empty() {
            return Err(ours(VerifyError::AuthoritiesExpired));
        }
        let (usage, algorithms) = (usage(asked), *self.algorithms());
        self.revoked()
            .verify_chain(&certificate, &roots, intermediates, now, usage, algorithms)?;
        match asked {
            Some(_) => drop(leaf::check(end_entity)?),
            None => leaf::check_client(end_entity)?,
        }
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

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use rcgen::{CertificateParams, CertifiedIssuer, KeyPair};
    use rustls::{RootCertStore, crypto::aws_lc_rs, server::WebPkiClientVerifier};

    use super::*;
    use crate::tls::HandshakeError;

    /// The beginning of 18 May 2033, in seconds since 1970.
    const END: u64 = 1_999_987_200;

    fn time(seconds: u64) -> UnixTime {
        UnixTime::since_unix_epoch(Duration::from_secs(seconds))
    }

    #[test]
    fn authorities_count_until_they_expire() {
        let mut params = CertificateParams::default();
        params.is_ca = rcgen::IsCa::Ca(rcgen::BasicConstraints::Unconstrained);
        params.not_after = rcgen::date_time_ymd(2033, 5, 18);
        let issuer = CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap();
        let leaf = CertificateParams::new(["a.example".to_owned()]).unwrap();
        let leaf = leaf.signed_by(&KeyPair::generate().unwrap(), &issuer);
        let leaf = leaf.unwrap();
        let provider = Arc::new(aws_lc_rs::default_provider());
        let verifier = optional_clients(vec![issuer.der().clone()], Arc::clone(&provider));
        assert!(!verifier.client_auth_mandatory());
        let at = |seconds| verifier.verify_client_cert(leaf.der(), &[], time(seconds));
        assert!(at(END).is_ok());
        let refused = HandshakeError::Tls(at(END + 1).unwrap_err()).to_string();
        assert!(refused.contains("has expired"), "{refused}");

        // What rustls itself does.
        let mut roots = RootCertStore::empty();
        roots.add(issuer.der().clone()).unwrap();
        let other = WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider);
        let other = other.build().unwrap();
        let late = other.verify_client_cert(leaf.der(), &[], time(END + 1));
        assert!(late.is_ok(), "this verifier isn't needed any more");
    }
}
