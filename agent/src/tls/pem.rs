//! Certificates and keys from PEM.

use rustls::{
    Error, RootCertStore, crypto::aws_lc_rs::sign::any_supported_type, sign::CertifiedKey,
};
use rustls_pki_types::{
    CertificateDer, PrivateKeyDer,
    pem::{self, PemObject as _},
};
use zeroize::Zeroize as _;

/// Why a text is of no use.
#[derive(Debug, thiserror::Error)]
pub enum PemError {
    #[error("{0}")]
    Pem(#[from] pem::Error),
    #[error("no certificate in it")]
    Empty,
    #[error("{0}")]
    Certificate(#[from] Error),
}

/// All of a text; at least one.
pub(super) fn certificates(pem: &[u8]) -> Result<Vec<CertificateDer<'static>>, PemError> {
    let read: Vec<_> = CertificateDer::pem_slice_iter(pem).collect::<Result<_, _>>()?;
    if read.is_empty() {
        return Err(PemError::Empty);
    }
    Ok(read)
}

/// All of a text, as roots.
pub(super) fn authorities(pem: &[u8]) -> Result<RootCertStore, PemError> {
    let mut roots = RootCertStore::empty();
    for certificate in certificates(pem)? {
        roots.add(certificate)?;
    }
    Ok(roots)
}

/// A chain and its key, which belong together.
pub(super) fn pair(
    chain: Vec<CertificateDer<'static>>,
    key: &[u8],
) -> Result<CertifiedKey, PemError> {
    let mut der = PrivateKeyDer::from_pem_slice(key)?;
    let pair = certified(chain, &der);
    der.zeroize();
    pair
}

/// A chain and its key, which belong together.
///
/// # Errors
/// When they don't, or the key is of a kind that TLS has no use for.
pub fn certified(
    chain: Vec<CertificateDer<'static>>,
    key: &PrivateKeyDer<'_>,
) -> Result<CertifiedKey, PemError> {
    let pair = CertifiedKey::new(chain, any_supported_type(key)?);
    pair.keys_match()?;
    Ok(pair)
}
