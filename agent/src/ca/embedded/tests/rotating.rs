//! The change of a root, with a clock that is told and crashes between any two steps. Holders renew as late as they
//! can, and must believe one another all the time.

use rustls::crypto::aws_lc_rs::default_provider;
use rustls_pki_types::UnixTime;
use webpki::KeyUsage;

use super::*;
use crate::{
    ca::{
        Rotate, Rotated, Stage,
        rotation::{Record, steps},
    },
    tls::TrustAnchors,
};

pub(super) const LIFE: Duration = Duration::from_secs(60);
/// Between two looks at everything.
const TICK: Duration = Duration::from_secs(5);
pub(super) const ROOT: Rotate = Rotate::Root { domain: None };

/// An agent that learns roots with its certificate and in no other way.
struct Holder {
    svid: Svid,
    anchors: TrustAnchors,
}

impl Holder {
    fn new(ca: &EmbeddedCa, now: SystemTime) -> Self {
        Self {
            svid: ca.issue(&web(), now).unwrap(),
            anchors: TrustAnchors::new(&ca.bundle()),
        }
    }

    fn believes(&self, other: &Self, now: SystemTime) {
        let since = now.duration_since(SystemTime::UNIX_EPOCH).unwrap();
        let (leaf, above) = other.svid.certified.cert.split_first().unwrap();
        let algorithms = default_provider().signature_verification_algorithms;
        let time = UnixTime::since_unix_epoch(since);
        let usage = KeyUsage::server_auth();
        let verified = self.anchors.verify(leaf, above, time, usage, algorithms);
        verified.unwrap();
    }
}

/// A CA with a mesh around it.
pub(super) struct Mesh {
    dir: tempfile::TempDir,
    pub(super) ca: EmbeddedCa,
    pub(super) now: SystemTime,
    holders: Vec<Holder>,
}

impl Mesh {
    pub(super) fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let start = leaf::whole_seconds(SystemTime::now());
        let ca = EmbeddedCa::open_at(dir.path(), &domain(), LIFE, start).unwrap();
        let mut mesh = Self {
            dir,
            ca,
            now: start,
            holders: Vec::new(),
        };
        for _ in 0..3 {
            mesh.holders.push(Holder::new(&mesh.ca, mesh.now));
            mesh.pass(20);
        }
        mesh
    }

    pub(super) fn path(&self) -> &Path {
        self.dir.path()
    }

    pub(super) fn stage(&self) -> Stage {
        let rotation = self.ca.state().borrow().rotation;
        rotation.map_or(Stage::Stable, |rotation| rotation.stage)
    }

    /// As a new process would.
    fn restart(&mut self) {
        self.ca = EmbeddedCa::open_at(self.path(), &domain(), LIFE, self.now).unwrap();
    }

    fn tick(&mut self) {
        self.now += TICK;
        self.ca.look(self.now);
        assert_eq!(self.ca.state().borrow().error, None);
        for holder in &mut self.holders {
            if holder.svid.not_after <= self.now {
                *holder = Holder::new(&self.ca, self.now);
            }
        }
        for (a, b) in self
            .holders
            .iter()
            .flat_map(|a| self.holders.iter().map(move |b| (a, b)))
        {
            a.believes(b, self.now);
        }
    }

    fn pass(&mut self, seconds: u64) {
        for _ in 0..seconds / TICK.as_secs() {
            self.tick();
        }
    }

    pub(super) fn until(&mut self, stage: Stage) {
        for _ in 0..100 {
            self.tick();
            if self.stage() == stage {
                return;
            }
        }
        panic!("{stage} never comes");
    }

    /// What the next stage does to the files.
    fn next_steps(&self, now: SystemTime) -> Vec<steps::FileStep> {
        let locked = Locked::existing(self.path()).unwrap();
        let next = locked.record().unwrap().advanced(now).unwrap();
        let mut all = vec![steps::write(&locked.paths, &next).unwrap()];
        all.extend(steps::follow(&locked.paths, next.stage()));
        all
    }
}

pub(super) fn names(dir: &Path) -> Vec<String> {
    let entries = fs::read_dir(dir).unwrap();
    let mut names: Vec<_> = entries
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    names.sort();
    names
}

