use std::process::Command;

use rcgen::{CertificateParams, KeyPair, PublicKeyData, SigningKey};

use super::*;
use crate::ca::leaf;

fn web() -> SpiffeId {
    "spiffe://cluster.local/ns/shop/sa/web".parse().unwrap()
}

fn csr(key: &impl SigningKey, names: Vec<rcgen::SanType>) -> String {
    let mut params = CertificateParams::default();
    params.subject_alt_names = names;
    params.serialize_request(key).unwrap().pem().unwrap()
}

/// What openssl makes; `None` where there is no openssl.
fn openssl(arguments: &[&str]) -> Option<String> {
    let dir = tempfile::tempdir().unwrap();
    let output = Command::new("openssl")
        .args(["req", "-new", "-nodes", "-subj", "/CN=x", "-keyout"])
        .arg(dir.path().join("key"))
        .args(arguments)
        .output()
        .ok()?;
    assert!(
        output.status.success(),
        "{}",
        String::from_utf8_lossy(&output.stderr)
    );
    Some(String::from_utf8(output.stdout).unwrap())
}

#[test]
fn keys_of_every_accepted_kind() {
    for algorithm in [
        &rcgen::PKCS_ECDSA_P256_SHA256,
        &rcgen::PKCS_ECDSA_P384_SHA384,
        &rcgen::PKCS_ED25519,
    ] {
        let key = KeyPair::generate_for(algorithm).unwrap();
        let parsed = Csr::parse(&csr(&key, Vec::new())).unwrap();
        assert_eq!(parsed.key.der_bytes(), key.der_bytes());
        assert_eq!(parsed.key_der, key.subject_public_key_info());
    }
    let rsa = ["rsa:2048", "rsa:3072"].map(|size| openssl(&["-newkey", size, "-sha256"]));
    for text in rsa.into_iter().flatten() {
        Csr::parse(&text).unwrap();
    }
}

#[test]
fn weak_keys_and_signatures_are_refused_with_the_reason() {
    let cases: [(&[&str], CsrError); 4] = [
        (&["-newkey", "rsa:1024", "-sha256"], CsrError::RsaSize(1024)),
        (&["-newkey", "rsa:2047", "-sha256"], CsrError::RsaSize(2047)),
        (&["-newkey", "rsa:2048", "-sha1"], CsrError::Sha1),
        (
            &[
                "-newkey",
                "ec",
                "-pkeyopt",
                "ec_paramgen_curve:P-521",
                "-sha512",
            ],
            CsrError::KeyKind,
        ),
    ];
    for (arguments, expected) in cases {
        if let Some(text) = openssl(arguments) {
            assert_eq!(Csr::parse(&text).err(), Some(expected), "{arguments:?}");
        }
    }
    if let Some(text) = openssl(&[
        "-newkey",
        "ec",
        "-pkeyopt",
        "ec_paramgen_curve:secp256k1",
        "-sha256",
    ]) {
        assert!(matches!(
            Csr::parse(&text).err(),
            Some(CsrError::SignatureAlgorithm(_))
        ));
    }
}

/// Signs with another key than the one it shows.
struct Liar(KeyPair, KeyPair);

impl PublicKeyData for Liar {
    fn der_bytes(&self) -> &[u8] {
        self.0.der_bytes()
    }

    fn algorithm(&self) -> &'static rcgen::SignatureAlgorithm {
        self.0.algorithm()
    }
}

impl SigningKey for Liar {
    fn sign(&self, message: &[u8]) -> Result<Vec<u8>, rcgen::Error> {
        self.1.sign(message)
    }
}

#[test]
fn the_private_key_must_be_held() {
    let liar = Liar(KeyPair::generate().unwrap(), KeyPair::generate().unwrap());
    assert_eq!(
        Csr::parse(&csr(&liar, Vec::new())).err(),
        Some(CsrError::Signature)
    );
}

#[test]
fn names_are_the_granted_one_or_none() {
    let key = KeyPair::generate().unwrap();
    let of = |names| Csr::parse(&csr(&key, names)).unwrap().check_names(&web());
    assert_eq!(of(Vec::new()), Ok(()));
    assert_eq!(of(leaf::svid_name(&web()).unwrap()), Ok(()));
    let other = "spiffe://cluster.local/ns/shop/sa/db".parse().unwrap();
    assert!(of(leaf::svid_name(&other).unwrap()).is_err());
    let both = [web(), other]
        .map(|id| leaf::svid_name(&id).unwrap())
        .concat();
    assert!(of(both).is_err());
    let dns = rcgen::SanType::DnsName("web.shop.svc".try_into().unwrap());
    assert!(of(vec![dns]).is_err());
}

#[test]
fn what_is_no_request_is_refused() {
    let key = KeyPair::generate().unwrap();
    let good = csr(&key, Vec::new());
    for text in ["", "-----BEGIN CERTIFICATE REQUEST-----", "x"] {
        assert_eq!(Csr::parse(text).err(), Some(CsrError::Encoding));
    }
    let lines: Vec<_> = good.lines().collect();
    for cut in 1..lines.len() - 1 {
        let mut lines = lines.clone();
        lines.remove(cut);
        assert!(Csr::parse(&lines.join("\n")).is_err());
    }
    let certificate = good.replace("CERTIFICATE REQUEST", "CERTIFICATE");
    assert_eq!(Csr::parse(&certificate).err(), Some(CsrError::Encoding));
}

#[test]
fn one_request_comes_alone_under_either_label() {
    let key = KeyPair::generate().unwrap();
    let good = csr(&key, Vec::new());
    let other = csr(&KeyPair::generate().unwrap(), Vec::new());
    let two = format!("{good}{other}");
    assert_eq!(Csr::parse(&two).err(), Some(CsrError::Encoding));
    let label = good.replace("CERTIFICATE REQUEST", "NEW CERTIFICATE REQUEST");
    Csr::parse(&label).unwrap();
    Csr::parse(&good.replace('\n', "\r\n")).unwrap();
}

#[test]
fn a_key_has_one_form() {
    let arguments =
        "-newkey ec -pkeyopt ec_paramgen_curve:P-256 -sha256 -pkeyopt ec_param_enc:named_curve";
    let arguments: Vec<_> = arguments.split(' ').collect();
    if let Some(text) = openssl(&arguments) {
        Csr::parse(&text).unwrap();
    }
    let dir = tempfile::tempdir().unwrap();
    let file = |name: &str| dir.path().join(name);
    let run = |arguments: &str, from: &str, to: &str| {
        let mut command = Command::new("openssl");
        command
            .args(arguments.split(' '))
            .args(["-out".as_ref(), file(to).as_os_str()]);
        if !from.is_empty() {
            let option = if arguments.starts_with("req") {
                "-key"
            } else {
                "-in"
            };
            command.args([option.as_ref(), file(from).as_os_str()]);
        }
        command
            .output()
            .ok()
            .filter(|output| output.status.success())
    };
    let made = run("ecparam -name prime256v1 -genkey -noout", "", "key")
        .and_then(|_| run("ec -conv_form compressed", "key", "compressed"))
        .and_then(|_| run("req -new -sha256 -subj /CN=x", "compressed", "csr"));
    if made.is_some() {
        let text = std::fs::read_to_string(file("csr")).unwrap();
        assert_eq!(Csr::parse(&text).err(), Some(CsrError::Compressed));
    }
}
