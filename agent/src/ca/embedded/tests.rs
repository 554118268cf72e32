use std::{
    fs::{self, Permissions},
    os::unix::fs::PermissionsExt,
    process::Command,
};

use x509_parser::prelude::{FromDer, GeneralName, X509Certificate};

use super::*;

mod given;
mod replaced;
mod rotating;
mod unfit;
mod unwritable;

const DAY: Duration = Duration::from_secs(86_400);

fn domain() -> TrustDomain {
    "cluster.local".parse().unwrap()
}

fn open(dir: &Path) -> Result<EmbeddedCa, CaError> {
    EmbeddedCa::open(dir, &domain(), DAY)
}

fn web() -> SpiffeId {
    "spiffe://cluster.local/ns/shop/sa/web".parse().unwrap()
}

#[test]
fn leaves_are_svids() {
    let dir = tempfile::tempdir().unwrap();
    let now = SystemTime::now();
    let svid = open(dir.path()).unwrap().issue(&web(), now).unwrap();
    let (_, leaf) = X509Certificate::from_der(&svid.certified.cert[0]).unwrap();

    assert_eq!(leaf.subject().iter().count(), 0);
    let names = leaf.subject_alternative_name().unwrap().unwrap();
    assert!(names.critical);
    let uri = GeneralName::URI("spiffe://cluster.local/ns/shop/sa/web");
    assert_eq!(names.value.general_names, [uri]);
    let usage = leaf.key_usage().unwrap().unwrap();
    assert!(usage.critical && usage.value.digital_signature());
    assert!(!usage.value.key_cert_sign() && !usage.value.crl_sign());
    let purposes = leaf.extended_key_usage().unwrap().unwrap();
    assert!(purposes.value.server_auth && purposes.value.client_auth && !purposes.value.any);
    let constraints = leaf.basic_constraints().unwrap().unwrap();
    assert!(constraints.critical && !constraints.value.ca);
    assert!(
        leaf.extensions()
            .iter()
            .any(|e| e.oid.to_id_string() == "2.5.29.35")
    );
    assert!(
        leaf.extensions()
            .iter()
            .any(|e| e.oid.to_id_string() == "2.5.29.14")
    );

    let life = leaf.validity().not_after.timestamp() - leaf.validity().not_before.timestamp();
    assert_eq!(life, 86_400);
    assert_eq!(svid.not_after.duration_since(svid.not_before).unwrap(), DAY);
    assert!(svid.not_before <= now - Duration::from_secs(59));
    assert_eq!(format!("{:032x}", leaf.serial), svid.serial);
    assert!(svid.certified.keys_match().is_ok());
}

#[test]
fn the_made_authority_is_as_spiffe_wants_it() {
    let dir = tempfile::tempdir().unwrap();
    let bundle = open(dir.path()).unwrap().bundle();
    let roots = bundle.roots(&domain());
    assert_eq!(roots.len(), 1);
    let (_, root) = X509Certificate::from_der(&roots[0]).unwrap();
    let name = root.subject().to_string();
    assert!(
        name.starts_with("O=cluster.local, CN=Sealane CA "),
        "{name}"
    );
    let constraints = root.basic_constraints().unwrap().unwrap();
    assert!(constraints.critical && constraints.value.ca);
    assert_eq!(constraints.value.path_len_constraint, Some(0));
    let usage = root.key_usage().unwrap().unwrap();
    assert!(usage.critical && usage.value.key_cert_sign() && usage.value.crl_sign());
    let names = root.subject_alternative_name().unwrap().unwrap();
    assert_eq!(
        names.value.general_names,
        [GeneralName::URI("spiffe://cluster.local")]
    );
}

#[test]
fn openssl_accepts_the_chain() {
    let dir = tempfile::tempdir().unwrap();
    let svid = open(dir.path())
        .unwrap()
        .issue(&web(), SystemTime::now())
        .unwrap();
    let leaf = dir.path().join("leaf.der");
    fs::write(&leaf, svid.certified.cert[0].as_ref()).unwrap();
    let output = Command::new("openssl")
        .args(["verify", "-x509_strict", "-purpose", "sslclient", "-CAfile"])
        .args([dir.path().join("ca.crt"), leaf])
        .output();
    // The suite requires openssl; unit tests also run where there is none.
    if let Ok(output) = output {
        assert!(
            output.status.success(),
            "{}",
            String::from_utf8_lossy(&output.stderr)
        );
    }
}

