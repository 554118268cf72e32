//! Where the pods of this node live: the cgroup that kubelet names after the pod's UID, and the network namespace of
//! the oldest process in it.
//!
//! A container can't give a cgroup such a name outside of its own, and below a pod's it isn't looked for.

use std::{
    collections::{HashMap, HashSet},
    fs, io,
    net::IpAddr,
    os::{fd::OwnedFd, unix::fs::MetadataExt as _},
    path::{Path, PathBuf},
    sync::Arc,
};

use super::early;
use crate::workload::{NetnsFile, Sandbox};

/// Levels between the root and the pods: `kubelet.slice/kubelet-kubepods.slice/kubelet-kubepods-burstable.slice`.
const DEEPEST: usize = 4;

/// Levels of a pod's own cgroups.
const DEEPEST_CONTAINER: usize = 3;

/// The sandboxes of this node's pods, by UID.
#[derive(Debug)]
pub(super) struct Sandboxes {
    root: PathBuf,
    known: HashMap<Arc<str>, Found>,
    /// Pods whose sandbox was known and is no more.
    gone: HashSet<Arc<str>>,
    /// Namespaces that are no pod's: the node's, and this process's.
    home: Vec<u64>,
}

/// A sandbox, and what it shows.
#[derive(Clone, Debug)]
pub(super) struct Found {
    pub(super) sandbox: Sandbox,
    /// That its network has.
    pub(super) addresses: Arc<[IpAddr]>,
    /// Number of the namespace.
    netns: u64,
}

impl Sandboxes {
    /// Of pods below a directory of the cgroup v2 hierarchy.
    pub(super) fn new(root: PathBuf) -> Self {
        Self {
            root,
            known: HashMap::new(),
            gone: HashSet::new(),
            home: ["/proc/1", "/proc/self"]
                .iter()
                .filter_map(|process| netns_of(Path::new(process)).ok())
                .collect(),
        }
    }

    pub(super) fn get(&self, uid: &str) -> Option<&Found> {
        self.known.get(uid)
    }

    pub(super) fn root(&self) -> &Path {
        &self.root
    }

    /// Whether a pod has none yet, as far as is known.
    pub(super) fn is_awaited(&self, uid: &str) -> bool {
        !(self.known.contains_key(uid) || self.gone.contains(uid))
    }

    /// Whether a pod has left, whatever the API still says of it.
    pub(super) fn is_gone(&self, uid: &str) -> bool {
        self.gone.contains(uid)
    }

    /// Looks where pods are. Returns whether anything is new: what isn't `wanted` is forgotten, and what is gone.
    ///
    /// # Errors
    /// When the hierarchy can't be read, from which nothing follows.
    pub(super) fn look(&mut self, wanted: &HashSet<Arc<str>>) -> io::Result<bool> {
        let cgroups = self.cgroups()?;
        let before = self.known.len();
        let gone = &mut self.gone;
        gone.retain(|uid| wanted.contains(uid) && !cgroups.contains_key(&**uid));
        self.known.retain(|uid, _| {
            let is_there = cgroups.contains_key(&**uid);
            if !is_there {
                gone.insert(Arc::clone(uid));
            }
            is_there && wanted.contains(uid)
        });
        let mut changed = self.known.len() != before;
        for uid in wanted {
            let Some(cgroup) = cgroups.get(&**uid) else {
                continue;
            };
            let known = self.known.get(uid).map(|known| known.netns);
            match found(cgroup, &self.home, known) {
                Ok(Some(found)) if !self.known.get(uid).is_some_and(|k| k.is_as(&found)) => {
                    self.known.insert(Arc::clone(uid), found);
                    changed = true;
                }
                // Between two sandboxes of a pod, too, there is none.
                Ok(_) => {}
                Err(error) => {
                    tracing::debug!(%uid, %error, cgroup = %cgroup.display(), "sandbox of a pod");
                }
            }
        }
        Ok(changed)
    }

    /// The pods' directories, by UID.
    fn cgroups(&self) -> io::Result<HashMap<String, PathBuf>> {
        let mut found = HashMap::new();
        collect(&self.root, 0, &mut found)?;
        Ok(found)
    }
}

impl Found {
    fn is_as(&self, other: &Self) -> bool {
        self.netns == other.netns
            && self.addresses == other.addresses
            && self.sandbox.cgroup == other.sandbox.cgroup
    }
}

fn collect(dir: &Path, depth: usize, found: &mut HashMap<String, PathBuf>) -> io::Result<()> {
    for (name, path) in directories(dir)? {
        match pod_uid(&name) {
            Some(uid) if depth > 0 => {
                found.insert(uid, path);
            }
            _ if depth < DEEPEST && leads_to_pods(&name) => collect(&path, depth + 1, found)?,
            _ => {}
        }
    }
    Ok(())
}

/// `kubepods`, `burstable` and `besteffort` of kubelet's cgroupfs driver; with systemd's all are in one name.
fn leads_to_pods(name: &str) -> bool {
    name.contains("kube") || matches!(name, "burstable" | "besteffort")
}

