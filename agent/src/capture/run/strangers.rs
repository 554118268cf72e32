//! Pods of which nobody has spoken: which they are, so that the programs can keep them from the mesh until it is known
//! whether they are in it.

use std::{
    collections::{HashMap, HashSet},
    fs,
    os::unix::fs::MetadataExt as _,
    path::{Path, PathBuf},
};

use sealane_common::map;

use super::Capture;
use crate::{
    capture::{
        cgroup,
        maps::map_error,
        netns::{Home, NODE, NetnsCookie},
        programs::CaptureConfig,
    },
    workload::NetnsFile,
};

/// Levels below the root in which kubelet's `kubepods` is looked for.
const DEEPEST: usize = 2;

/// What the programs are told of those who are no strangers.
pub(super) struct Strangers {
    /// Below it is the cgroup of all pods; none: nobody is held back.
    root: Option<PathBuf>,
    /// That cgroup, when it has been found.
    pods: Option<PodsCgroup>,
    /// That it has not, to the log.
    told: bool,
    /// Not of pods at all.
    node: Vec<NetnsCookie>,
    /// Of pods that are known not to be in the mesh.
    others: HashMap<NetnsFile, NetnsCookie>,
}

impl Strangers {
    pub(super) fn new(config: &CaptureConfig, home: &Home) -> Self {
        let own = home.netns(Path::new("/proc/thread-self/ns/net"));
        let node = home.netns(Path::new(NODE));
        Self {
            root: config.hold_back.then(|| config.cgroup_root.clone()),
            pods: None,
            told: false,
            node: [own, node]
                .into_iter()
                .flatten()
                .map(|n| n.cookie())
                .collect(),
            others: HashMap::new(),
        }
    }

    /// Number of the cgroup of all pods, zero as long as there is none.
    pub(super) fn pods(&mut self) -> u64 {
        let Some(root) = &self.root else { return 0 };
        // An empty one may be what another cgroup driver has left behind.
        if !self.pods.as_ref().is_some_and(PodsCgroup::is_in_use) {
            self.pods = cgroup_of_pods(root);
        }
        if self.pods.is_none() && !std::mem::replace(&mut self.told, true) {
            let root = root.display();
            tracing::error!(%root, "no kubepods cgroup is found: pods that are not known yet are not held back");
        }
        self.pods.as_ref().map_or(0, |pods| pods.number)
    }

    fn let_pass(&self) -> HashSet<u64> {
        let cookies = self.others.values().chain(&self.node);
        cookies.map(|cookie| cookie.0).collect()
    }

    /// Whether nobody is held back, though somebody should be, when it was last looked.
    pub(super) fn are_unguarded(&self) -> bool {
        self.root.is_some() && self.pods.is_none()
    }
}

/// The cgroup of all pods.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PodsCgroup {
    pub path: PathBuf,
    number: u64,
}

impl PodsCgroup {
    fn at(path: PathBuf) -> Option<Self> {
        let number = fs::metadata(&path).ok()?.ino();
        Some(Self { path, number })
    }

    /// Whether it is still there, with processes in it (Documentation/admin-guide/cgroup-v2.rst, `cgroup.events`).
    fn is_in_use(&self) -> bool {
        let is_same = fs::metadata(&self.path).is_ok_and(|found| found.ino() == self.number);
        let events = fs::read_to_string(self.path.join("cgroup.events"));
        is_same && events.is_ok_and(|events| events.lines().any(|line| line == "populated 1"))
    }
}

/// The cgroup of all pods: a directory, or what is below it, one with processes rather than another; `None` when it isn't
/// found.
#[must_use]
pub fn cgroup_of_pods(root: &Path) -> Option<PodsCgroup> {
    let mut found = Vec::new();
    find(root.to_owned(), 0, &mut found);
    let in_use = found.iter().position(PodsCgroup::is_in_use);
    let chosen = in_use.unwrap_or(0);
    (chosen < found.len()).then(|| found.swap_remove(chosen))
}

fn find(dir: PathBuf, depth: usize, found: &mut Vec<PodsCgroup>) {
    if dir.file_name().is_some_and(cgroup::is_pods) {
        found.extend(PodsCgroup::at(dir));
        return;
    }
    if depth > DEEPEST {
        return;
    }
    let entries = fs::read_dir(dir).into_iter().flatten().flatten();
    for entry in entries.filter(|entry| entry.file_type().is_ok_and(|kind| kind.is_dir())) {
        find(entry.path(), depth + 1, found);
    }
}

impl Capture {
    /// Tells the programs whom they may let pass.
    pub(super) fn let_others_pass(&mut self) {
        let wanted = &self.desired.others;
        let others = &mut self.strangers.others;
        others.retain(|file, _| wanted.contains(file));
        for file in wanted {
            // It may have ended already.
            if !others.contains_key(file)
                && let Ok(netns) = self.home.netns(file.path())
            {
                others.insert(file.clone(), netns.cookie());
            }
        }
        let told = self.told_of_others();
        for cookie in self.strangers.let_pass().difference(&told) {
            if let Err(error) = self.maps.others.insert(cookie, 1, 0) {
                self.map_failed(&map_error(map::OTHERS, error));
            }
        }
    }

    /// The programs let nobody else pass, whatever an earlier agent has told them.
    pub(super) fn forget_others(&mut self) {
        for cookie in self.told_of_others().difference(&self.strangers.let_pass()) {
            let _ = self.maps.others.remove(cookie);
        }
    }

    fn told_of_others(&self) -> HashSet<u64> {
        self.maps.others.keys().filter_map(Result::ok).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_cgroup_of_all_pods_is_kubelets_and_may_be_missing() {
        let root = tempfile::tempdir().unwrap();
        assert_eq!(cgroup_of_pods(root.path()), None);
        let pods = root.path().join("kubelet.slice/kubelet-kubepods.slice");
        fs::create_dir_all(pods.join("kubelet-kubepods-burstable.slice")).unwrap();
        let path = |root: &Path| cgroup_of_pods(root).map(|found| found.path);
        assert_eq!(path(root.path()), Some(pods.clone()));
        assert_eq!(path(&pods), Some(pods));
    }

    #[test]
    fn a_cgroup_that_is_not_in_use_is_another_drivers() {
        let root = tempfile::tempdir().unwrap();
        let [old, new] = ["kubepods", "kubepods.slice"].map(|name| root.path().join(name));
        let populate = |cgroup: &Path, number: u8| {
            fs::create_dir_all(cgroup).unwrap();
            let events = format!("populated {number}\nfrozen 0\n");
            fs::write(cgroup.join("cgroup.events"), events).unwrap();
        };
        for (used, left) in [(&old, &new), (&new, &old)] {
            populate(used, 1);
            populate(left, 0);
            let found = cgroup_of_pods(root.path()).unwrap();
            assert_eq!(&found.path, used);
            assert!(found.is_in_use());
            populate(used, 0);
            assert!(!found.is_in_use());
        }
        let found = cgroup_of_pods(root.path()).unwrap();
        fs::rename(&found.path, root.path().join("elsewhere")).unwrap();
        populate(&found.path, 1);
        assert!(!found.is_in_use(), "another of the same name");
    }
}
