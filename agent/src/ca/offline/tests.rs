use std::{fs, os::unix::fs::PermissionsExt, process::Command};

use tempfile::TempDir;

use super::*;
use crate::ca::Rotate;

mod issuers;

const DAY: Duration = Duration::from_secs(24 * 3600);

fn fill(kind: Kind, key_type: KeyType) -> Result<TempDir, CaError> {
    let out = tempfile::tempdir().unwrap();
    let order = Order {
        kind,
        key_type,
        ttl: DAY,
    };
    order.fill(out.path(), SystemTime::now())?;
    Ok(out)
}

fn root(key_type: KeyType) -> TempDir {
    let name = "third root".to_owned();
    fill(Kind::Root { name }, key_type).unwrap()
}

fn leaf(ca: &Path, key_type: KeyType) -> Result<TempDir, CaError> {
    let names = vec![
        LeafName::Host("helloworld.example".to_owned()),
        LeafName::Host("10.0.0.1".to_owned()),
        LeafName::Uri("spiffe://third/ns/a/sa/b".to_owned()),
    ];
    let ca = ca.to_owned();
    fill(Kind::Leaf { names, ca }, key_type)
}

/// Where there is openssl.
fn openssl_verifies(out: &Path) {
    let file = |name: &str| out.join(name);
    let output = Command::new("openssl")
        .args(["verify", "-x509_strict", "-purpose", "sslserver"])
        .args(["-verify_hostname", "helloworld.example", "-CAfile"])
        .arg(file("ca.crt"))
        .arg("-untrusted")
        .args([file("tls.crt"), file("tls.crt")])
        .output();
    if let Ok(output) = output {
        let said = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "{said}");
    }
}

#[test]
fn leaves_of_every_kind_of_key_verify() {
    use KeyType::{Ed25519, P256, P384, Rsa2048};
    for (of_root, of_leaf) in [
        (P256, Rsa2048),
        (Rsa2048, P256),
        (P384, Ed25519),
        (Ed25519, P384),
    ] {
        let root = root(of_root);
        let leaf = leaf(root.path(), of_leaf).unwrap();
        openssl_verifies(leaf.path());
    }
}

#[test]
fn an_intermediate_signs_below_its_root() {
    let root = root(KeyType::P256);
    let between = Kind::Intermediate {
        name: "between".to_owned(),
        ca: root.path().to_owned(),
    };
    let between = fill(between, KeyType::P256).unwrap();
    let leaf = leaf(between.path(), KeyType::P256).unwrap();
    openssl_verifies(leaf.path());
    let chain = fs::read_to_string(leaf.path().join("tls.crt")).unwrap();
    assert_eq!(chain.matches("BEGIN CERTIFICATE").count(), 2);
    let domain = "third".parse().unwrap();
    super::super::EmbeddedCa::open(between.path(), &domain, DAY).unwrap();
    let below = Kind::Intermediate {
        name: "too deep".to_owned(),
        ca: between.path().to_owned(),
    };
    let refused = fill(below, KeyType::P256).unwrap_err();
    assert!(matches!(refused, CaError::PathLength { .. }), "{refused}");
}

#[test]
fn files_are_as_others_read_them() {
    let key = root(KeyType::Ed25519);
    let read = |name: &str| fs::read(key.path().join(name)).unwrap();
    let text = read("ca.key");
    let document = x509_parser::pem::Pem::iter_from_buffer(&text).next();
    let der = document.unwrap().unwrap().contents;
    // Version 1 of PKCS #8 is the number 0, and the key is all that follows (RFC 8410, section 7).
    assert_eq!((der.len(), &der[2..5]), (48, &[2, 1, 0][..]));
    for name in ["ca.key", "ca.crt"] {
        assert!(!read(name).contains(&b'\r'), "{name}");
    }
}

#[test]
fn keys_are_private_and_nothing_is_overwritten() {
    let root = root(KeyType::P256);
    let key = root.path().join("ca.key");
    let mode = fs::metadata(&key).unwrap().permissions().mode() & 0o7777;
    assert_eq!(mode, 0o600);
    let before = fs::read(&key).unwrap();
    let again = Order {
        kind: Kind::Root {
            name: "again".to_owned(),
        },
        key_type: KeyType::P256,
        ttl: DAY,
    };
    let error = again.fill(root.path(), SystemTime::now()).unwrap_err();
    assert!(matches!(error, CaError::Write { .. }), "{error}");
    assert_eq!(fs::read(&key).unwrap(), before);
}

#[test]
fn leaves_end_with_their_ca_and_need_one() {
    let root = root(KeyType::P256);
    let names = vec![LeafName::Host("a.test".to_owned())];
    let order = Order {
        kind: Kind::Leaf {
            names,
            ca: root.path().to_owned(),
        },
        key_type: KeyType::P256,
        ttl: 100 * DAY,
    };
    let out = tempfile::tempdir().unwrap();
    order.fill(out.path(), SystemTime::now()).unwrap();
    let text = fs::read(out.path().join("tls.crt")).unwrap();
    let pem = x509_parser::pem::Pem::iter_from_buffer(&text)
        .next()
        .unwrap()
        .unwrap();
    let leaf = pem.parse_x509().unwrap();
    let left = leaf.validity().time_to_expiration().unwrap();
    assert!(left <= DAY, "{left:?}");

    let empty = tempfile::tempdir().unwrap();
    let nowhere = empty.path().join("nowhere");
    assert!(matches!(
        self::leaf(&nowhere, KeyType::P256),
        Err(CaError::Absent { .. })
    ));
    assert!(!nowhere.exists());
}

#[test]
fn a_change_of_key_waits_for_leaves_issued_by_hand() {
    let dir = tempfile::tempdir().unwrap();
    let domain = "cluster.local".parse().unwrap();
    super::super::EmbeddedCa::open(dir.path(), &domain, DAY).unwrap();
    let issue = |ttl| {
        let out = tempfile::tempdir().unwrap();
        let order = Order {
            kind: Kind::Leaf {
                names: vec![LeafName::Host("a.test".to_owned())],
                ca: dir.path().to_owned(),
            },
            key_type: KeyType::P256,
            ttl,
        };
        let issued = order.fill(out.path(), SystemTime::now());
        (out, issued)
    };
    let (_out, issued) = issue(90 * DAY);
    issued.unwrap();
    let now = SystemTime::now();
    let state = Rotate::Root { domain: None }.apply(dir.path(), now);
    let state = state.unwrap();
    let until = SystemTime::from(state.rotation.unwrap().until);
    assert!(
        until > now + 89 * DAY && until < now + 91 * DAY,
        "{state:?}"
    );
    assert!(state.by_hand.is_some());

    let blocked = dir.path().join("rotation.json.new");
    fs::create_dir(blocked).unwrap();
    let (out, issued) = issue(100 * DAY);
    assert!(matches!(issued, Err(CaError::Write { .. })), "{issued:?}");
    assert_eq!(fs::read_dir(out.path()).unwrap().count(), 0);
    issue(DAY).1.unwrap();
}
