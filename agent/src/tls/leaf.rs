//! What path validation leaves out of a peer's own certificate.

use rustls::{CertificateError, Error};
use rustls_pki_types::CertificateDer;
use x509_parser::{
    certificate::X509Certificate, extensions::KeyUsage, prelude::FromDer as _,
    public_key::PublicKey,
};

use super::{
    HandshakeError,
    verify::{VerifyError, ours},
};

/// Fewer bits are not safe (NIST SP 800-57, part 1), and rustls takes no signature of theirs.
const LEAST_RSA: usize = 2048;

/// An SVID says of its key that it signs, and nothing that only a CA's may (X509-SVID specification, sections 4.3 and
/// 5.2). One that says nothing is taken.
///
/// # Errors
/// What is wrong with it.
pub fn check_svid(end_entity: &CertificateDer<'_>) -> Result<(), HandshakeError> {
    Ok(check_own(end_entity)?)
}

/// As [`check_svid`].
pub(super) fn check_own(end_entity: &CertificateDer<'_>) -> Result<(), Error> {
    let certificate = check(end_entity)?;
    let wrong = if may(&certificate, KeyUsage::key_cert_sign) {
        "keyCertSign is for authorities"
    } else if may(&certificate, KeyUsage::crl_sign) {
        "cRLSign is for authorities"
    } else {
        return check_signs(&certificate);
    };
    Err(ours(VerifyError::KeyUsage(wrong)))
}

/// Who shows a certificate signs with its key (RFC 8446, section 4.4.2.2).
pub(super) fn check_client(end_entity: &CertificateDer<'_>) -> Result<(), Error> {
    check_signs(&check(end_entity)?)
}

fn check_signs(certificate: &X509Certificate<'_>) -> Result<(), Error> {
    let usage = certificate.key_usage();
    let usage = usage.map_err(|_| CertificateError::BadEncoding)?;
    match usage {
        Some(usage) if !usage.value.digital_signature() => {
            Err(ours(VerifyError::KeyUsage("digitalSignature is missing")))
        }
        _ => Ok(()),
    }
}

/// Whether it says so.
fn may(certificate: &X509Certificate<'_>, usage: fn(&KeyUsage) -> bool) -> bool {
    let said = certificate.key_usage();
    said.is_ok_and(|said| said.is_some_and(|said| usage(said.value)))
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tls::testing::openssl::Openssl;

    #[test]
    fn keys_of_clients_sign() {
        let openssl = Openssl::new();
        openssl.key("leaf", "EC -pkeyopt ec_paramgen_curve:P-256");
        for (usage, client, svid) in [
            ("", true, true),
            ("keyUsage = critical,digitalSignature\n", true, true),
            ("keyUsage = critical,keyEncipherment\n", false, false),
            (
                "keyUsage = critical,digitalSignature,keyCertSign\n",
                true,
                false,
            ),
            ("keyUsage = digitalSignature,cRLSign\n", true, false),
        ] {
            let extensions = format!("basicConstraints = critical,CA:FALSE\n{usage}");
            openssl.sign("leaf", "root", &extensions, "");
            let leaf = openssl.certificate("leaf");
            assert_eq!(check_client(&leaf).is_ok(), client, "{usage}");
            assert_eq!(check_svid(&leaf).is_ok(), svid, "{usage}");
        }
    }
}
