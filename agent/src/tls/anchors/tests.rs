//! Peers' certificates as others make them: whom they get in, and why not.

use std::time::{Duration, SystemTime};

use rustls::crypto::aws_lc_rs;

use super::*;
use crate::tls::{HandshakeError, testing::openssl::Openssl};

const P256: &str = "EC -pkeyopt ec_paramgen_curve:P-256";
const WEB: &str = "URI:spiffe://cluster.local/ns/shop/sa/web";

struct Case {
    what: &'static str,
    key: &'static str,
    extensions: String,
    options: &'static str,
    issuer: &'static str,
    /// In the reason; none: it is accepted.
    refused: Option<&'static str>,
}

/// Good in every respect.
fn good() -> Case {
    Case {
        what: "P-256",
        key: P256,
        extensions: extensions(WEB, "digitalSignature", "serverAuth,clientAuth"),
        options: "",
        issuer: "root",
        refused: None,
    }
}

fn extensions(names: &str, usage: &str, extended: &str) -> String {
    format!(
        "basicConstraints = critical,CA:FALSE\nkeyUsage = critical,{usage}\nextendedKeyUsage = {extended}\n\
         subjectAltName = {names}\n"
    )
}

fn of_keys() -> Vec<Case> {
    let kinds = [
        ("P-384", "EC -pkeyopt ec_paramgen_curve:P-384", None),
        ("Ed25519", "ED25519", None),
        ("RSA 2048", "RSA -pkeyopt rsa_keygen_bits:2048", None),
        ("RSA 3072", "RSA -pkeyopt rsa_keygen_bits:3072", None),
        (
            "RSA 1024",
            "RSA -pkeyopt rsa_keygen_bits:1024",
            Some("fewer than 2048 bits"),
        ),
    ];
    let case = |(what, key, refused)| Case {
        what,
        key,
        refused,
        ..good()
    };
    kinds.into_iter().map(case).collect()
}

const UPPER: &str = "URI:spiffe://Cluster.local/ns/shop/sa/web";

fn of_extensions() -> Vec<Case> {
    let long = format!("URI:spiffe://cluster.local/ns/shop/sa/{}", "w".repeat(2048));
    let two = format!("{WEB},URI:spiffe://cluster.local/ns/shop/sa/other");
    let both = "serverAuth,clientAuth";
    let bare = format!("subjectAltName = {WEB}\n");
    let authority = "basicConstraints = critical,CA:TRUE\n";
    let cases = [
        ("no key usage", bare.clone(), None),
        (
            "other names beside",
            extensions(&format!("{WEB},DNS:web.shop"), "digitalSignature", both),
            None,
        ),
        (
            "no name",
            "basicConstraints = CA:FALSE\n".to_owned(),
            Some("has 0 URI names"),
        ),
        (
            "two identities",
            extensions(&two, "digitalSignature", both),
            Some("has 2 URI names"),
        ),
        (
            "a long name",
            extensions(&long, "digitalSignature", both),
            Some("at most 2048"),
        ),
        (
            "upper case",
            extensions(UPPER, "digitalSignature", both),
            Some("lower-case"),
        ),
        (
            "an authority",
            format!("{authority}{bare}"),
            Some("CA:TRUE"),
        ),
        (
            "keyCertSign",
            extensions(WEB, "digitalSignature,keyCertSign", both),
            Some("keyCertSign is for authorities"),
        ),
        (
            "no signature",
            extensions(WEB, "keyEncipherment", both),
            Some("digitalSignature is missing"),
        ),
        (
            "a server's only",
            extensions(WEB, "digitalSignature", "serverAuth"),
            Some("extended key usage"),
        ),
    ];
    let case = |(what, extensions, refused)| Case {
        what,
        extensions,
        refused,
        ..good()
    };
    cases.into_iter().map(case).collect()
}

fn of_signatures() -> Vec<Case> {
    let cases = [
        ("SHA-1", "root", "-md sha1", Some("such as SHA-1")),
        ("MD5", "rsa", "-md md5", Some("such as SHA-1")),
        ("a weak root", "weak", "", Some("no root that is trusted")),
        (
            "expired",
            "root",
            "-startdate 20200101000000Z -enddate 20200102000000Z",
            Some("expired"),
        ),
        (
            "not yet valid",
            "root",
            "-startdate 20900101000000Z -enddate 20900102000000Z",
            Some("not valid yet"),
        ),
        ("below a bounded authority", "middle", "", None),
        ("below too many", "below", "", Some("path length")),
        (
            "outside of constraints",
            "constrained",
            "",
            Some("name constraints"),
        ),
        ("another root", "other", "", Some("no root that is trusted")),
    ];
    let case = |(what, issuer, options, refused)| Case {
        what,
        issuer,
        options,
        refused,
        ..good()
    };
    cases.into_iter().map(case).collect()
}

