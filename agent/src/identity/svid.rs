//! X.509-SVIDs and the roots that they are checked against.

use std::{
    collections::BTreeMap,
    fmt,
    sync::Arc,
    time::{Duration, SystemTime},
};

use rustls_pki_types::CertificateDer;
use webpki::EndEntityCert;
use x509_parser::{certificate::X509Certificate, prelude::FromDer as _, time::ASN1Time};

use super::{ParseSpiffeIdError, SpiffeId, TrustDomain};

/// Why a certificate is nobody's SVID.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SvidNameError {
    #[error("the certificate has {0} URI names; an SVID has exactly one")]
    UriNames(usize),
    #[error("the certificate's URI name: {0}")]
    SpiffeId(#[from] ParseSpiffeIdError),
}

/// Whose certificate it is (X509-SVID specification, section 5.2). Verifies nothing.
///
/// # Errors
/// When it doesn't name exactly one SPIFFE ID of a workload.
pub fn spiffe_id(certificate: &EndEntityCert<'_>) -> Result<SpiffeId, SvidNameError> {
    let mut names = certificate.valid_uri_names();
    match (names.next(), names.next()) {
        (Some(name), None) => Ok(name.parse()?),
        (first, second) => Err(SvidNameError::UriNames(
            usize::from(first.is_some()) + usize::from(second.is_some()) + names.count(),
        )),
    }
}

/// A chain that can't be an SVID's.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SvidFormError {
    #[error("it has no certificate")]
    Empty,
    #[error("the certificate is not valid X.509")]
    Certificate,
}

/// A certificate chain with its private key. The key lives inside `certified` only and is never printed.
#[derive(Clone)]
pub struct Svid {
    pub id: SpiffeId,
    pub certified: Arc<rustls::sign::CertifiedKey>,
    pub not_before: SystemTime,
    pub not_after: SystemTime,
    /// Of the leaf, in lower-case hexadecimal.
    pub serial: String,
}

impl Svid {
    /// Takes times and serial number from the first certificate; verifies nothing.
    ///
    /// # Errors
    /// When that can't be read.
    pub fn new(
        id: SpiffeId,
        certified: Arc<rustls::sign::CertifiedKey>,
    ) -> Result<Self, SvidFormError> {
        let leaf = certified.cert.first().ok_or(SvidFormError::Empty)?;
        let (_, leaf) = X509Certificate::from_der(leaf).map_err(|_| SvidFormError::Certificate)?;
        let serial = leaf.raw_serial().iter().map(|b| format!("{b:02x}"));
        let (serial, validity) = (serial.collect(), leaf.validity().clone());
        Ok(Self {
            id,
            certified,
            not_before: time(validity.not_before),
            not_after: time(validity.not_after),
            serial,
        })
    }
}

/// Times before 1970 count as 1970.
fn time(time: ASN1Time) -> SystemTime {
    let seconds = u64::try_from(time.timestamp()).unwrap_or(0);
    SystemTime::UNIX_EPOCH + Duration::from_secs(seconds)
}

impl fmt::Debug for Svid {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Svid")
            .field("id", &self.id)
            .field("serial", &self.serial)
            .field("not_after", &self.not_after)
            .finish_non_exhaustive()
    }
}

/// Roots by trust domain. A peer is checked against the roots of the domain that its SPIFFE ID names, so a
/// root of one mesh can't vouch for another's workloads (SPIFFE Trust Domain and Bundle, section 4).
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct TrustBundle {
    roots: BTreeMap<TrustDomain, Vec<CertificateDer<'static>>>,
}

impl TrustBundle {
    /// Adds a root, once.
    pub fn add(&mut self, domain: TrustDomain, root: CertificateDer<'static>) {
        let roots = self.roots.entry(domain).or_default();
        if !roots.contains(&root) {
            roots.push(root);
        }
    }

    /// The roots of a domain; none for a domain that isn't trusted.
    #[must_use]
    pub fn roots(&self, domain: &TrustDomain) -> &[CertificateDer<'static>] {
        self.roots.get(domain).map_or(&[], Vec::as_slice)
    }

    /// Every domain with its roots.
    pub fn iter(&self) -> impl Iterator<Item = (&TrustDomain, &[CertificateDer<'static>])> {
        self.roots.iter().map(|(d, r)| (d, r.as_slice()))
    }
}
