//! Certificate revocation lists (RFC 5280, section 5), from files.

use std::{
    fmt,
    sync::{Mutex, PoisonError},
};

use rustls::crypto::WebPkiSupportedAlgorithms;
use rustls_pki_types::{
    CertificateRevocationListDer, SignatureVerificationAlgorithm, SubjectPublicKeyInfoDer, pem,
    pem::PemObject as _,
};
use webpki::{CertRevocationList, OwnedCertRevocationList, RawPublicKeyEntity};
use x509_parser::{prelude::FromDer as _, revocation_list::CertificateRevocationList};

use super::{
    CertificateId,
    authority::{accepted, is_accepted, is_named},
    pem::words,
};

/// Keys whose verdict is kept for one list.
const KEYS: usize = 64;

/// One list, as handshakes need it and as live connections do.
pub struct RevocationList {
    /// Whose it is, without the outer tag.
    pub(super) issuer: Vec<u8>,
    pub(super) revoked: Vec<CertificateId>,
    /// When a new one was to be there, in seconds since 1970.
    pub next_update: Option<i64>,
    signed: Signed,
    /// Keys that were tried, and whether they have signed it: lists are long, and handshakes many.
    tried: Mutex<Vec<(SubjectPublicKeyInfoDer<'static>, bool)>>,
}

/// What the signature is about.
struct Signed {
    message: Vec<u8>,
    /// Object identifier.
    algorithm: Vec<u8>,
    signature: Vec<u8>,
}

/// Why a text is no revocation list.
#[derive(Debug, thiserror::Error)]
pub enum CrlError {
    #[error("not PEM: {}", words(.0))]
    Pem(pem::Error),
    #[error("no revocation list in it")]
    Empty,
    #[error("revocation list {position}: not one of X.509 (RFC 5280): {reason}")]
    Form { position: usize, reason: String },
    #[error(
        "revocation list {0}: signed with an algorithm that is not accepted, such as SHA-1 or MD5"
    )]
    Signature(usize),
    #[error(
        "revocation list {0}: no known authority of the name that it gives has signed it, neither with its key nor with one \
         before or after it"
    )]
    Stranger(usize),
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

    /// Whether this key has signed it.
    pub(super) fn is_signed_by(
        &self,
        key: &SubjectPublicKeyInfoDer<'static>,
        algorithms: WebPkiSupportedAlgorithms,
    ) -> bool {
        let mut tried = self.tried.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some((_, signed)) = tried.iter().find(|(known, _)| known == key) {
            return *signed;
        }
        let signed = self.signed.is_by(key, algorithms);
        if tried.len() >= KEYS {
            tried.clear();
        }
        tried.push((key.clone(), signed));
        signed
    }

    fn from_der(der: &[u8], position: usize) -> Result<Self, CrlError> {
        let failed = |reason: String| CrlError::Form { position, reason };
        let list = OwnedCertRevocationList::from_der(der);
        let list = CertRevocationList::from(list.map_err(|e| failed(e.to_string()))?);
        let parsed = CertificateRevocationList::from_der(der);
        let (_, parsed) = parsed.map_err(|e| failed(e.to_string()))?;
        let algorithm = parsed.signature_algorithm.algorithm.as_bytes();
        if !is_accepted(algorithm, accepted()) {
            return Err(CrlError::Signature(position));
        }
        let revoked = parsed.iter_revoked_certificates();
        let revoked = revoked.map(|r| CertificateId::new(list.issuer(), r.raw_serial()));
        Ok(Self {
            revoked: revoked.collect(),
            next_update: parsed.next_update().map(|time| time.timestamp()),
            signed: Signed {
                message: parsed.tbs_cert_list.as_ref().to_vec(),
                algorithm: algorithm.to_vec(),
                signature: parsed.signature_value.data.to_vec(),
            },
            issuer: list.issuer().to_vec(),
            tried: Mutex::default(),
        })
    }
}

impl Signed {
    fn is_by(
        &self,
        key: &SubjectPublicKeyInfoDer<'_>,
        algorithms: WebPkiSupportedAlgorithms,
    ) -> bool {
        let Ok(key) = RawPublicKeyEntity::try_from(key) else {
            return false;
        };
        let fits = |algorithm: &&&dyn SignatureVerificationAlgorithm| {
            is_named(&algorithm.signature_alg_id(), &self.algorithm)
        };
        let mut fitting = algorithms.all.iter().filter(fits);
        fitting.any(|algorithm| {
            let verified = key.verify_signature(*algorithm, &self.message, &self.signature);
            verified.is_ok()
        })
    }
}

impl fmt::Debug for RevocationList {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "RevocationList({})", self.revoked.len())
    }
}
