//! A key and certificates from elsewhere.

use tempfile::TempDir;

use super::*;
use crate::tls::testing::openssl::Openssl;

/// Files as `openssl` or another CA would have made them.
pub(super) struct Given(TempDir);

impl Given {
    pub(super) fn new(key: &rcgen::KeyPair, certificates: &[&rcgen::Certificate]) -> Self {
        let given = Self(tempfile::tempdir().unwrap());
        let pem: String = certificates.iter().map(|c| c.pem()).collect();
        given.write("ca.key", &key.serialize_pem(), 0o600);
        given.write("ca.crt", &pem, 0o644);
        given
    }

    pub(super) fn path(&self) -> &Path {
        self.0.path()
    }

    pub(super) fn write(&self, name: &str, text: &str, mode: u32) {
        let path = self.0.path().join(name);
        fs::write(&path, text).unwrap();
        fs::set_permissions(&path, Permissions::from_mode(mode)).unwrap();
    }

    fn error(&self) -> CaError {
        open(self.0.path()).err().unwrap()
    }
}

pub(super) fn key() -> rcgen::KeyPair {
    rcgen::KeyPair::generate_for(&rcgen::PKCS_ECDSA_P256_SHA256).unwrap()
}

pub(super) fn authority_params(name: &str, path_length: u8) -> rcgen::CertificateParams {
    let mut params = rcgen::CertificateParams::default();
    params.distinguished_name = rcgen::DistinguishedName::new();
    params
        .distinguished_name
        .push(rcgen::DnType::CommonName, name);
    params.is_ca = rcgen::IsCa::Ca(rcgen::BasicConstraints::Constrained(path_length));
    params.key_usages = vec![rcgen::KeyUsagePurpose::KeyCertSign];
    params
}

#[test]
fn nothing_outlives_the_authority() {
    let key = key();
    let mut params = authority_params("short", 0);
    let end = SystemTime::now() + Duration::from_secs(3600);
    params.not_after = end.into();
    let given = Given::new(&key, &[&params.self_signed(&key).unwrap()]);
    let ca = open(given.0.path()).unwrap();
    let svid = ca.issue(&web(), SystemTime::now()).unwrap();
    assert_eq!(svid.not_after, ca.not_after());
    assert!(svid.not_after <= end);
    let late = ca.issue(&web(), end + Duration::from_secs(1));
    assert!(matches!(late, Err(CaError::AuthorityExpired { .. })));
}

#[test]
fn a_given_intermediate_brings_its_chain() {
    let (root_key, key) = (key(), key());
    let root = authority_params("root", 1);
    let root_certificate = root.self_signed(&root_key).unwrap();
    let root = rcgen::Issuer::from_params(&root, &root_key);
    let issuer = authority_params("issuer", 0)
        .signed_by(&key, &root)
        .unwrap();
    let given = Given::new(&key, &[&issuer, &root_certificate]);
    let ca = open(given.0.path()).unwrap();
    let svid = ca.issue(&web(), SystemTime::now()).unwrap();
    assert_eq!(svid.certified.cert[1..], [issuer.der().clone()]);
    assert_eq!(
        ca.bundle().roots(&domain()),
        [root_certificate.der().clone()]
    );

    // The same with the root beside it.
    let given = Given::new(&key, &[&issuer]);
    assert!(matches!(given.error(), CaError::NoRoot { .. }));
    given.write("root.crt", &root_certificate.pem(), 0o644);
    assert_eq!(
        open(given.0.path())
            .unwrap()
            .bundle()
            .roots(&domain())
            .len(),
        1
    );
}

