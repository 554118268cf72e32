//! Where the pods of this node live: the cgroup that kubelet names after the pod's UID, and the network namespace in
//! which the runtime has started its processes (`choice`).
//!
//! A container can't give a cgroup such a name outside of its own, and below a pod's it isn't looked for.

mod choice;

use std::{
    collections::{HashMap, HashSet},
    fs, io,
    net::IpAddr,
    os::{fd::OwnedFd, unix::fs::MetadataExt as _},
    path::{Path, PathBuf},
    sync::Arc,
};

use self::choice::{Candidate, Choice, Known};
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
    /// Where processes are: `/proc`.
    proc: PathBuf,
    known: HashMap<Arc<str>, Found>,
    /// Pods whose sandbox was known and is no more.
    gone: HashSet<Arc<str>>,
    /// Why there is none of others.
    missing: HashMap<Arc<str>, Missing>,
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
    /// When the youngest of its processes has started.
    youngest: u64,
}

/// Why a pod has no sandbox, as far as can be seen.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Missing {
    NoCgroups,
    NoCgroup,
    NoProcess,
    Unreadable,
}

impl Missing {
    /// With what to do about it.
    pub(super) fn as_str(self) -> &'static str {
        match self {
            Self::NoCgroups => {
                "no pod has a cgroup below --cgroup-root: it must be the node's whole cgroup v2 hierarchy (hostPath \
                 /sys/fs/cgroup)"
            }
            Self::NoCgroup => {
                "no cgroup below --cgroup-root is named after its UID: kubelet and container runtime must use one cgroup \
                 driver, and the hierarchy must be the node's"
            }
            Self::NoProcess => {
                "its cgroup has no process with a network of its own: it is between two starts, or the agent doesn't see \
                 the node's processes (hostPID: true)"
            }
            Self::Unreadable => {
                "the network namespace of its processes can't be opened: the agent needs CAP_SYS_PTRACE and no AppArmor \
                 profile that denies ptrace (`sealane preflight` tells)"
            }
        }
    }
}

/// Pods that are looked for, by UID.
pub(super) type Wanted = HashMap<Arc<str>, Sought>;

/// A pod that is looked for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Sought {
    /// What kubelet has named its cgroup after: its UID, or another one for static pods.
    pub(super) cgroup: Arc<str>,
    /// The API knows its addresses: those that it has here are nobody's business.
    pub(super) addressed: bool,
}

impl Sandboxes {
    /// Of pods below a directory of the cgroup v2 hierarchy.
    pub(super) fn new(root: PathBuf) -> Self {
        Self::with_processes_in("/proc".into(), root)
    }

    fn with_processes_in(proc: PathBuf, root: PathBuf) -> Self {
        Self {
            root,
            known: HashMap::new(),
            gone: HashSet::new(),
            missing: HashMap::new(),
            home: ["1", "self"]
                .iter()
                .filter_map(|process| netns_of(&proc.join(process)).ok())
                .collect(),
            proc,
        }
    }

    pub(super) fn get(&self, uid: &str) -> Option<&Found> {
        self.known.get(uid)
    }

    pub(super) fn root(&self) -> &Path {
        &self.root
    }

    /// Pods that have none yet, as far as is known, and why.
    pub(super) fn missing(&self) -> &HashMap<Arc<str>, Missing> {
        &self.missing
    }

    /// Whether a pod has left, whatever the API still says of it.
    pub(super) fn is_gone(&self, uid: &str) -> bool {
        self.gone.contains(uid)
    }

    /// Looks where pods are. Returns whether anything is new: what isn't `wanted` is forgotten, and what is gone.
    ///
    /// # Errors
    /// When the hierarchy can't be read, from which nothing follows.
    pub(super) fn look(&mut self, wanted: &Wanted) -> io::Result<bool> {
        self.look_with(wanted, &choice::pinned())
    }

    fn look_with(&mut self, wanted: &Wanted, pinned: &HashSet<u64>) -> io::Result<bool> {
        let cgroups = self.cgroups()?;
        let cgroup = |uid: &Arc<str>| cgroups.get(&*wanted.get(uid)?.cgroup);
        let before = self.known.len();
        let gone = &mut self.gone;
        gone.retain(|uid| wanted.contains_key(uid) && cgroup(uid).is_none());
        self.known.retain(|uid, _| {
            let is_there = cgroup(uid).is_some();
            if !is_there && wanted.contains_key(uid) {
                gone.insert(Arc::clone(uid));
            }
            is_there
        });
        self.missing.clear();
        let mut changed = self.known.len() != before;
        for (uid, sought) in wanted {
            match cgroup(uid) {
                Some(cgroup) if self.stays(cgroup, uid, sought, pinned) => {}
                Some(cgroup) => changed |= self.look_in(cgroup, uid, pinned),
                None if self.gone.contains(uid) => {}
                None if cgroups.is_empty() => self.misses(uid, Missing::NoCgroups),
                None => self.misses(uid, Missing::NoCgroup),
            }
        }
        Ok(changed)
    }

