//! Files as people have them.

use super::*;
use crate::tls::testing::openssl::Openssl;

const P256: &str = "EC -pkeyopt ec_paramgen_curve:P-256";
const EXTENSIONS: &str = "basicConstraints = CA:FALSE\nsubjectAltName = DNS:client.example\n";

/// What is said of `leaf.crt`, `leaf.key` and `root.crt` of a directory.
fn read(openssl: &Openssl) -> Result<(), String> {
    let files = CertificateFiles {
        chain: openssl.path("leaf.crt"),
        key: openssl.path("leaf.key"),
    };
    let own = Originations::own(&files).map_err(|error| error.to_string());
    let roots = parsed(&openssl.path("root.crt"), pem::authorities);
    own.and(roots.map(drop).map_err(|error| error.to_string()))
}

fn openssl(key: &str) -> Openssl {
    let openssl = Openssl::new();
    openssl.key("leaf", key);
    openssl.sign("leaf", "root", EXTENSIONS, "");
    openssl
}

#[test]
fn keys_of_every_kind_and_form() {
    let kinds = [
        P256,
        "EC -pkeyopt ec_paramgen_curve:P-384",
        "ED25519",
        "RSA -pkeyopt rsa_keygen_bits:2048",
        "RSA -pkeyopt rsa_keygen_bits:3072",
        "RSA -pkeyopt rsa_keygen_bits:4096",
    ];
    for kind in kinds {
        let openssl = openssl(kind);
        read(&openssl).unwrap_or_else(|error| panic!("{kind}: {error}"));
        if !kind.starts_with("ED") {
            // PKCS #1 and SEC 1.
            openssl.run("pkey -in leaf.key -traditional -out old.key");
            openssl.write("leaf.key", &openssl.read("old.key"));
            assert!(!openssl.read("leaf.key").contains("BEGIN PRIVATE KEY"));
            read(&openssl).unwrap_or_else(|error| panic!("old form, {kind}: {error}"));
        }
    }
}

#[test]
fn keys_of_no_use_are_refused_by_name() {
    let cases = [
        (
            P256,
            "pkey -in leaf.key -aes256 -passout pass:secret -out new.key",
            "has a passphrase",
        ),
        (
            "RSA -pkeyopt rsa_keygen_bits:2048",
            "rsa -in leaf.key -traditional -aes128 -passout pass:secret -out new.key",
            "has a passphrase",
        ),
        (
            P256,
            "genpkey -algorithm EC -pkeyopt ec_paramgen_curve:P-256 -out new.key",
            "not that of the first",
        ),
        (
            P256,
            "pkey -in leaf.key -pubout -out new.key",
            "no private key in it",
        ),
        (
            P256,
            "genpkey -algorithm ED448 -out new.key",
            "unsupported kind",
        ),
        (
            P256,
            "genpkey -algorithm RSA -pkeyopt rsa_keygen_bits:1024 -out new.key",
            "unsupported kind",
        ),
        (
            P256,
            "genpkey -algorithm EC -pkeyopt ec_paramgen_curve:secp256k1 -out new.key",
            "unsupported kind",
        ),
    ];
    for (kind, command, reason) in cases {
        let openssl = openssl(kind);
        openssl.run(command);
        openssl.write("leaf.key", &openssl.read("new.key"));
        let said = read(&openssl).unwrap_err();
        assert!(
            said.contains(reason) && said.contains("leaf.key"),
            "{command}: {said}"
        );
    }
}

#[test]
fn certificates_come_with_what_programs_write_around_them() {
    let openssl = openssl(P256);
    let [leaf, root] = ["leaf.crt", "root.crt"].map(|name| openssl.read(name));
    openssl.run("pkcs12 -export -in leaf.crt -inkey leaf.key -passout pass:x -out all.p12");
    openssl.run("pkcs12 -in all.p12 -passin pass:x -nokeys -out bag.crt");
    openssl.run("x509 -in leaf.crt -text -out text.crt");
    let [bag, text] = ["bag.crt", "text.crt"].map(|name| openssl.read(name));
    assert!(bag.contains("Bag Attributes"));
    let garbage = leaf.replace("-----END", "MAA=\n-----END");
    let cases = [
        ("a chain", format!("{leaf}{root}"), None),
        ("CRLF", leaf.replace('\n', "\r\n"), None),
        ("comments", format!("# Mesh A\n\n{leaf}\n# the end"), None),
        ("bag attributes", bag, None),
        ("its text", text, None),
        ("garbage behind", format!("{leaf}garbage\n"), None),
        (
            "the wrong order",
            format!("{root}{leaf}"),
            Some("not that of the first"),
        ),
        ("garbage within", garbage, Some("")),
        (
            "nothing",
            "nothing\n".to_owned(),
            Some("no certificate in it"),
        ),
        (
            "another thing",
            format!("{leaf}-----BEGIN CERTIFICATE-----\nMAA=\n-----END CERTIFICATE-----\n"),
            Some("certificate 2 is not valid X.509"),
        ),
        ("half of it", leaf[..leaf.len() / 2].to_owned(), Some("")),
    ];
    for (what, text, refused) in cases {
        openssl.write("leaf.crt", &text);
        match (read(&openssl), refused) {
            (Ok(()), None) => {}
            (Err(said), Some(reason)) => {
                assert!(
                    said.contains(reason) && said.contains("leaf.crt"),
                    "{what}: {said}"
                );
            }
            (said, _) => panic!("{what}: {said:?}"),
        }
    }
}

#[test]
fn roots_come_with_either_end_of_lines() {
    let openssl = openssl(P256);
    let root = openssl.read("root.crt");
    openssl.write(
        "root.crt",
        &format!("{root}\r\n{}", root.replace('\n', "\r\n")),
    );
    read(&openssl).unwrap();
    openssl.write(
        "root.crt",
        "-----BEGIN CERTIFICATE-----\nMAA=\n-----END CERTIFICATE-----\n",
    );
    let said = read(&openssl).unwrap_err();
    assert!(
        said.contains("root.crt") && said.contains("certificate 1"),
        "{said}"
    );
}
