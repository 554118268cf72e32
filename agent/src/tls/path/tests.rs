use std::sync::Arc;

use rcgen::{
    BasicConstraints, CertificateParams, CertifiedIssuer, DnType, IsCa, KeyPair, KeyUsagePurpose,
};
use rustls::crypto::aws_lc_rs;
use rustls_pki_types::{CertificateDer, UnixTime};
use webpki::{EndEntityCert, KeyUsage as Purpose};

use super::*;
use crate::{
    identity::TrustBundle,
    tls::{HandshakeError, testing::openssl::Openssl, testing::revocation_list},
};

type Issuer = CertifiedIssuer<'static, KeyPair>;

fn params(name: &str, usages: &[KeyUsagePurpose]) -> CertificateParams {
    let mut params = CertificateParams::default();
    params.distinguished_name.push(DnType::CommonName, name);
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    params.key_usages = usages.to_vec();
    params
}

fn root(name: &str) -> Issuer {
    CertifiedIssuer::self_signed(params(name, &[]), KeyPair::generate().unwrap()).unwrap()
}

fn intermediate(name: &str, usages: &[KeyUsagePurpose], root: &Issuer) -> Issuer {
    let key = KeyPair::generate().unwrap();
    CertifiedIssuer::signed_by(params(name, usages), key, root).unwrap()
}

fn leaf(serial: u64, issuer: &Issuer) -> CertificateDer<'static> {
    let mut params = CertificateParams::new(["a.example".to_owned()]).unwrap();
    params.serial_number = Some(serial.into());
    let key = KeyPair::generate().unwrap();
    params.signed_by(&key, issuer).unwrap().der().clone()
}

/// By lists that stand in this order in one file, or in one for each.
fn verified(
    leaf: &CertificateDer<'_>,
    above: &[&Issuer],
    roots: &[&Issuer],
    lists: &[String],
) -> Result<(), String> {
    let parse = |text: &str| Arc::new(RevocationList::parse(text.as_bytes()).unwrap());
    let together = Vec::from_iter((!lists.is_empty()).then(|| parse(&lists.concat())));
    let apart = lists.iter().map(|list| parse(list)).collect();
    let [one, other] = [together, apart].map(|lists| {
        let certificate = EndEntityCert::try_from(leaf).unwrap();
        let roots = roots
            .iter()
            .map(|r| webpki::anchor_from_trusted_cert(r.der()));
        let roots = roots.collect::<Result<Vec<_>, _>>().unwrap();
        let above: Vec<_> = above.iter().map(|issuer| issuer.der().clone()).collect();
        let algorithms = aws_lc_rs::default_provider().signature_verification_algorithms;
        let (now, usage) = (UnixTime::now(), Purpose::client_auth());
        TrustAnchors::default()
            .revoking(lists)
            .verify_chain(&certificate, &roots, &above, now, usage, algorithms)
            .map_err(|error| HandshakeError::Tls(error).to_string())
    });
    assert_eq!(one, other, "in one file, or in one for each");
    one
}

fn is_revoked(verified: Result<(), String>) -> bool {
    verified.is_err_and(|text| text.contains("it was revoked"))
}

#[test]
fn every_list_of_an_issuer_counts() {
    let (one, two) = (root("one"), root("two"));
    let roots = [&one, &two];
    let (old, new) = (revocation_list(&one, &[6]), revocation_list(&one, &[7]));
    let others = revocation_list(&two, &[7, 8]);
    for lists in [
        [&old, &new, &others],
        [&new, &old, &others],
        [&others, &old, &new],
        [&old, &others, &new],
    ] {
        let lists = lists.map(Clone::clone);
        for serial in [6, 7] {
            let revoked = verified(&leaf(serial, &one), &[], &roots, &lists);
            assert!(is_revoked(revoked), "{serial}");
        }
        assert_eq!(verified(&leaf(8, &one), &[], &roots, &lists), Ok(()));
        assert!(is_revoked(verified(&leaf(8, &two), &[], &roots, &lists)));
        assert_eq!(verified(&leaf(6, &two), &[], &roots, &lists), Ok(()));
    }
    let none = verified(&leaf(7, &one), &[], &roots, &[others]);
    assert_eq!(none, Ok(()), "no list is about it");
}

