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
    let own = Files::ANY.pair(&files).map_err(|error| error.to_string());
    let roots = Files::ANY.parsed(&openssl.path("root.crt"), pem::authorities);
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

/// A client of `namespace` may name files below `dir`.
fn opened(dir: &Path, namespace: &str, path: &Path) -> Result<(), String> {
    let allowed = &ClientFiles::Below(dir.to_owned());
    let files = Files { allowed, namespace };
    let origination = Origination {
        certificate: None,
        authorities: Some(path.to_owned()),
        names: Vec::new(),
        sni: None,
    };
    let stamps = files.stamps(&origination);
    let roots = files.parsed(path, pem::authorities);
    assert_eq!(stamps.is_ok(), roots.is_ok(), "{}", path.display());
    roots.map(drop).map_err(|error| error.to_string())
}

#[test]
fn documents_name_files_of_their_clients_namespace_only() {
    use std::{fs, os::unix::fs::symlink};

    let openssl = openssl(P256);
    let root = openssl.read("root.crt");
    let dir = tempfile::tempdir().unwrap();
    let dir = dir.path();
    for (place, secret) in [("shop", "..1"), ("other", "..1")] {
        let volume = dir.join(place).join(secret);
        fs::create_dir_all(&volume).unwrap();
        fs::write(volume.join("ca.crt"), &root).unwrap();
        // As the kubelet does it.
        symlink(secret, dir.join(place).join("..data")).unwrap();
        symlink("..data/ca.crt", dir.join(place).join("ca.crt")).unwrap();
    }
    symlink("../other/ca.crt", dir.join("shop/theirs.crt")).unwrap();
    symlink(openssl.path("root.crt"), dir.join("shop/far.crt")).unwrap();
    symlink("/proc/self/root/etc", dir.join("shop/etc")).unwrap();
    let pipe = dir.join("shop/pipe");
    let made = std::process::Command::new("mkfifo").arg(&pipe).status();
    assert!(made.unwrap().success());

    opened(dir, "shop", &dir.join("shop/ca.crt")).unwrap();
    for path in [
        dir.join("other/ca.crt"),
        dir.join("shop/../other/ca.crt"),
        dir.join("shop/theirs.crt"),
        dir.join("shop/far.crt"),
        dir.join("shop/etc/hostname"),
        dir.join("shop"),
        openssl.path("root.crt"),
        pipe,
        PathBuf::from("/proc/1/root/etc/hostname"),
        PathBuf::from("shop/ca.crt"),
    ] {
        assert!(opened(dir, "shop", &path).is_err(), "{}", path.display());
    }
    let error = opened(dir, "shop", &openssl.path("root.crt")).unwrap_err();
    assert!(
        error.contains("not below") && error.contains("shop"),
        "{error}"
    );
}
