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
    /// The number of that cgroup, when it has been found.
    pods: u64,
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
            pods: 0,
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
        if let (0, Some(root)) = (self.pods, &self.root) {
            self.pods = cgroup_of_pods(root).map_or(0, |(_, number)| number);
            if self.pods == 0 && !std::mem::replace(&mut self.told, true) {
                let root = root.display();
                tracing::error!(%root, "no kubepods cgroup is found: pods that are not known yet are not held back");
            }
        }
        self.pods
    }

    /// Whether nobody is held back, though somebody should be, when it was last looked.
    pub(super) fn are_unguarded(&self) -> bool {
        self.root.is_some() && self.pods == 0
    }
}

/// Directory and number of the cgroup of all pods below a directory; `None` when it isn't found.
#[must_use]
pub fn cgroup_of_pods(root: &Path) -> Option<(PathBuf, u64)> {
    find(root, 0)
}

fn find(dir: &Path, depth: usize) -> Option<(PathBuf, u64)> {
    let entries = fs::read_dir(dir).ok()?.flatten();
    let directories: Vec<_> = entries
        .filter(|entry| entry.file_type().is_ok_and(|kind| kind.is_dir()))
        .collect();
    let found = directories
        .iter()
        .find(|entry| cgroup::is_pods(&entry.file_name()));
    if let Some(entry) = found {
        return Some((entry.path(), entry.metadata().ok()?.ino()));
    }
    if depth == DEEPEST {
        return None;
    }
    directories
        .iter()
        .find_map(|entry| find(&entry.path(), depth + 1))
}

impl Capture {
    /// Tells the programs whom they may let pass; what an earlier agent has told them goes.
    pub(super) fn apply_others(&mut self) {
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
        let let_pass: HashSet<_> = others
            .values()
            .chain(&self.strangers.node)
            .map(|c| c.0)
            .collect();
        let told: HashSet<_> = self.maps.others.keys().filter_map(Result::ok).collect();
        for cookie in told.difference(&let_pass) {
            let _ = self.maps.others.remove(cookie);
        }
        for cookie in let_pass.difference(&told) {
            if let Err(error) = self.maps.others.insert(cookie, 1, 0) {
                self.map_failed(&map_error(map::OTHERS, error));
            }
        }
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
        let number = fs::metadata(&pods).unwrap().ino();
        assert_eq!(cgroup_of_pods(root.path()), Some((pods, number)));
    }
}
