//! New keys under which nobody would believe anybody: found before anything is done that can't be undone.

use super::{
    given::{authority_params, key},
    rotating::{LIFE, Mesh, ROOT, names},
    *,
};
use crate::ca::{Rotate, Stage};

/// An authority for mail, under a root, and that root.
fn mail_authority() -> (rcgen::KeyPair, String, String) {
    let (root_key, key) = (key(), key());
    let root = authority_params("mail's root", 2);
    let root_certificate = root.self_signed(&root_key).unwrap();
    let root = rcgen::Issuer::from_params(&root, &root_key);
    let mut params = authority_params("mail", 1);
    params.extended_key_usages = vec![rcgen::ExtendedKeyUsagePurpose::EmailProtection];
    let certificate = params.signed_by(&key, &root).unwrap();
    (key, certificate.pem(), root_certificate.pem())
}

fn put(dir: &Path, files: &[(&str, &str)]) {
    for (name, text) in files {
        let path = dir.join(name);
        fs::write(&path, text).unwrap();
        fs::set_permissions(&path, Permissions::from_mode(0o600)).unwrap();
    }
}

#[test]
fn an_issuer_whose_certificates_nobody_takes_is_refused_before_anything_is_written() {
    let mesh = Mesh::new();
    let issuer = tempfile::tempdir().unwrap();
    let (key, certificate, root) = mail_authority();
    let key = key.serialize_pem();
    put(
        issuer.path(),
        &[
            ("ca.key", &key),
            ("ca.crt", &certificate),
            ("root.crt", &root),
        ],
    );
    // Whether its root is known or has to be distributed first.
    for known in ["", &root] {
        put(mesh.path(), &[("root.crt", known)]);
        let before = names(mesh.path());
        let rotate = Rotate::Intermediate {
            issuer: issuer.path().to_owned(),
        };
        let refused = rotate.apply(mesh.path(), mesh.now).unwrap_err();
        assert!(
            refused.to_string().contains("extended key usage"),
            "{refused}"
        );
        assert_eq!(names(mesh.path()), before);
        mesh.ca.look(mesh.now);
        assert_eq!(mesh.stage(), Stage::Stable);
    }
}

/// A CA that may sign for hosts of one domain only, in a directory.
fn constrained_issuer() -> tempfile::TempDir {
    let dir = tempfile::tempdir().unwrap();
    let key = key();
    let mut params = authority_params("constrained", 1);
    params.name_constraints = Some(rcgen::NameConstraints {
        permitted_subtrees: vec![rcgen::GeneralSubtree::DnsName("corp.example".to_owned())],
        excluded_subtrees: Vec::new(),
    });
    let certificate = params.self_signed(&key).unwrap().pem();
    let key = key.serialize_pem();
    put(dir.path(), &[("ca.key", &key), ("ca.crt", &certificate)]);
    dir
}

fn service(dir: &Path, name: &str) -> Result<EmbeddedCa, CaError> {
    EmbeddedCa::open_for_service(dir, &domain(), LIFE, &[name.to_owned()])
}

#[test]
fn a_service_whose_own_name_is_forbidden_does_not_begin() {
    let dir = constrained_issuer();
    let refused = service(dir.path(), "ca.mesh.example").err().unwrap();
    assert!(
        refused.to_string().contains("name constraints"),
        "{refused}"
    );
    service(dir.path(), "ca.corp.example").unwrap();
}

#[test]
fn a_key_that_may_not_sign_for_the_service_itself_is_refused() {
    let (issuer, mesh) = (constrained_issuer(), tempfile::tempdir().unwrap());
    let now = leaf::whole_seconds(SystemTime::now());
    service(mesh.path(), "ca.mesh.example").unwrap();
    let before = names(mesh.path());
    let issuer = issuer.path().to_owned();
    let rotate = Rotate::Intermediate { issuer };
    let refused = rotate.apply(mesh.path(), now).unwrap_err();
    assert!(
        refused.to_string().contains("name constraints"),
        "{refused}"
    );
    assert_eq!(names(mesh.path()), before);
    service(mesh.path(), "ca.corp.example").unwrap();
    rotate.apply(mesh.path(), now).unwrap();
}