#[test]
fn nothing_outlives_a_root_that_is_in_the_file_of_roots_alone() {
    let (root_key, key) = (key(), key());
    let now = leaf::whole_seconds(SystemTime::now());
    let end = now + Duration::from_secs(3600);
    let mut root = authority_params("root", 1);
    root.not_after = end.into();
    let root_certificate = root.self_signed(&root_key).unwrap();
    let root = rcgen::Issuer::from_params(&root, &root_key);
    let issuer = authority_params("issuer", 0)
        .signed_by(&key, &root)
        .unwrap();
    let given = Given::new(&key, &[&issuer]);
    given.write("root.crt", &root_certificate.pem(), 0o644);
    let ca = open(given.0.path()).unwrap();
    assert_eq!(ca.not_after(), end);
    assert_eq!(ca.issue(&web(), now).unwrap().not_after, end);
    let late = EmbeddedCa::open_at(given.0.path(), &domain(), DAY, end);
    assert!(matches!(late, Err(CaError::AuthorityExpired { .. })));
}

#[test]
fn further_roots_are_trusted() {
    let dir = tempfile::tempdir().unwrap();
    open(dir.path()).unwrap();
    let other_key = key();
    let other = authority_params("other", 0)
        .self_signed(&other_key)
        .unwrap();
    fs::write(dir.path().join("root.crt"), other.pem()).unwrap();
    let bundle = open(dir.path()).unwrap().bundle();
    assert_eq!(bundle.roots(&domain()).len(), 2);
}

#[test]
fn further_roots_must_be_authorities() {
    let dir = tempfile::tempdir().unwrap();
    open(dir.path()).unwrap();
    let mut leaf = authority_params("leaf", 0);
    leaf.is_ca = rcgen::IsCa::ExplicitNoCa;
    let mut mute = authority_params("mute", 0);
    mute.key_usages = vec![rcgen::KeyUsagePurpose::CrlSign];
    for (params, why) in [(leaf, "CA:TRUE"), (mute, "keyCertSign")] {
        let certificate = params.self_signed(&key()).unwrap();
        fs::write(dir.path().join("root.crt"), certificate.pem()).unwrap();
        let error = open(dir.path()).err().unwrap().to_string();
        assert!(error.contains("root.crt") && error.contains(why), "{error}");
    }
}

#[test]
fn a_given_rsa_authority_signs() {
    let key = rcgen::KeyPair::generate_rsa_for(&rcgen::PKCS_RSA_SHA256, rcgen::RsaKeySize::_2048)
        .unwrap();
    let root = authority_params("rsa", 0).self_signed(&key).unwrap();
    let given = Given::new(&key, &[&root]);
    assert!(
        open(given.0.path())
            .unwrap()
            .issue(&web(), SystemTime::now())
            .is_ok()
    );
}

#[test]
fn certificates_that_may_not_sign_are_refused() {
    let (first, second) = (key(), key());
    let good = authority_params("good", 0);
    let certificate = good.self_signed(&first).unwrap();
    assert!(matches!(
        Given::new(&second, &[&certificate]).error(),
        CaError::KeyMismatch { .. }
    ));

    let mut leaf = good.clone();
    leaf.is_ca = rcgen::IsCa::ExplicitNoCa;
    let given = Given::new(&first, &[&leaf.self_signed(&first).unwrap()]);
    assert!(matches!(
        given.error(),
        CaError::NotAuthority { position: 1, .. }
    ));

    let mut mute = good;
    mute.key_usages = vec![rcgen::KeyUsagePurpose::DigitalSignature];
    let given = Given::new(&first, &[&mute.self_signed(&first).unwrap()]);
    assert!(matches!(
        given.error(),
        CaError::NotAuthority { position: 1, .. }
    ));
}

#[test]
fn authorities_out_of_their_time_are_refused() {
    let first = key();
    let good = authority_params("good", 0);
    let mut old = good.clone();
    old.not_after = (SystemTime::now() - DAY).into();
    let given = Given::new(&first, &[&old.self_signed(&first).unwrap()]);
    assert!(matches!(
        given.error(),
        CaError::Expired { position: 1, .. }
    ));

    let mut early = good;
    early.not_before = (SystemTime::now() + DAY).into();
    let given = Given::new(&first, &[&early.self_signed(&first).unwrap()]);
    assert!(matches!(
        given.error(),
        CaError::NotYetValid { position: 1, .. }
    ));
}