#[test]
fn intermediates_are_revoked_and_revoke() {
    let top = root("top");
    let signs = [KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
    let middle = intermediate("middle", &signs, &top);
    let check =
        |serial, lists: &[String]| verified(&leaf(serial, &middle), &[&middle], &[&top], lists);
    let lists = [revocation_list(&top, &[1]), revocation_list(&middle, &[7])];
    assert!(is_revoked(check(7, &lists)));
    assert_eq!(check(8, &lists), Ok(()));
    let mut revoked = params("middle", &signs);
    revoked.serial_number = Some(1.into());
    let revoked = CertifiedIssuer::signed_by(revoked, KeyPair::generate().unwrap(), &top).unwrap();
    let below = leaf(8, &revoked);
    let of_top = &lists[..1];
    assert!(is_revoked(verified(&below, &[&revoked], &[&top], of_top)));
    // Nobody knows the key of the other list, which is another `middle`'s.
    assert!(verified(&below, &[&revoked], &[&top], &lists).is_err());
}

/// An authority whose key was changed keeps its name: its list may be signed with either key, or there is one of each.
#[test]
fn lists_of_an_authority_with_two_keys() {
    let [old, new, strange] = ["same"; 3].map(root);
    let roots = [&old, &new];
    let by_old = revocation_list(&old, &[7]);
    let by_new = revocation_list(&new, &[8]);
    let by_strange = revocation_list(&strange, &[9]);
    for issuer in roots {
        for (lists, revoked) in [
            (vec![by_old.clone()], vec![7]),
            (vec![by_new.clone()], vec![8]),
            (vec![by_old.clone(), by_new.clone()], vec![7, 8]),
            (vec![by_new.clone(), by_old.clone()], vec![7, 8]),
        ] {
            for serial in [6, 7, 8] {
                let verified = verified(&leaf(serial, issuer), &[], &roots, &lists);
                assert_eq!(is_revoked(verified), revoked.contains(&serial), "{serial}");
            }
        }
        let refused = verified(
            &leaf(6, issuer),
            &[],
            &roots,
            std::slice::from_ref(&by_strange),
        );
        let refused = refused.unwrap_err();
        assert!(refused.contains("no revocation list"), "{refused}");
    }
}

#[test]
fn what_may_not_sign_certificates_is_no_authority() {
    let top = root("top");
    let check = |usages: &[KeyUsagePurpose]| {
        let middle = intermediate("middle", usages, &top);
        verified(&leaf(7, &middle), &[&middle], &[&top], &[])
    };
    assert_eq!(check(&[]), Ok(()));
    assert_eq!(check(&[KeyUsagePurpose::KeyCertSign]), Ok(()));
    let refused = check(&[KeyUsagePurpose::CrlSign]).unwrap_err();
    assert!(refused.contains("keyCertSign"), "{refused}");
}

#[test]
fn lists_of_who_may_not_sign_any_are_none() {
    let top = root("top");
    let middle = intermediate("middle", &[KeyUsagePurpose::KeyCertSign], &top);
    let list = revocation_list(&intermediate("middle", &[], &top), &[7]);
    let refused = verified(&leaf(8, &middle), &[&middle], &[&top], &[list]);
    let refused = refused.unwrap_err();
    assert!(refused.contains("cRLSign"), "{refused}");
}

#[test]
fn lists_are_verified_when_they_are_read() {
    let [own, strange] = ["same"; 2].map(root);
    let mut bundle = TrustBundle::default();
    bundle.add("cluster.local".parse().unwrap(), own.der().clone());
    let known = TrustAnchors::new(&bundle);
    let check = |issuer: &Issuer| {
        let lists = revocation_list(&own, &[1]) + &revocation_list(issuer, &[7]);
        known.check_lists(&RevocationList::parse(lists.as_bytes()).unwrap())
    };
    assert!(check(&own).is_ok());
    assert!(check(&root("other")).is_ok(), "an intermediate's perhaps");
    assert!(matches!(check(&strange), Err(CrlError::Stranger(2))));
}

#[test]
fn lists_with_weak_signatures_are_refused() {
    let openssl = Openssl::new();
    let config = openssl.read("openssl.cnf") + "[list]\nauthorityKeyIdentifier = keyid\n";
    openssl.write("list.cnf", &config);
    for (digest, accepted) in [("sha256", true), ("sha1", false)] {
        openssl.run(&format!(
            "ca -gencrl -config list.cnf -crlexts list -md {digest} -cert root.crt -keyfile root.key -crldays 9 -out list.pem"
        ));
        let read = RevocationList::parse(openssl.read("list.pem").as_bytes());
        let is_weak = matches!(read, Err(CrlError::Signature(1)));
        assert_eq!((read.is_ok(), is_weak), (accepted, !accepted), "{read:?}");
    }
}
