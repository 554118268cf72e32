//! Certificate revocation lists (RFC 5280, section 5), from files.

use rustls_pki_types::{CertificateRevocationListDer, pem, pem::PemObject as _};
use webpki::{CertRevocationList, OwnedCertRevocationList};
use x509_parser::{prelude::FromDer as _, revocation_list::CertificateRevocationList};

use super::CertificateId;

/// One list, as handshakes need it and as live connections do.
#[derive(Debug)]
pub struct RevocationList {
    pub(super) list: CertRevocationList<'static>,
    pub(super) revoked: Vec<CertificateId>,
    /// When a new one was to be there, in seconds since 1970.
    pub next_update: Option<i64>,
}

/// Why a text is no revocation list.
#[derive(Debug, thiserror::Error)]
pub enum CrlError {
    #[error("not PEM: {0}")]
    Pem(pem::Error),
    #[error("no revocation list in it")]
    Empty,
    #[error("revocation list {position}: not one of X.509 (RFC 5280): {reason}")]
    Form { position: usize, reason: String },
}

impl RevocationList {
    /// All lists of a file: PEM, or one in DER.
    ///
    /// # Errors
    /// When one of them can't be used: it might revoke what would be trusted then.
    pub fn parse(text: &[u8]) -> Result<Vec<Self>, CrlError> {
        if text.first() == Some(&0x30) {
            return Ok(vec![Self::from_der(text, 1)?]);
        }
        let lists = CertificateRevocationListDer::pem_slice_iter(text);
        let lists: Vec<_> = lists.collect::<Result<_, _>>().map_err(CrlError::Pem)?;
        if lists.is_empty() {
            return Err(CrlError::Empty);
        }
        let lists = lists.iter().zip(1..);
        lists.map(|(der, at)| Self::from_der(der, at)).collect()
    }

    /// How many certificates it revokes.
    #[must_use]
    pub fn len(&self) -> usize {
        self.revoked.len()
    }

    /// Whether it revokes none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.revoked.is_empty()
    }

    fn from_der(der: &[u8], position: usize) -> Result<Self, CrlError> {
        let failed = |reason: String| CrlError::Form { position, reason };
        let list = OwnedCertRevocationList::from_der(der);
        let list = CertRevocationList::from(list.map_err(|e| failed(e.to_string()))?);
        let parsed = CertificateRevocationList::from_der(der);
        let (_, parsed) = parsed.map_err(|e| failed(e.to_string()))?;
        let revoked = parsed.iter_revoked_certificates();
        let revoked = revoked.map(|r| CertificateId::new(list.issuer(), r.raw_serial()));
        Ok(Self {
            revoked: revoked.collect(),
            next_update: parsed.next_update().map(|time| time.timestamp()),
            list,
        })
    }
}