#[test]
fn files_of_another_kind_are_refused() {
    let first = key();
    let given = Given::new(&first, &[]);
    assert!(matches!(given.error(), CaError::NoCertificate { .. }));
    given.write("ca.key", "no key", 0o600);
    assert!(matches!(given.error(), CaError::KeyPem { .. }));
    given.write("ca.key", &first.serialize_pem(), 0o600);
    given.write(
        "ca.crt",
        "-----BEGIN CERTIFICATE-----\nMTIz\n-----END CERTIFICATE-----\n",
        0o644,
    );
    assert!(matches!(
        given.error(),
        CaError::Certificate { position: 1, .. }
    ));
}

#[test]
fn chains_that_no_peer_would_accept_are_refused() {
    let (root_key, other_key, key) = (key(), key(), key());
    // The root lets no further CA stand below it.
    let root = authority_params("root", 0);
    let root_certificate = root.self_signed(&root_key).unwrap();
    let root = rcgen::Issuer::from_params(&root, &root_key);
    let issuer = authority_params("issuer", 0)
        .signed_by(&key, &root)
        .unwrap();
    let given = Given::new(&key, &[&issuer, &root_certificate]);
    assert!(matches!(
        given.error(),
        CaError::PathLength {
            position: 2,
            allowed: 0,
            ..
        }
    ));

    // Another root of the same name.
    let impostor = authority_params("root", 1).self_signed(&other_key).unwrap();
    let given = Given::new(&key, &[&issuer, &impostor]);
    assert!(matches!(given.error(), CaError::SelfTest { .. }));
}

#[test]
fn roots_that_others_would_not_use_are_refused() {
    let openssl = Openssl::new();
    let config = openssl.read("openssl.cnf");
    for (line, why) in [
        ("1.2.3.4 = critical, DER:0500", "critical extension"),
        ("extendedKeyUsage = emailProtection", "extended key usage"),
    ] {
        let root = config.replace("[root]\n", &format!("[root]\n{line}\n"));
        openssl.write("own.cnf", &root);
        openssl.run("req -x509 -new -key root.key -config own.cnf -extensions root -subj /CN=root -days 9 -out root.crt");
        let given = Given(tempfile::tempdir().unwrap());
        given.write("ca.key", &openssl.read("root.key"), 0o600);
        given.write("ca.crt", &openssl.read("root.crt"), 0o644);
        let error = given.error().to_string();
        assert!(error.contains(why) && error.contains("ca.crt"), "{error}");
    }
}

#[test]
fn keys_that_can_not_be_used_are_called_what_they_are() {
    let openssl = Openssl::new();
    let given = Given(tempfile::tempdir().unwrap());
    given.write("ca.crt", &openssl.read("root.crt"), 0o644);
    for arguments in [
        "pkey -in root.key -aes256 -passout pass:secret -out locked.key",
        "ec -in root.key -aes256 -passout pass:secret -out locked.key",
    ] {
        openssl.run(arguments);
        given.write("ca.key", &openssl.read("locked.key"), 0o600);
        assert!(matches!(given.error(), CaError::KeyEncrypted { .. }));
    }
    openssl.run("genpkey -algorithm EC -pkeyopt ec_paramgen_curve:P-256 -pkeyopt ec_param_enc:explicit -out root.key");
    openssl.run("req -x509 -new -key root.key -config openssl.cnf -extensions root -subj /CN=root -days 9 -out root.crt");
    given.write("ca.key", &openssl.read("root.key"), 0o600);
    given.write("ca.crt", &openssl.read("root.crt"), 0o644);
    let error = given.error().to_string();
    assert!(
        error.contains("curve") || error.contains("unsupported kind"),
        "{error}"
    );
}
