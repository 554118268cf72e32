//! What path validation leaves out of a peer's own certificate.

use rustls::{CertificateError, Error};
use rustls_pki_types::CertificateDer;
use x509_parser::{certificate::X509Certificate, prelude::FromDer as _, public_key::PublicKey};

use super::verify::{VerifyError, ours};

/// Fewer bits are not safe (NIST SP 800-57, part 1), and rustls takes no signature of theirs.
const LEAST_RSA: usize = 2048;

/// An SVID says of its key that it signs, and nothing that only a CA's may (X509-SVID specification, sections 4.3 and
/// 5.2). One that says nothing is taken.
pub(super) fn check_svid(end_entity: &CertificateDer<'_>) -> Result<(), Error> {
    let certificate = check(end_entity)?;
    let usage = certificate.key_usage();
    let usage = usage.map_err(|_| CertificateError::BadEncoding)?;
    let wrong = match usage.map(|usage| usage.value) {
        Some(usage) if usage.key_cert_sign() => "keyCertSign is for authorities",
        Some(usage) if usage.crl_sign() => "cRLSign is for authorities",
        Some(usage) if !usage.digital_signature() => "digitalSignature is missing",
        _ => return Ok(()),
    };
    Err(ours(VerifyError::KeyUsage(wrong)))
}

/// Says what is wrong with a key before its signature does, which could only be called bad.
pub(super) fn check<'c>(end_entity: &'c CertificateDer<'_>) -> Result<X509Certificate<'c>, Error> {
    let parsed = X509Certificate::from_der(end_entity);
    let (_, certificate) = parsed.map_err(|_| CertificateError::BadEncoding)?;
    if is_weak(&certificate) {
        return Err(ours(VerifyError::WeakKey));
    }
    Ok(certificate)
}

/// Whether its key is not safe any more.
pub(super) fn is_weak(certificate: &X509Certificate<'_>) -> bool {
    let key = certificate.public_key().parsed();
    matches!(key, Ok(PublicKey::RSA(key)) if key.key_size() < LEAST_RSA)
}