    /// Whether a pod is for certain where it was: a process of it is in the namespace that its runtime has made, which
    /// comes before all others. Most pods are, and their other processes, of which there may be many, are not looked at.
    fn stays(&self, cgroup: &Path, uid: &Arc<str>, sought: &Sought, pinned: &HashSet<u64>) -> bool {
        let known = self.known.get(uid);
        let known = known.filter(|known| known.sandbox.cgroup == cgroup && sought.addressed);
        known.is_some_and(|known| {
            pinned.contains(&known.netns)
                && processes_in(cgroup)
                    .iter()
                    .any(|pid| netns_of(&self.process(*pid)).is_ok_and(|n| n == known.netns))
        })
    }

    fn process(&self, pid: u32) -> PathBuf {
        self.proc.join(pid.to_string())
    }

    fn look_in(&mut self, cgroup: &Path, uid: &Arc<str>, pinned: &HashSet<u64>) -> bool {
        let place = self.known.get(uid).map(|known| Known {
            netns: known.netns,
            youngest: known.youngest,
        });
        let seen = self.found(cgroup, place, pinned);
        let why = match (seen, self.known.get_mut(uid)) {
            (Ok(Seen::Stays { youngest }), Some(known)) => {
                known.youngest = youngest;
                return false;
            }
            (Ok(Seen::In(found)), Some(known)) if known.is_as(&found) => {
                known.youngest = found.youngest;
                return false;
            }
            (Ok(Seen::In(found)), _) => {
                self.known.insert(Arc::clone(uid), found);
                return true;
            }
            // Between two sandboxes of a pod, too, there is none.
            (_, Some(_)) => return false,
            (Ok(_), None) => Missing::NoProcess,
            (Err(error), None) => {
                tracing::debug!(%uid, %error, cgroup = %cgroup.display(), "sandbox of a pod");
                Missing::Unreadable
            }
        };
        self.misses(uid, why);
        false
    }

    /// A container runtime's own processes come into a pod's cgroup before they enter its network (`runc init`), and some
    /// stay (CRI-O's `conmon`): those in a namespace of `home` don't count.
    fn found(
        &self,
        cgroup: &Path,
        known: Option<Known>,
        pinned: &HashSet<u64>,
    ) -> io::Result<Seen> {
        let home = &self.home;
        let (mut candidates, mut error) = (Vec::new(), None);
        for pid in processes_in(cgroup) {
            match netns_of(&self.process(pid)) {
                Ok(netns) if home.contains(&netns) => {}
                Ok(netns) => {
                    candidates.extend(started(&self.process(pid)).map(|started| Candidate {
                        netns,
                        started,
                        pid,
                    }))
                }
                Err(denied) if denied.kind() == io::ErrorKind::PermissionDenied => {
                    error = Some(denied)
                }
                // It has ended.
                Err(_) => {}
            }
        }
        let Some(youngest) = candidates.iter().map(|c| c.started).max() else {
            return error.map_or(Ok(Seen::Nothing), Err);
        };
        let pid = match choice::choose(&candidates, known, pinned) {
            Choice::Stay => return Ok(Seen::Stays { youngest }),
            Choice::Of(candidate) => candidate.pid,
        };
        let process = self.process(pid);
        let netns = fs::File::open(process.join("ns/net"))?;
        let number = netns.metadata()?.ino();
        let addresses = early::addresses(&process)?;
        // Its number may have become another's meanwhile.
        let still = netns_of(&process)? == number && !home.contains(&number);
        if !(still && is_in(&process, cgroup)?) {
            return Ok(Seen::Nothing);
        }
        Ok(Seen::In(Found {
            sandbox: Sandbox {
                netns: NetnsFile::open(OwnedFd::from(netns)),
                cgroup: cgroup.to_owned(),
            },
            addresses: addresses.into(),
            netns: number,
            youngest,
        }))
    }

    fn misses(&mut self, uid: &Arc<str>, why: Missing) {
        self.missing.insert(Arc::clone(uid), why);
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

/// What a look into a pod's cgroup has shown.
enum Seen {
    /// No process that has a network of its own.
    Nothing,
    /// The pod is where it was, wherever its processes are.
    Stays {
        youngest: u64,
    },
    In(Found),
}

/// Of a cgroup and those below it.
fn processes_in(cgroup: &Path) -> Vec<u32> {
    fn collect(cgroup: &Path, depth: usize, found: &mut Vec<u32>) {
        let listed = fs::read_to_string(cgroup.join("cgroup.procs")).unwrap_or_default();
        found.extend(listed.lines().filter_map(|pid| pid.parse::<u32>().ok()));
        if depth < DEEPEST_CONTAINER {
            for (_, path) in directories(cgroup).into_iter().flatten() {
                collect(&path, depth + 1, found);
            }
        }
    }
    let mut found = Vec::new();
    collect(cgroup, 0, &mut found);
    found
}

/// Clock ticks since the machine was started (proc_pid_stat(5), field 22; the name in parentheses may contain anything).
fn started(process: &Path) -> Option<u64> {
    let stat = fs::read_to_string(process.join("stat")).ok()?;
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
mod tests;
