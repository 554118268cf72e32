//! Certificates and keys from PEM.

use rustls::{
    Error, InconsistentKeys, crypto::aws_lc_rs::sign::any_supported_type, sign::CertifiedKey,
};
use rustls_pki_types::{
    CertificateDer, PrivateKeyDer,
    pem::{self, PemObject as _},
};
use x509_parser::{certificate::X509Certificate, prelude::FromDer as _};
use zeroize::Zeroize as _;

use super::{AuthorityError, check_authority, handshake::reason, roots::Roots};

/// How keys with a passphrase say so: PKCS #8 (RFC 7468, section 11), and the forms before it (RFC 1421, section 4.6.1).
const ENCRYPTED: [&[u8]; 2] = [
    b"-----BEGIN ENCRYPTED PRIVATE KEY-----",
    b"Proc-Type: 4,ENCRYPTED",
];

/// Why a text is of no use.
#[derive(Debug, thiserror::Error)]
pub enum PemError {
    #[error("{}", words(.0))]
    Pem(#[from] pem::Error),
    #[error("no certificate in it")]
    Empty,
    #[error("certificate {0} is not valid X.509")]
    Certificate(usize),
    #[error("certificate {position} can't serve as an authority: {source}")]
    Authority {
        position: usize,
        source: AuthorityError,
    },
    #[error("no private key in it")]
    NoKey,
    #[error("the private key has a passphrase: `openssl pkey` writes it without one")]
    Encrypted,
    #[error(
        "a private key of an unsupported kind: use ECDSA P-256, P-384 or P-521, Ed25519, or RSA of 2048 to 8192 bits"
    )]
    KeyKind,
    #[error(
        "the private key is not that of the first certificate: the key's own comes first, those above it behind"
    )]
    Mismatch,
    #[error("the first certificate can't be used: {}", unusable(.0))]
    Leaf(Error),
}

/// What is wrong with PEM; the library shows text as lists of bytes.
pub(super) fn words(error: &pem::Error) -> String {
    match error {
        pem::Error::MissingSectionEnd { end_marker } => {
            let marker = String::from_utf8_lossy(end_marker);
            format!(
                "it is cut off: `-----END {}-----` is missing",
                marker.trim()
            )
        }
        pem::Error::IllegalSectionStart { line } => {
            let line = String::from_utf8_lossy(line);
            format!("`{}` begins nothing of PEM", line.trim())
        }
        other => other.to_string(),
    }
}

fn unusable(error: &Error) -> String {
    match error {
        Error::InvalidCertificate(error) => reason(error),
        other => other.to_string(),
    }
}

/// All of a text; at least one.
pub(super) fn certificates(pem: &[u8]) -> Result<Vec<CertificateDer<'static>>, PemError> {
    let read: Vec<_> = CertificateDer::pem_slice_iter(pem).collect::<Result<_, _>>()?;
    if read.is_empty() {
        return Err(PemError::Empty);
    }
    let is_whole = |der: &CertificateDer<'_>| matches!(X509Certificate::from_der(der), Ok(([], _)));
    match read.iter().position(|der| !is_whole(der)) {
        Some(index) => Err(PemError::Certificate(index + 1)),
        None => Ok(read),
    }
}

/// All of a text, as roots.
pub(super) fn authorities(pem: &[u8]) -> Result<Roots, PemError> {
    let mut roots = Roots::default();
    for (certificate, position) in certificates(pem)?.iter().zip(1..) {
        let failed = |source| PemError::Authority { position, source };
        check_authority(certificate).map_err(failed)?;
        let added = roots.add(certificate);
        added.map_err(|error| failed(AuthorityError::Other(error)))?;
    }
    Ok(roots)
}

/// Whether a text has a key with a passphrase.
#[must_use]
pub fn is_encrypted(key: &[u8]) -> bool {
    let is_in = |part: &&[u8]| key.windows(part.len()).any(|some| some == *part);
    ENCRYPTED.iter().any(is_in)
}

/// A chain and its key, which belong together.
pub(super) fn pair(
    chain: Vec<CertificateDer<'static>>,
    key: &[u8],
) -> Result<CertifiedKey, PemError> {
    if is_encrypted(key) {
        return Err(PemError::Encrypted);
    }
    let mut der = PrivateKeyDer::from_pem_slice(key).map_err(|error| match error {
        pem::Error::NoItemsFound => PemError::NoKey,
        error => PemError::Pem(error),
    })?;
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
    let key = any_supported_type(key).map_err(|_| PemError::KeyKind)?;
    let pair = CertifiedKey::new(chain, key);
    match pair.keys_match() {
        Ok(()) => Ok(pair),
        Err(Error::InconsistentKeys(InconsistentKeys::KeyMismatch)) => Err(PemError::Mismatch),
        Err(error) => Err(PemError::Leaf(error)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tls::testing::authority;

    #[test]
    fn what_is_cut_off_is_told_in_words() {
        let (_, pem) = authority("some");
        let cut = pem.replace("-----END CERTIFICATE-----", "");
        let error = certificates(cut.as_bytes()).unwrap_err().to_string();
        assert!(
            error.contains("cut off") && error.contains("END CERTIFICATE"),
            "{error}"
        );
    }
}