#[test]
fn files_are_private_and_used_again() {
    let parent = tempfile::tempdir().unwrap();
    let dir = parent.path().join("deep/ca");
    let first = open(&dir).unwrap().bundle();
    let mode = |path: &Path| fs::metadata(path).unwrap().permissions().mode() & 0o7777;
    assert_eq!(mode(&dir), 0o700);
    assert_eq!(mode(&dir.join("ca.key")), 0o600);
    assert_eq!(open(&dir).unwrap().bundle(), first);
    let mut names: Vec<_> = fs::read_dir(&dir)
        .unwrap()
        .map(|f| f.unwrap().file_name())
        .collect();
    names.sort();
    assert_eq!(names, ["ca.crt", "ca.key", "rotation.json"]);
}

#[test]
fn agents_that_start_together_share_one_key() {
    let parent = tempfile::tempdir().unwrap();
    let dir = parent.path().join("ca");
    let bundles = std::thread::scope(|scope| {
        let openers: Vec<_> = (0..8)
            .map(|_| scope.spawn(|| open(&dir).unwrap().bundle()))
            .collect();
        openers
            .into_iter()
            .map(|o| o.join().unwrap())
            .collect::<Vec<_>>()
    });
    assert!(bundles.windows(2).all(|pair| pair[0] == pair[1]));
}

#[test]
fn what_a_crash_left_is_cleared_away() {
    let dir = tempfile::tempdir().unwrap();
    fs::write(dir.path().join("ca.key.new"), "half").unwrap();
    open(dir.path()).unwrap();
    assert!(!dir.path().join("ca.key.new").exists());
}

#[test]
fn serials_differ_and_keep_their_length() {
    let dir = tempfile::tempdir().unwrap();
    let ca = open(dir.path()).unwrap();
    let serials: std::collections::HashSet<_> = (0..64)
        .map(|_| ca.issue(&web(), SystemTime::now()).unwrap().serial)
        .collect();
    assert_eq!(serials.len(), 64);
    assert!(serials.iter().all(|s| s.len() == 32));
}

#[test]
fn short_lives_start_close_to_now() {
    let dir = tempfile::tempdir().unwrap();
    let ca = EmbeddedCa::open(dir.path(), &domain(), Duration::from_secs(10)).unwrap();
    let svid = ca.issue(&web(), SystemTime::now()).unwrap();
    assert_eq!(
        svid.not_after
            .duration_since(svid.not_before)
            .unwrap()
            .as_secs(),
        11
    );
}

#[test]
fn keys_open_to_others_are_refused() {
    let dir = tempfile::tempdir().unwrap();
    open(dir.path()).unwrap();
    let key = dir.path().join("ca.key");
    fs::set_permissions(&key, Permissions::from_mode(0o640)).unwrap();
    let error = open(dir.path()).err().unwrap();
    assert!(matches!(error, CaError::KeyMode { mode: 0o640, .. }));
    assert!(error.to_string().contains("chmod 0600"), "{error}");
    fs::set_permissions(&key, Permissions::from_mode(0o600)).unwrap();
    fs::set_permissions(dir.path(), Permissions::from_mode(0o777)).unwrap();
    assert!(matches!(
        open(dir.path()).err().unwrap(),
        CaError::DirectoryMode { .. }
    ));
}

#[test]
fn half_a_pair_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    open(dir.path()).unwrap();
    let (key, certificate) = (dir.path().join("ca.key"), dir.path().join("ca.crt"));
    let saved = fs::read(&certificate).unwrap();
    fs::remove_file(&certificate).unwrap();
    assert!(matches!(
        open(dir.path()).err().unwrap(),
        CaError::CertificateMissing { .. }
    ));
    fs::write(&certificate, saved).unwrap();
    fs::remove_file(&key).unwrap();
    assert!(matches!(
        open(dir.path()).err().unwrap(),
        CaError::KeyMissing { .. }
    ));
}

#[test]
fn the_authority_of_another_domain_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    open(dir.path()).unwrap();
    let other: TrustDomain = "other.example".parse().unwrap();
    let error = EmbeddedCa::open(dir.path(), &other, DAY).err().unwrap();
    assert!(error.to_string().contains("--trust-domain"), "{error}");
}
