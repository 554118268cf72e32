//! Directories that can be read and not written: the CA goes on, and no change of key ends before its time.

use super::*;
use crate::ca::{Rotate, Stage};

const MINUTE: Duration = Duration::from_secs(60);

/// Nothing can be recorded while it is there. Tests may run as root, for whom every disk is writable and has room.
struct Full(PathBuf);

impl Full {
    fn new(dir: &Path) -> Self {
        let path = dir.join("rotation.json.new");
        fs::create_dir(&path).unwrap();
        Self(path)
    }

    fn frees(self) {
        fs::remove_dir(self.0).unwrap();
    }
}

fn unrecorded(ca: &EmbeddedCa) -> bool {
    ca.state().borrow().unrecorded.is_some()
}

#[test]
fn it_starts_and_issues_as_long_as_others_have_said() {
    let dir = tempfile::tempdir().unwrap();
    let now = SystemTime::now();
    drop(EmbeddedCa::open_at(dir.path(), &domain(), MINUTE, now).unwrap());
    let full = Full::new(dir.path());
    let ca = EmbeddedCa::open_at(dir.path(), &domain(), DAY, now).unwrap();
    assert!(unrecorded(&ca));
    assert_eq!(ca.ttl(), MINUTE, "a change of key waits for no more");
    let svid = ca.issue(&web(), now).unwrap();
    assert!(svid.not_after <= now + MINUTE);
    full.frees();
    ca.look(now);
    assert!(!unrecorded(&ca));
    assert_eq!(ca.ttl(), DAY);
    let rotation = Rotate::Root { domain: None }.apply(dir.path(), now);
    let until = rotation.unwrap().rotation.unwrap().until;
    assert!(SystemTime::from(until) >= now + DAY);
}

#[test]
fn where_nobody_has_said_anything_it_issues_as_it_is_told() {
    let dir = tempfile::tempdir().unwrap();
    let now = SystemTime::now();
    drop(EmbeddedCa::open_at(dir.path(), &domain(), MINUTE, now).unwrap());
    fs::remove_file(dir.path().join("rotation.json")).unwrap();
    let _full = Full::new(dir.path());
    let ca = EmbeddedCa::open_at(dir.path(), &domain(), DAY, now).unwrap();
    assert_eq!(ca.ttl(), DAY);
}

fn stage(ca: &EmbeddedCa) -> Option<Stage> {
    let rotation = ca.state().borrow().rotation;
    rotation.map(|rotation| rotation.stage)
}

#[test]
fn a_change_stays_where_it_is() {
    let dir = tempfile::tempdir().unwrap();
    let start = SystemTime::now();
    let ca = EmbeddedCa::open_at(dir.path(), &domain(), MINUTE, start).unwrap();
    Rotate::Root { domain: None }
        .apply(dir.path(), start)
        .unwrap();
    ca.look(start);
    let full = Full::new(dir.path());
    let late = start + 10 * MINUTE;
    ca.look(late);
    let again = EmbeddedCa::open_at(dir.path(), &domain(), MINUTE, late).unwrap();
    for ca in [&ca, &again] {
        let state = ca.state().borrow().clone();
        assert!(
            state.unrecorded.is_some() && state.error.is_none(),
            "{state:?}"
        );
        assert_eq!(state.rotation.unwrap().stage, Stage::Distributing);
        assert_eq!(ca.roots().len(), 2);
        ca.issue(&web(), late).unwrap();
    }
    assert!(Rotate::Abort.apply(dir.path(), late).is_err());
    full.frees();
    // Nobody can tell who was told meanwhile.
    ca.look(late);
    assert_eq!(stage(&ca), Some(Stage::Distributing));
    let mut times = (1..100).map(|step| late + step * MINUTE / 15);
    times.find(|now| {
        ca.look(*now);
        stage(&ca) == Some(Stage::Signing)
    });
    assert_eq!(stage(&ca), Some(Stage::Signing));
}