#[test]
fn an_issuer_that_ends_before_it_could_sign_is_refused() {
    let (issuer, mesh, key) = (tempfile::tempdir().unwrap(), Mesh::new(), key());
    let mut params = authority_params("short", 1);
    params.not_after = (mesh.now + LIFE).into();
    let certificate = params.self_signed(&key).unwrap().pem();
    let key = key.serialize_pem();
    put(issuer.path(), &[("ca.key", &key), ("ca.crt", &certificate)]);
    let before = names(mesh.path());
    let rotate = Rotate::Intermediate {
        issuer: issuer.path().to_owned(),
    };
    let refused = rotate.apply(mesh.path(), mesh.now).unwrap_err();
    assert!(refused.to_string().contains("renewed first"), "{refused}");
    assert_eq!(names(mesh.path()), before);
}

#[test]
fn a_ca_without_a_name_is_refused() {
    let (dir, key) = (tempfile::tempdir().unwrap(), key());
    let mut params = authority_params("x", 1);
    params.distinguished_name = rcgen::DistinguishedName::new();
    let certificate = params.self_signed(&key).unwrap().pem();
    let key = key.serialize_pem();
    put(dir.path(), &[("ca.key", &key), ("ca.crt", &certificate)]);
    let refused = open(dir.path()).err().unwrap();
    assert!(refused.to_string().contains("no subject"), "{refused}");
}

#[test]
fn what_turns_out_to_be_unfit_never_signs_and_can_be_given_up() {
    let mesh = Mesh::new();
    ROOT.apply(mesh.path(), mesh.now).unwrap();
    let (key, certificate, root) = mail_authority();
    let next = certificate + &root;
    put(
        mesh.path(),
        &[("next.key", &key.serialize_pem()), ("next.crt", &next)],
    );
    let late = mesh.now + 10 * LIFE;
    for step in 0..=100 {
        mesh.ca.look(mesh.now + step * LIFE / 10);
    }
    assert_eq!(mesh.stage(), Stage::Distributing);
    let error = mesh.ca.state().borrow().error.clone().unwrap();
    assert!(error.contains("next.crt"), "{error}");
    let again = EmbeddedCa::open_at(mesh.path(), &domain(), LIFE, late).unwrap();
    again.issue(&web(), late).unwrap();
    assert!(ROOT.apply(mesh.path(), late).is_err());
    Rotate::Abort.apply(mesh.path(), late).unwrap();
    mesh.ca.look(late);
    assert_eq!(mesh.ca.state().borrow().error, None);
    assert_eq!(names(mesh.path()), ["ca.crt", "ca.key", "rotation.json"]);
}

#[test]
fn the_old_key_stays_until_the_new_one_is_in_force() {
    let mut mesh = Mesh::new();
    ROOT.apply(mesh.path(), mesh.now).unwrap();
    mesh.until(Stage::Signing);
    let (key, certificate, root) = mail_authority();
    let unfit = certificate + &root;
    put(
        mesh.path(),
        &[("ca.key", &key.serialize_pem()), ("ca.crt", &unfit)],
    );
    let late = mesh.now + 10 * LIFE;
    mesh.ca.look(late);
    assert!(mesh.ca.state().borrow().error.is_some());
    assert_eq!(mesh.stage(), Stage::Signing, "and its status says so");
    assert!(mesh.path().join("old.key").exists());
    assert!(EmbeddedCa::open_at(mesh.path(), &domain(), LIFE, late).is_err());
    assert!(mesh.path().join("old.key").exists());
}

#[test]
fn to_look_changes_nothing_whatever_the_time() {
    let mut mesh = Mesh::new();
    ROOT.apply(mesh.path(), mesh.now).unwrap();
    mesh.until(Stage::Signing);
    let record = mesh.path().join("rotation.json");
    let before = (names(mesh.path()), fs::read(&record).unwrap());
    let state = CaState::of(mesh.path(), mesh.now + 400 * DAY).unwrap();
    assert_eq!(state.rotation.unwrap().stage, Stage::Signing);
    let late = state.unrecorded.unwrap();
    assert!(late.contains("signing although"), "{late}");
    assert_eq!((names(mesh.path()), fs::read(&record).unwrap()), before);
}