#[test]
fn nobody_is_disbelieved_while_the_root_changes() {
    let mut mesh = Mesh::new();
    let before = mesh.ca.roots();
    ROOT.apply(mesh.path(), mesh.now).unwrap();
    for (stage, roots, files) in [
        (Stage::Distributing, 2, &["next.crt", "next.key"][..]),
        (Stage::Signing, 2, &["old.crt", "old.key"]),
        (Stage::Retiring, 2, &["old.crt"]),
        (Stage::Stable, 1, &[]),
    ] {
        mesh.until(stage);
        assert_eq!(mesh.ca.roots().len(), roots, "{stage}");
        let mut expected = vec!["ca.crt", "ca.key"];
        expected.extend(files);
        expected.push("rotation.json");
        assert_eq!(names(mesh.path()), expected, "{stage}");
    }
    assert!(!before.contains(&mesh.ca.roots()[0]));
    mesh.pass(120);
}

#[test]
fn a_crash_at_any_step_loses_nothing() {
    for stage in [Stage::Distributing, Stage::Signing, Stage::Retiring] {
        for taken in 0.. {
            let mut mesh = Mesh::new();
            ROOT.apply(mesh.path(), mesh.now).unwrap();
            mesh.until(stage);
            let until = mesh.ca.state().borrow().rotation.unwrap().until;
            while SystemTime::from(until) > mesh.now + TICK {
                mesh.tick();
            }
            let now = mesh.now + TICK;
            let steps = mesh.next_steps(now);
            let Some(some) = steps.get(..taken) else {
                break;
            };
            some.iter().try_for_each(steps::FileStep::take).unwrap();
            mesh.restart();
            mesh.until(Stage::Stable);
            assert_eq!(
                names(mesh.path()),
                ["ca.crt", "ca.key", "rotation.json"],
                "{stage}, {taken} steps"
            );
            assert_eq!(mesh.ca.roots().len(), 1);
            mesh.pass(60);
        }
    }
}

#[test]
fn a_crash_while_beginning_leaves_it_as_it_was_or_begun() {
    for taken in 0..=3 {
        let mut mesh = Mesh::new();
        let locked = Locked::existing(mesh.path()).unwrap();
        let new = leaf::authority(&domain(), mesh.now).unwrap();
        let begun = locked.record().unwrap();
        let begun = begun.begun(Rotated::Root, false, mesh.now);
        let steps = steps::begin(&locked.paths, &new, &begun).unwrap();
        let some = &steps[..taken];
        some.iter().try_for_each(steps::FileStep::take).unwrap();
        drop(locked);
        mesh.restart();
        let expected = match taken {
            3 => Stage::Distributing,
            _ => Stage::Stable,
        };
        assert_eq!(mesh.stage(), expected);
        if taken < 3 {
            assert_eq!(names(mesh.path()), ["ca.crt", "ca.key", "rotation.json"]);
            ROOT.apply(mesh.path(), mesh.now).unwrap();
        }
        mesh.until(Stage::Signing);
    }
}

#[test]
fn two_who_share_a_directory_sign_with_the_same_key() {
    let mut mesh = Mesh::new();
    let other = EmbeddedCa::open_at(mesh.path(), &domain(), LIFE, mesh.now).unwrap();
    ROOT.apply(mesh.path(), mesh.now).unwrap();
    mesh.until(Stage::Signing);
    other.look(mesh.now);
    assert_eq!(*other.state().borrow(), *mesh.ca.state().borrow());
    assert_eq!(other.roots(), mesh.ca.roots());
    mesh.until(Stage::Stable);
    other.look(mesh.now);
    assert_eq!(other.roots(), mesh.ca.roots());
}

#[test]
fn who_slept_through_a_change_takes_it_as_it_is() {
    let mut mesh = Mesh::new();
    let sleeper = EmbeddedCa::open_at(mesh.path(), &domain(), LIFE, mesh.now).unwrap();
    ROOT.apply(mesh.path(), mesh.now).unwrap();
    mesh.until(Stage::Stable);
    sleeper.look(mesh.now);
    assert_eq!(sleeper.state().borrow().error, None);
    assert_eq!(sleeper.roots(), mesh.ca.roots());
}

