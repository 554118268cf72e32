//! Whether clients would take a certificate that a gateway is to show them.

use rustls_pki_types::{CertificateDer, UnixTime};
use x509_parser::{certificate::X509Certificate, prelude::FromDer as _};

use super::{authority::has_accepted_signature, leaf::is_weak};

/// Why they wouldn't.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ServedError {
    #[error("it is not valid X.509")]
    Form,
    #[error("it has expired")]
    Expired,
    #[error("it is not valid yet")]
    NotYetValid,
    #[error("it is an authority's (CA:TRUE), not a server's own")]
    Authority,
    #[error("its RSA key has fewer than 2048 bits")]
    WeakKey,
    #[error("it is signed with an algorithm that is not accepted, such as SHA-1 or MD5")]
    Signature,
    #[error("its extended key usage is not a server's (no serverAuth)")]
    Purpose,
    #[error(
        "the certificate behind it is not its issuer's: those above it follow one behind the other"
    )]
    Chain,
}

/// The first of a chain, the server's own.
///
/// # Errors
/// What is wrong with it.
pub(super) fn check_served(chain: &[CertificateDer<'_>], now: UnixTime) -> Result<(), ServedError> {
    let mut parsed = chain.iter().map(|der| {
        let parsed = X509Certificate::from_der(der);
        parsed.map(|(_, parsed)| parsed)
    });
    let Some(Ok(own)) = parsed.next() else {
        return Err(ServedError::Form);
    };
    let at = i64::try_from(now.as_secs()).unwrap_or(i64::MAX);
    let is_own_issuer = own.subject().as_raw() == own.issuer().as_raw();
    let purposes = own.extended_key_usage().map_err(|_| ServedError::Form)?;
    let wrong = [
        (
            own.validity().not_after.timestamp() < at,
            ServedError::Expired,
        ),
        (
            own.validity().not_before.timestamp() > at,
            ServedError::NotYetValid,
        ),
        // `openssl req -x509` makes servers' own certificates like that.
        (own.is_ca() && !is_own_issuer, ServedError::Authority),
        (is_weak(&own), ServedError::WeakKey),
        (
            !is_own_issuer && !has_accepted_signature(&own),
            ServedError::Signature,
        ),
        (
            purposes.is_some_and(|p| !p.value.server_auth && !p.value.any),
            ServedError::Purpose,
        ),
    ];
    if let Some((_, error)) = wrong.into_iter().find(|(is_wrong, _)| *is_wrong) {
        return Err(error);
    }
    match parsed.next() {
        None => Ok(()),
        Some(Ok(above)) if above.subject().as_raw() == own.issuer().as_raw() => Ok(()),
        Some(_) => Err(ServedError::Chain),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tls::testing::openssl::Openssl;

    const P256: &str = "EC -pkeyopt ec_paramgen_curve:P-256";
    const LEAF: &str = "basicConstraints = critical,CA:FALSE\nsubjectAltName = DNS:a.example\n";

    #[test]
    fn certificates_that_no_client_would_take() {
        let openssl = Openssl::new();
        openssl.key("leaf", P256);
        let past = "-startdate 20200101000000Z -enddate 20200102000000Z";
        let future = "-startdate 20900101000000Z -enddate 20900102000000Z";
        let ca = "basicConstraints = critical,CA:TRUE\n".to_owned();
        let purpose = |name: &str| format!("{LEAF}extendedKeyUsage = {name}\n");
        for (extensions, options, expected) in [
            (LEAF.to_owned(), "", Ok(())),
            (purpose("serverAuth"), "", Ok(())),
            (purpose("clientAuth"), "", Err(ServedError::Purpose)),
            (LEAF.to_owned(), past, Err(ServedError::Expired)),
            (LEAF.to_owned(), future, Err(ServedError::NotYetValid)),
            (LEAF.to_owned(), "-md sha1", Err(ServedError::Signature)),
            (ca, "", Err(ServedError::Authority)),
        ] {
            openssl.sign("leaf", "root", &extensions, options);
            let chain = [openssl.certificate("leaf")];
            let checked = check_served(&chain, UnixTime::now());
            assert_eq!(checked, expected, "{extensions} {options}");
        }
    }

    #[test]
    fn a_certificate_of_its_own_may_be_anybodys() {
        let openssl = Openssl::new();
        openssl.key("own", P256);
        openssl.run("req -x509 -new -key own.key -config openssl.cnf -extensions root -subj /CN=a.example -out own.crt");
        let chain = [openssl.certificate("own")];
        assert_eq!(check_served(&chain, UnixTime::now()), Ok(()));
    }

    #[test]
    fn chains_lead_upwards() {
        let openssl = Openssl::new();
        let authority = "basicConstraints = critical,CA:TRUE\n";
        openssl.key("middle", P256);
        openssl.sign("middle", "root", authority, "");
        openssl.key("leaf", P256);
        openssl.sign("leaf", "middle", LEAF, "");
        let check = |names: &[&str]| {
            let chain: Vec<_> = names.iter().map(|name| openssl.certificate(name)).collect();
            check_served(&chain, UnixTime::now())
        };
        assert_eq!(check(&["leaf"]), Ok(()));
        assert_eq!(check(&["leaf", "middle", "root"]), Ok(()));
        assert_eq!(check(&["leaf", "root"]), Err(ServedError::Chain));
        assert_eq!(check(&[]), Err(ServedError::Form));
    }
}
