//! What a certificate must say to be an authority's. Path validation doesn't look at roots, nor at what keys are for.

use rustls::crypto::{WebPkiSupportedAlgorithms, aws_lc_rs};
use rustls_pki_types::CertificateDer;
use webpki::EndEntityCert;
use x509_parser::{
    certificate::X509Certificate, extensions::KeyUsage, prelude::FromDer as _, x509::X509Version,
};

use super::leaf::is_weak;

/// Why a certificate is no authority's, or none that can be trusted.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum AuthorityError {
    #[error("it is not valid X.509")]
    Form,
    #[error("it is not a certificate authority's (no CA:TRUE)")]
    NotAuthority,
    #[error("its key may not sign certificates (key usage without keyCertSign)")]
    KeyUsage,
    #[error("it has a critical extension of an unknown kind")]
    CriticalExtension,
    #[error("its RSA key has fewer than 2048 bits")]
    WeakKey,
    #[error("it is signed with an algorithm that is not accepted, such as SHA-1 or MD5")]
    Signature,
    #[error("it can't be used: {0}")]
    Other(webpki::Error),
}

/// Of roots and of what stands below them (RFC 5280, sections 4.2, 4.2.1.3 and 4.2.1.9). Whether it is valid now is another
/// question.
///
/// # Errors
/// What is wrong with it.
pub fn check_authority(certificate: &CertificateDer<'_>) -> Result<(), AuthorityError> {
    let Ok(([], parsed)) = X509Certificate::from_der(certificate) else {
        return Err(AuthorityError::Form);
    };
    // Nobody looks at the signature of a root.
    let is_root = parsed.subject().as_raw() == parsed.issuer().as_raw();
    // That says nothing of what it is for: who trusts it does (RFC 5280, section 6.1.4 (k)).
    let is_of_version_1 = is_root && parsed.version() == X509Version::V1;
    if !parsed.is_ca() && !is_of_version_1 {
        return Err(AuthorityError::NotAuthority);
    }
    if !is_for(&parsed, KeyUsage::key_cert_sign) {
        return Err(AuthorityError::KeyUsage);
    }
    if is_weak(&parsed) {
        return Err(AuthorityError::WeakKey);
    }
    if is_of_version_1 {
        return Ok(());
    }
    if !is_root && !has_accepted_signature(&parsed) {
        return Err(AuthorityError::Signature);
    }
    match EndEntityCert::try_from(certificate) {
        Ok(_) => Ok(()),
        Err(webpki::Error::UnsupportedCriticalExtension) => Err(AuthorityError::CriticalExtension),
        Err(error) => Err(AuthorityError::Other(error)),
    }
}

/// Whether a certificate's key is for this; one that doesn't say what it is for is for anything (RFC 5280, section
/// 4.2.1.3).
pub(super) fn is_for(certificate: &X509Certificate<'_>, usage: fn(&KeyUsage) -> bool) -> bool {
    let said = certificate.key_usage();
    said.is_ok_and(|said| said.is_none_or(|said| usage(said.value)))
}

/// Whether peers would take the algorithm that a certificate is signed with.
pub(super) fn has_accepted_signature(certificate: &X509Certificate<'_>) -> bool {
    let identifier = certificate.signature_algorithm.algorithm.as_bytes();
    is_accepted(identifier, accepted())
}

/// The signatures that are taken.
pub(super) fn accepted() -> WebPkiSupportedAlgorithms {
    aws_lc_rs::default_provider().signature_verification_algorithms
}

/// `identifier`: the content of an object identifier.
pub(super) fn is_accepted(identifier: &[u8], algorithms: WebPkiSupportedAlgorithms) -> bool {
    let mut all = algorithms.all.iter();
    all.any(|algorithm| is_named(&algorithm.signature_alg_id(), identifier))
}

/// Whether an algorithm's identifier is of this object identifier: that is behind its tag and length.
pub(super) fn is_named(algorithm: &[u8], identifier: &[u8]) -> bool {
    let behind = algorithm.get(2..);
    behind.is_some_and(|behind| behind.starts_with(identifier))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tls::testing::openssl::Openssl;

    const P256: &str = "EC -pkeyopt ec_paramgen_curve:P-256";

    fn root(openssl: &Openssl, key: &str, extensions: &str) -> CertificateDer<'static> {
        openssl.key("some", key);
        openssl.write(
            "own.cnf",
            &format!(
                "[req]\ndistinguished_name = dn\nprompt = no\n[dn]\nCN = some\n[own]\n{extensions}"
            ),
        );
        openssl.run("req -x509 -new -key some.key -config own.cnf -extensions own -out some.crt");
        openssl.certificate("some")
    }

    #[test]
    fn roots_must_be_authorities() {
        let openssl = Openssl::new();
        let ca = "basicConstraints = critical,CA:TRUE\n";
        let with = |line: &str| format!("{ca}{line}\n");
        let rsa = "RSA -pkeyopt rsa_keygen_bits:1024";
        for (key, extensions, expected) in [
            (P256, ca.to_owned(), Ok(())),
            (P256, with("keyUsage = critical,keyCertSign"), Ok(())),
            (
                P256,
                "basicConstraints = critical,CA:FALSE\n".to_owned(),
                Err(AuthorityError::NotAuthority),
            ),
            (
                P256,
                "subjectAltName = DNS:a.example\n".to_owned(),
                Err(AuthorityError::NotAuthority),
            ),
            (
                P256,
                with("keyUsage = critical,cRLSign"),
                Err(AuthorityError::KeyUsage),
            ),
            (
                P256,
                with("1.2.3.4 = critical,DER:0500"),
                Err(AuthorityError::CriticalExtension),
            ),
            (P256, with("1.2.3.4 = DER:0500"), Ok(())),
            (rsa, ca.to_owned(), Err(AuthorityError::WeakKey)),
        ] {
            let root = root(&openssl, key, &extensions);
            assert_eq!(check_authority(&root), expected, "{key} {extensions}");
        }
    }

    #[test]
    fn roots_of_version_1_are_as_good_as_who_trusts_them() {
        let openssl = Openssl::new();
        openssl.key("some", P256);
        openssl.run("req -new -key some.key -subj /CN=some -out some.csr");
        openssl.run("x509 -req -in some.csr -signkey some.key -out some.crt");
        assert_eq!(check_authority(&openssl.certificate("some")), Ok(()));
    }

    #[test]
    fn signatures_count_below_roots() {
        let openssl = Openssl::new();
        let extensions = "basicConstraints = critical,CA:TRUE\nkeyUsage = critical,keyCertSign\n";
        openssl.key("middle", P256);
        openssl.sign("middle", "root", extensions, "");
        assert_eq!(check_authority(&openssl.certificate("middle")), Ok(()));
        openssl.sign("middle", "root", extensions, "-md sha1");
        let refused = check_authority(&openssl.certificate("middle"));
        assert_eq!(refused, Err(AuthorityError::Signature));
        openssl.run(
            "req -x509 -new -key root.key -config openssl.cnf -extensions root -subj /CN=root -sha1 -out root.crt",
        );
        assert_eq!(check_authority(&openssl.certificate("root")), Ok(()));
    }

    #[test]
    fn what_is_no_certificate_is_refused() {
        for bytes in [&b""[..], &[0x30, 0], &[0xff; 64]] {
            let refused = check_authority(&CertificateDer::from(bytes));
            assert_eq!(refused, Err(AuthorityError::Form));
        }
    }
}
