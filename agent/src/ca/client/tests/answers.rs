use rcgen::{BasicConstraints, CertificateParams, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair};

use rustls_pki_types::CertificateDer;

use super::*;
use crate::ca::{leaf::Validity, pem};

const HOUR: Duration = Duration::from_secs(3600);

/// A root that signs whatever it is told to.
struct Root {
    issuer: Issuer<'static, KeyPair>,
    certificate: CertificateDer<'static>,
}

impl Root {
    fn new() -> Self {
        let key = KeyPair::generate().unwrap();
        let mut params = CertificateParams::default();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let certificate = params.self_signed(&key).unwrap().der().clone();
        Self {
            issuer: Issuer::new(params, key),
            certificate,
        }
    }

    fn leaf(
        &self,
        key: &aws_lc_rs::signature::EcdsaKeyPair,
        life: Duration,
        change: impl FnOnce(&mut CertificateParams),
    ) -> CertificateResponse {
        let now = SystemTime::now();
        let validity = Validity {
            not_before: now - Duration::from_secs(60),
            not_after: now + life,
        };
        let names = leaf::svid_name(&id("shop", "web")).unwrap();
        let mut params = leaf::leaf(names, validity, leaf::serial().unwrap());
        change(&mut params);
        let leaf = params.signed_by(&LeafKey(key), &self.issuer).unwrap();
        CertificateResponse {
            cert_chain: vec![pem(leaf.der()), pem(&self.certificate)],
        }
    }
}

fn check(
    response: &CertificateResponse,
    key: &aws_lc_rs::signature::EcdsaKeyPair,
) -> Result<Svid, AnswerError> {
    let web = id("shop", "web");
    Answer::parse(response)?.check(&web, key, &[], SystemTime::now())
}

#[test]
fn answers_that_would_not_serve_peers_are_refused() {
    let (root, key) = (Root::new(), leaf::generate_key().unwrap());
    check(&root.leaf(&key, HOUR, |_| {}), &key).unwrap();

    let names = leaf::svid_name(&id("shop", "db")).unwrap();
    let other = root.leaf(&key, HOUR, |params| params.subject_alt_names = names);
    assert!(matches!(
        check(&other, &key),
        Err(AnswerError::WrongIdentity(_))
    ));

    let stolen = leaf::generate_key().unwrap();
    let other = root.leaf(&stolen, HOUR, |_| {});
    assert!(matches!(check(&other, &key), Err(AnswerError::WrongKey)));

    let long = root.leaf(&key, 48 * HOUR, |_| {});
    assert!(matches!(check(&long, &key), Err(AnswerError::TooLong(_))));

    for missing in [
        ExtendedKeyUsagePurpose::ServerAuth,
        ExtendedKeyUsagePurpose::ClientAuth,
    ] {
        let half = root.leaf(&key, HOUR, |params| {
            params.extended_key_usages.retain(|usage| *usage != missing);
        });
        assert!(matches!(check(&half, &key), Err(AnswerError::Verify(_))));
    }

    let over = root.leaf(&key, HOUR, |params| {
        params.not_after = (SystemTime::now() - Duration::from_secs(1)).into();
    });
    assert!(matches!(check(&over, &key), Err(AnswerError::Verify(_))));
}

#[test]
fn chains_must_hold() {
    let (root, key) = (Root::new(), leaf::generate_key().unwrap());
    let good = root.leaf(&key, HOUR, |_| {});
    let mut other = good.clone();
    other.cert_chain[1] = pem(&Root::new().certificate);
    assert!(matches!(check(&other, &key), Err(AnswerError::Verify(_))));
    let mut alone = good.clone();
    alone.cert_chain.truncate(1);
    assert!(matches!(check(&alone, &key), Err(AnswerError::Verify(_))));
    // Istio's older servers put several certificates into one text.
    let joined = CertificateResponse {
        cert_chain: vec![good.cert_chain.concat()],
    };
    check(&joined, &key).unwrap();
}

#[test]
fn what_is_no_certificate_is_named() {
    let empty = CertificateResponse::default();
    assert!(matches!(Answer::parse(&empty), Err(AnswerError::Empty)));
    let (root, key) = (Root::new(), leaf::generate_key().unwrap());
    let mut cut = root.leaf(&key, HOUR, |_| {});
    cut.cert_chain[1] = "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n".to_owned();
    assert!(matches!(
        Answer::parse(&cut),
        Err(AnswerError::Certificate(2))
    ));
}