#[test]
fn a_change_may_be_given_up_while_it_is_distributed() {
    let mut mesh = Mesh::new();
    let before = mesh.ca.roots();
    ROOT.apply(mesh.path(), mesh.now).unwrap();
    let second = ROOT.apply(mesh.path(), mesh.now).unwrap_err().to_string();
    assert!(second.contains("distributing until"), "{second}");
    mesh.pass(30);
    Rotate::Abort.apply(mesh.path(), mesh.now).unwrap();
    mesh.pass(30);
    assert_eq!(mesh.stage(), Stage::Stable);
    assert_eq!(mesh.ca.roots(), before);
    ROOT.apply(mesh.path(), mesh.now).unwrap();
    mesh.until(Stage::Signing);
    let late = Rotate::Abort.apply(mesh.path(), mesh.now);
    assert!(matches!(late, Err(CaError::TooLateToAbort { .. })));
}

#[test]
fn a_self_made_root_may_be_followed_by_an_intermediate_and_that_by_the_next() {
    let company = tempfile::tempdir().unwrap();
    EmbeddedCa::open(company.path(), &domain(), LIFE).unwrap();
    // A self-made root may sign leaves only.
    let name = "the company".to_owned();
    let order = crate::ca::Order {
        kind: crate::ca::Kind::Root { name },
        key_type: crate::ca::KeyType::P384,
        ttl: DAY,
    };
    let above = tempfile::tempdir().unwrap();
    order.fill(above.path(), SystemTime::now()).unwrap();
    let intermediate = |issuer: &Path| Rotate::Intermediate {
        issuer: issuer.to_owned(),
    };
    let mut mesh = Mesh::new();
    let refused = intermediate(company.path()).apply(mesh.path(), mesh.now);
    assert!(refused.is_err());

    intermediate(above.path())
        .apply(mesh.path(), mesh.now)
        .unwrap();
    assert_eq!(Record::default().stage(), Stage::Stable);
    mesh.until(Stage::Distributing);
    mesh.until(Stage::Stable);
    let first = mesh.ca.issue(&web(), mesh.now).unwrap();
    assert_eq!(first.certified.cert.len(), 2);
    let root = ROOT.apply(mesh.path(), mesh.now).unwrap_err();
    assert!(matches!(root, CaError::RootOfOthers { .. }), "{root}");

    intermediate(above.path())
        .apply(mesh.path(), mesh.now)
        .unwrap();
    mesh.tick();
    assert_eq!(mesh.stage(), Stage::Signing);
    let second = mesh.ca.issue(&web(), mesh.now).unwrap();
    assert_ne!(second.certified.cert[1], first.certified.cert[1]);
    mesh.until(Stage::Stable);
}

#[test]
fn an_intermediate_under_a_root_of_the_file_alone_is_distributed_first() {
    let order = crate::ca::Order {
        kind: crate::ca::Kind::Root {
            name: "the company".to_owned(),
        },
        key_type: crate::ca::KeyType::P384,
        ttl: DAY,
    };
    let above = tempfile::tempdir().unwrap();
    order.fill(above.path(), SystemTime::now()).unwrap();
    let mesh = Mesh::new();
    fs::copy(above.path().join("ca.crt"), mesh.path().join("root.crt")).unwrap();
    let rotate = Rotate::Intermediate {
        issuer: above.path().to_owned(),
    };
    // Nobody knows whether everybody has been told of what is in the file.
    let state = rotate.apply(mesh.path(), mesh.now).unwrap();
    assert_eq!(state.rotation.unwrap().stage, Stage::Distributing);
}

#[test]
fn a_ca_is_not_its_own_issuer() {
    let mesh = Mesh::new();
    let link = tempfile::tempdir().unwrap();
    let link = link.path().join("link");
    std::os::unix::fs::symlink(mesh.path(), &link).unwrap();
    for issuer in [mesh.path().to_owned(), mesh.path().join("."), link] {
        let refused = Rotate::Intermediate { issuer }.apply(mesh.path(), mesh.now);
        assert!(matches!(refused, Err(CaError::OwnIssuer { .. })));
    }
    assert_eq!(mesh.stage(), Stage::Stable);
}
