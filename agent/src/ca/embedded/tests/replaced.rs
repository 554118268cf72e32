//! Files that are replaced while they are in use.

use super::{
    given::{Given, authority_params, key},
    *,
};
use crate::ca::{Rotate, directory::Locked};

struct Company {
    key: rcgen::KeyPair,
    params: rcgen::CertificateParams,
}

impl Company {
    fn new(name: &str) -> Self {
        Self {
            key: key(),
            params: authority_params(name, 1),
        }
    }

    fn root(&self) -> rcgen::Certificate {
        self.params.self_signed(&self.key).unwrap()
    }

    fn intermediate(&self, key: &rcgen::KeyPair) -> rcgen::Certificate {
        let issuer = rcgen::Issuer::from_params(&self.params, &self.key);
        let params = authority_params("intermediate", 0);
        params.signed_by(key, &issuer).unwrap()
    }
}

fn error(ca: &EmbeddedCa) -> Option<String> {
    error_at(ca, SystemTime::now())
}

fn error_at(ca: &EmbeddedCa, now: SystemTime) -> Option<String> {
    ca.look(now);
    ca.state().borrow().error.clone()
}

#[test]
fn a_new_pair_is_taken_when_both_are_there_and_a_bad_one_is_not() {
    let company = Company::new("company");
    let (first, second) = (key(), key());
    let old = company.intermediate(&first);
    let given = Given::new(&first, &[&old]);
    given.write("root.crt", &company.root().pem(), 0o644);
    let ca = open(given.path()).unwrap();
    let above =
        |ca: &EmbeddedCa| ca.issue(&web(), SystemTime::now()).unwrap().certified.cert[1].clone();
    assert_eq!(above(&ca), *old.der());
    assert_eq!(error(&ca), None);

    given.write("ca.key", &second.serialize_pem(), 0o600);
    let halfway = error(&ca).unwrap();
    assert!(halfway.contains("does not hold the key"), "{halfway}");
    assert_eq!(above(&ca), *old.der());
    let new = company.intermediate(&second);
    given.write("ca.crt", &new.pem(), 0o644);
    assert_eq!(error(&ca), None);
    assert_eq!(above(&ca), *new.der());

    given.write("ca.crt", "nonsense", 0o644);
    assert!(error(&ca).is_some());
    fs::remove_file(given.path().join("ca.crt")).unwrap();
    assert!(error(&ca).is_some());
    assert_eq!(above(&ca), *new.der());
}

#[test]
fn a_root_that_nobody_was_told_of_does_not_sign() {
    not_before_it_is_told(&Company::new("before"), &Company::new("after"));
    // A company may call its next root as it calls the present one.
    not_before_it_is_told(&Company::new("company"), &Company::new("company"));
}

fn not_before_it_is_told(before: &Company, after: &Company) {
    let (first, second) = (key(), key());
    let given = Given::new(&first, &[&before.intermediate(&first)]);
    given.write("root.crt", &before.root().pem(), 0o644);
    let ca = open(given.path()).unwrap();
    let both = before.root().pem() + &after.root().pem();

    let new = after.intermediate(&second);
    let (old_key, old) = (first.serialize_pem(), before.intermediate(&first).pem());
    let replace = || {
        given.write("ca.key", &second.serialize_pem(), 0o600);
        given.write("ca.crt", &new.pem(), 0o644);
    };
    given.write("root.crt", &both, 0o644);
    replace();
    let refused = error(&ca).unwrap();
    assert!(refused.contains("haven't been told"), "{refused}");
    assert_eq!(ca.roots().len(), 1);

    given.write("ca.key", &old_key, 0o600);
    given.write("ca.crt", &old, 0o644);
    assert_eq!(error(&ca), None);
    assert_eq!(ca.roots().len(), 2);
    // Some have a certificate from before, and with it the roots of then.
    replace();
    let refused = error(&ca).unwrap();
    assert!(refused.contains("only lately"), "{refused}");
    let late = SystemTime::now() + DAY;
    let refused = error_at(&ca, late).unwrap();
    assert!(refused.contains("only lately"), "{refused}");
    let late = late + leaf::skew(DAY) + Duration::from_secs(2);
    assert_eq!(error_at(&ca, late), None);
    let svid = ca.issue(&web(), late).unwrap();
    assert_eq!(svid.certified.cert[1], *new.der());
}

#[test]
fn who_forgets_what_was_issued_by_hand_waits_for_a_root_no_longer() {
    let (before, after) = (Company::new("before"), Company::new("after"));
    let (first, second) = (key(), key());
    let given = Given::new(&first, &[&before.intermediate(&first)]);
    given.write("root.crt", &before.root().pem(), 0o644);
    let ca = open(given.path()).unwrap();
    let now = SystemTime::now();
    let recorded = Locked::existing(given.path()).unwrap();
    recorded.issue(now + 30 * DAY).unwrap();
    drop(recorded);
    assert_eq!(error_at(&ca, now), None);
    let both = before.root().pem() + &after.root().pem();
    given.write("root.crt", &both, 0o644);
    assert_eq!(error_at(&ca, now), None);
    given.write("ca.key", &second.serialize_pem(), 0o600);
    given.write("ca.crt", &after.intermediate(&second).pem(), 0o644);
    let renewed = now + DAY + leaf::skew(DAY) + Duration::from_secs(2);
    let refused = error_at(&ca, renewed).unwrap();
    assert!(refused.contains("only lately"), "{refused}");
    Rotate::Hurry.apply(given.path(), renewed).unwrap();
    assert_eq!(error_at(&ca, renewed), None);
}

#[test]
fn not_all_have_heard_of_a_root_that_was_given_up() {
    let dir = tempfile::tempdir().unwrap();
    let ca = open(dir.path()).unwrap();
    let now = SystemTime::now();
    Rotate::Root { domain: None }
        .apply(dir.path(), now)
        .unwrap();
    assert_eq!(error_at(&ca, now), None);
    let [key, certificate] =
        ["next.key", "next.crt"].map(|n| fs::read(dir.path().join(n)).unwrap());
    fs::write(dir.path().join("root.crt"), &certificate).unwrap();
    Rotate::Abort.apply(dir.path(), now).unwrap();
    assert_eq!(error_at(&ca, now), None);
    let old = fs::read(dir.path().join("ca.crt")).unwrap();
    fs::write(dir.path().join("root.crt"), [&*old, &*certificate].concat()).unwrap();
    fs::write(dir.path().join("ca.key"), key).unwrap();
    fs::write(dir.path().join("ca.crt"), certificate).unwrap();
    let refused = error_at(&ca, now).unwrap();
    assert!(refused.contains("only lately"), "{refused}");
}

#[test]
fn the_root_of_todays_certificates_is_not_lost() {
    let (before, after) = (Company::new("before"), Company::new("after"));
    let (first, second) = (key(), key());
    let given = Given::new(&first, &[&before.intermediate(&first)]);
    let both = before.root().pem() + &after.root().pem();
    given.write("root.crt", &both, 0o644);
    let ca = open(given.path()).unwrap();
    given.write("root.crt", &after.root().pem(), 0o644);
    given.write("ca.key", &second.serialize_pem(), 0o600);
    given.write("ca.crt", &after.intermediate(&second).pem(), 0o644);
    let refused = error(&ca).unwrap();
    assert!(refused.contains("none of the CA's files"), "{refused}");
    assert_eq!(ca.roots().len(), 2);
    given.write("root.crt", &both, 0o644);
    assert_eq!(error(&ca), None);
}
