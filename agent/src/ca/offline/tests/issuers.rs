//! CAs from elsewhere: their names as they are, and nothing that nobody would believe.

use x509_parser::{pem::Pem, prelude::FromDer as _};

use super::*;
use crate::{ca::pem, tls::testing::openssl::Openssl};

const AUTHORITY: &str = "basicConstraints = critical, CA:TRUE\nkeyUsage = critical, keyCertSign\n";

/// A CA's directory: the key of the first of these certificates, those above it, and perhaps a root beside them.
fn directory(openssl: &Openssl, chain: &[&str], root: Option<&str>) -> TempDir {
    let dir = tempfile::tempdir().unwrap();
    let write = |name: &str, text: &str| {
        let path = dir.path().join(name);
        fs::write(&path, text).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o600)).unwrap();
    };
    let certificates = chain.iter().map(|name| pem(&openssl.certificate(name)));
    write("ca.key", &openssl.read(&format!("{}.key", chain[0])));
    write("ca.crt", &certificates.collect::<String>());
    if let Some(root) = root {
        write("root.crt", &pem(&openssl.certificate(root)));
    }
    dir
}

#[test]
fn the_issuer_is_named_as_it_names_itself() {
    for (subject, mask) in [
        ("/DC=com/DC=corp/CN=Root", "utf8only"),
        ("/O=Corp/OU=a/OU=b/CN=Root", "utf8only"),
        ("/O=Corp/CN=Root+OU=PKI", "utf8only"),
        // T61String, as in certificates of the nineties.
        ("/O=Corp/CN=Root", "MASK:4"),
    ] {
        let openssl = Openssl::new();
        let config = openssl.read("openssl.cnf");
        let config = config.replace("prompt = no", &format!("prompt = no\nstring_mask = {mask}"));
        openssl.write("openssl.cnf", &config);
        openssl.run(&format!(
            "req -x509 -new -key root.key -config openssl.cnf -extensions root -subj {subject} -days 9 -out root.crt"
        ));
        let ca = directory(&openssl, &["root"], None);
        let out = leaf(ca.path(), KeyType::P256).unwrap();
        openssl_verifies(out.path());
        let text = fs::read(out.path().join("tls.crt")).unwrap();
        let issued = Pem::iter_from_buffer(&text).next().unwrap().unwrap();
        let issued = issued.parse_x509().unwrap();
        let root = openssl.certificate("root");
        let (_, root) = x509_parser::certificate::X509Certificate::from_der(&root).unwrap();
        assert_eq!(
            issued.issuer().as_raw(),
            root.subject().as_raw(),
            "{subject}"
        );
    }
}

/// Extensions of an intermediate, how it is signed, and a word of why it is refused.
const UNFIT: [(&str, &str, &str); 4] = [
    ("", "-md sha1", "SHA-1"),
    ("1.2.3.4 = critical, DER:0500\n", "", "critical extension"),
    (
        "extendedKeyUsage = emailProtection\n",
        "",
        "extended key usage",
    ),
    (
        "nameConstraints = critical, permitted;DNS:corp.example, permitted;URI:corp.example\n",
        "",
        "name constraints",
    ),
];

#[test]
fn nothing_is_issued_that_nobody_would_believe() {
    let openssl = Openssl::new();
    for name in ["between", "other"] {
        openssl.key(name, "EC -pkeyopt ec_paramgen_curve:P-256");
    }
    openssl.run("req -x509 -new -key other.key -config openssl.cnf -extensions root -subj /CN=root -days 9 -out other.crt");
    let out = tempfile::tempdir().unwrap();
    let refused = |chain: &[&str], root: Option<&str>| {
        let ca = directory(&openssl, chain, root);
        let names = vec![LeafName::Host("web.example".to_owned())];
        let mut reasons = [
            Kind::Leaf {
                names,
                ca: ca.path().to_owned(),
            },
            Kind::Intermediate {
                name: "lower".to_owned(),
                ca: ca.path().to_owned(),
            },
        ]
        .map(|kind| {
            let order = Order {
                kind,
                key_type: KeyType::P256,
                ttl: DAY,
            };
            let issued = order.fill(out.path(), SystemTime::now());
            issued.map(drop).unwrap_err().to_string()
        });
        assert_eq!(fs::read_dir(out.path()).unwrap().count(), 0);
        assert!(
            !ca.path().join("rotation.json").exists(),
            "nothing is recorded of it"
        );
        std::mem::take(&mut reasons[0])
    };
    for (extensions, options, reason) in UNFIT {
        openssl.sign(
            "between",
            "root",
            &format!("{AUTHORITY}{extensions}"),
            options,
        );
        let said = refused(&["between"], Some("root"));
        assert!(said.contains(reason) && said.contains("ca.crt"), "{said}");
    }
    openssl.sign("between", "root", AUTHORITY, "");
    assert!(
        refused(&["between"], Some("other")).contains("not by the key"),
        "another key"
    );
    openssl.key("below", "EC -pkeyopt ec_paramgen_curve:P-256");
    openssl.sign("below", "between", AUTHORITY, "");
    assert!(refused(&["below"], Some("root")).contains("no root is above it"));

    openssl.key("root", "RSA -pkeyopt rsa_keygen_bits:1024");
    openssl.run("req -x509 -new -key root.key -config openssl.cnf -extensions root -subj /CN=root -days 9 -out root.crt");
    openssl.sign("between", "root", AUTHORITY, "");
    assert!(refused(&["between"], Some("root")).contains("fewer than 2048 bits"));
    assert!(refused(&["between", "root"], None).contains("fewer than 2048 bits"));
}

#[test]
fn nobody_is_called_as_its_issuer() {
    let root = root(KeyType::P256);
    let same = Kind::Intermediate {
        name: "third root".to_owned(),
        ca: root.path().to_owned(),
    };
    let refused = fill(same, KeyType::P256).unwrap_err();
    assert!(matches!(refused, CaError::SameName { .. }), "{refused}");
}