fn authorities(openssl: &Openssl) {
    let authority = "keyUsage = critical,keyCertSign\nbasicConstraints = critical,CA:TRUE";
    for name in ["middle", "below", "constrained"] {
        openssl.key(name, P256);
    }
    openssl.sign("middle", "root", &format!("{authority},pathlen:0\n"), "");
    openssl.sign("below", "middle", &format!("{authority}\n"), "");
    let constraint = "nameConstraints = critical,permitted;URI:.elsewhere.local";
    openssl.sign(
        "constrained",
        "root",
        &format!("{authority}\n{constraint}\n"),
        "",
    );
    let own = [
        ("rsa", "RSA -pkeyopt rsa_keygen_bits:2048"),
        ("weak", "RSA -pkeyopt rsa_keygen_bits:1024"),
        ("other", P256),
    ];
    for (name, kind) in own {
        openssl.key(name, kind);
        openssl.run(&format!(
            "req -x509 -new -key {name}.key -config openssl.cnf -extensions root -subj /CN={name} -out {name}.crt"
        ));
    }
}

#[test]
fn certificates_are_accepted_or_refused_for_a_reason() {
    let openssl = Openssl::new();
    authorities(&openssl);
    let mut bundle = TrustBundle::default();
    let domain: TrustDomain = "cluster.local".parse().unwrap();
    for root in ["root", "rsa", "weak"] {
        bundle.add(domain.clone(), openssl.certificate(root));
    }
    let anchors = TrustAnchors::new(&bundle);
    let above = ["middle", "below", "constrained"].map(|name| openssl.certificate(name));
    let algorithms = aws_lc_rs::default_provider().signature_verification_algorithms;
    let mut wrong = Vec::new();
    let cases = [vec![good()], of_keys(), of_extensions(), of_signatures()];
    for case in cases.into_iter().flatten() {
        openssl.key("leaf", case.key);
        openssl.sign("leaf", case.issuer, &case.extensions, case.options);
        let leaf = openssl.certificate("leaf");
        // Later than the moment from which it is valid.
        let now = UnixTime::now();
        let verified = anchors.verify(&leaf, &above, now, KeyUsage::client_auth(), algorithms);
        let said = verified.map_err(|error| HandshakeError::Tls(error).to_string());
        let as_expected = match (&said, case.refused) {
            (Ok(_), None) => true,
            (Err(text), Some(part)) => text.contains(part),
            _ => false,
        };
        if !as_expected {
            wrong.push((case.what, said));
        }
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
}

/// X.509 of 1988, as `openssl x509 -req` makes it without extensions.
#[test]
fn old_certificates_are_refused() {
    let openssl = Openssl::new();
    openssl.key("old", P256);
    openssl.run("req -new -key old.key -config openssl.cnf -subj /CN=old -out old.csr");
    openssl.run("x509 -req -in old.csr -CA root.crt -CAkey root.key -CAcreateserial -out old.crt");
    let anchors = TrustAnchors::default();
    let algorithms = aws_lc_rs::default_provider().signature_verification_algorithms;
    let now = UnixTime::since_unix_epoch(Duration::from_secs(1));
    let refused = anchors.verify(
        &openssl.certificate("old"),
        &[],
        now,
        KeyUsage::client_auth(),
        algorithms,
    );
    let text = HandshakeError::Tls(refused.unwrap_err()).to_string();
    assert!(text.contains("version before 3"), "{text}");
}

#[test]
fn roots_count_until_they_expire() {
    let openssl = Openssl::new();
    openssl.key("leaf", P256);
    let options = "-startdate 20200101000000Z -enddate 20900101000000Z";
    openssl.sign("leaf", "root", &good().extensions, options);
    let mut bundle = TrustBundle::default();
    let domain: TrustDomain = "cluster.local".parse().unwrap();
    bundle.add(domain, openssl.certificate("root"));
    let anchors = TrustAnchors::new(&bundle);
    let verified = |days: u64| {
        let now = SystemTime::now() + Duration::from_secs(days * 24 * 3600);
        let since = now.duration_since(SystemTime::UNIX_EPOCH).unwrap();
        let now = UnixTime::since_unix_epoch(since);
        let (leaf, usage) = (openssl.certificate("leaf"), KeyUsage::server_auth());
        let algorithms = aws_lc_rs::default_provider().signature_verification_algorithms;
        let verified = anchors.verify(&leaf, &[], now, usage, algorithms);
        verified.map_err(|error| HandshakeError::Tls(error).to_string())
    };
    assert!(verified(8).is_ok());
    let said = verified(10).unwrap_err();
    assert!(said.contains("every root"), "{said}");
}

#[test]
fn nobody_has_us_try_out_paths_through_many_authorities() {
    let openssl = Openssl::new();
    openssl.key("leaf", P256);
    openssl.sign("leaf", "root", &good().extensions, "");
    let mut bundle = TrustBundle::default();
    bundle.add(
        "cluster.local".parse().unwrap(),
        openssl.certificate("root"),
    );
    let anchors = TrustAnchors::new(&bundle);
    let verified = |authorities: usize| {
        let shown = vec![openssl.certificate("root"); authorities];
        let (leaf, usage) = (openssl.certificate("leaf"), KeyUsage::server_auth());
        let algorithms = aws_lc_rs::default_provider().signature_verification_algorithms;
        let verified = anchors.verify(&leaf, &shown, UnixTime::now(), usage, algorithms);
        verified.map_err(|error| HandshakeError::Tls(error).to_string())
    };
    assert!(verified(MOST_AUTHORITIES).is_ok());
    let said = verified(MOST_AUTHORITIES + 1).unwrap_err();
    assert!(said.contains("than are looked at"), "{said}");
}