/// `podUID`, or `kubepods-burstable-podUID.slice` with `_` for `-`, for systemd reads that as levels
/// (`pkg/kubelet/cm/cgroup_manager_linux.go`).
fn pod_uid(name: &str) -> Option<String> {
    let uid = match name.strip_suffix(".slice") {
        Some(slice) => slice.rsplit_once("-pod")?.1,
        None => name.strip_prefix("pod")?,
    };
    let is_uid = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_');
    (!uid.is_empty() && uid.bytes().all(is_uid)).then(|| uid.replace('_', "-"))
}

/// `None`: there is no process in it that has a network of its own. A container runtime's own processes come into a pod's
/// cgroup before they enter its network (`runc init`), and some stay (CRI-O's `conmon`): those in a namespace of `home`
/// don't count. As long as any process is in the `known` namespace that is the pod's: one that makes another for itself
/// does not move the pod.
fn found(cgroup: &Path, home: &[u64], known: Option<u64>) -> io::Result<Option<Found>> {
    let mut processes = Vec::new();
    processes_in(cgroup, 0, &mut processes);
    let candidates = processes.into_iter().filter_map(|pid| {
        let netns = netns_of(&PathBuf::from(format!("/proc/{pid}"))).ok()?;
        let moved = known.is_some_and(|known| known != netns);
        (!home.contains(&netns)).then_some((moved, started(pid)?, pid))
    });
    let Some((_, _, pid)) = candidates.min() else {
        return Ok(None);
    };
    let process = PathBuf::from(format!("/proc/{pid}"));
    let netns = fs::File::open(process.join("ns/net"))?;
    let number = netns.metadata()?.ino();
    let addresses = early::addresses(&process)?;
    // Its number may have become another's meanwhile.
    let still = netns_of(&process)? == number && !home.contains(&number);
    if !(still && is_in(&process, cgroup)?) {
        return Ok(None);
    }
    Ok(Some(Found {
        sandbox: Sandbox {
            netns: NetnsFile::open(OwnedFd::from(netns)),
            cgroup: cgroup.to_owned(),
        },
        addresses: addresses.into(),
        netns: number,
    }))
}

fn processes_in(cgroup: &Path, depth: usize, found: &mut Vec<u32>) {
    let listed = fs::read_to_string(cgroup.join("cgroup.procs")).unwrap_or_default();
    found.extend(listed.lines().filter_map(|pid| pid.parse::<u32>().ok()));
    if depth < DEEPEST_CONTAINER {
        for (_, path) in directories(cgroup).into_iter().flatten() {
            processes_in(&path, depth + 1, found);
        }
    }
}

/// Clock ticks since the machine was started (proc_pid_stat(5), field 22; the name in parentheses may contain anything).
fn started(pid: u32) -> Option<u64> {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    let (_, fields) = stat.rsplit_once(')')?;
    fields.split_whitespace().nth(19)?.parse().ok()
}

/// Whether a process is in a cgroup or below it.
fn is_in(process: &Path, cgroup: &Path) -> io::Result<bool> {
    let Some(name) = cgroup.file_name().and_then(|name| name.to_str()) else {
        return Ok(false);
    };
    let memberships = fs::read_to_string(process.join("cgroup"))?;
    let unified = memberships
        .lines()
        .find_map(|line| line.strip_prefix("0::"));
    Ok(unified.is_some_and(|path| path.split('/').any(|part| part == name)))
}

/// Number of a process's network namespace.
fn netns_of(process: &Path) -> io::Result<u64> {
    Ok(fs::metadata(process.join("ns/net"))?.ino())
}

/// None in a directory that is gone.
fn directories(dir: &Path) -> io::Result<Vec<(String, PathBuf)>> {
    let entries = match fs::read_dir(dir) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        entries => entries?,
    };
    let mut directories = Vec::new();
    for entry in entries {
        let entry = entry?;
        if let (true, Ok(name)) = (entry.file_type()?.is_dir(), entry.file_name().into_string()) {
            directories.push((name, entry.path()));
        }
    }
    Ok(directories)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pods_are_found_as_each_driver_names_them() {
        let uid = "8a2f7e9c-11aa-4c4e-9c5e-0123456789ab";
        let flat = uid.replace('-', "_");
        let dir = tempfile::tempdir().unwrap();
        let pod = |path: String| {
            let path = dir.path().join(path);
            fs::create_dir_all(&path).unwrap();
            let root = dir.path().to_owned();
            let found = Sandboxes::new(root).cgroups().unwrap();
            fs::remove_dir(&path).unwrap();
            found.get(uid) == Some(&path)
        };
        assert!(pod(format!("kubepods/pod{uid}")));
        assert!(pod(format!("kubepods/burstable/pod{uid}")));
        assert!(pod(format!("kubepods.slice/kubepods-pod{flat}.slice")));
        assert!(pod(format!(
            "kubelet.slice/kubelet-kubepods.slice/kubelet-kubepods-besteffort.slice/kubelet-kubepods-besteffort-pod{flat}.slice"
        )));
        // In the root, in a container, and elsewhere it is none of kubelet's.
        assert!(!pod(format!("pod{uid}")));
        assert!(!pod(format!("kubepods/podother/kubepods/pod{uid}")));
        assert!(!pod(format!("system.slice/pod{uid}")));
    }

    #[test]
    fn a_process_has_started_and_is_where_it_is() {
        assert!(started(std::process::id()).unwrap() > 0);
        assert!(!is_in(Path::new("/proc/self"), Path::new("/no/such/pod")).unwrap());
    }
}
