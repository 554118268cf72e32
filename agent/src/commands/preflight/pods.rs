//! What an agent on a cluster needs to find the pods of its node: kubelet's cgroups, and the processes in them.

use std::{
    fs, io,
    os::unix::fs::MetadataExt as _,
    path::{Path, PathBuf},
};

use super::{Check, Subject};
use crate::capture;

/// Inode of the first PID namespace (`PROC_PID_INIT_INO`, include/linux/proc_ns.h).
const FIRST_PIDS: &str = "pid:[4026531836]";

/// Without a place to look at, what is said of that is enough. `needed`: the agent is to watch the Kubernetes API.
pub(super) fn checks(cgroup_root: Option<&Path>, needed: bool) -> Vec<Check> {
    let of_cluster = |subject: Subject| Subject { needed, ..subject };
    let mut checks = vec![of_cluster(NODE).check("processes of the node", node())];
    if let Some(root) = cgroup_root {
        let found = capture::cgroup_of_pods(root).map(|found| found.path);
        let shown = found.as_ref().map(|pods| pods.display().to_string());
        let absent = || format!("nothing below {} is called so", root.display());
        checks.push(of_cluster(KUBEPODS).check("kubepods cgroup", shown.ok_or_else(absent)));
        checks.extend(
            found.map(|pods| of_cluster(PROCESSES).check("processes of pods", processes(&pods))),
        );
    }
    checks
}

const NODE: Subject = Subject {
    needed: false,
    purpose: "to tell the node's own network from the pods', and to find the pods' by their processes",
    without: "an agent that is told its pods by files with sealane.dev/netns works; one that watches the Kubernetes API finds no pod",
    remedy: "hostPID: true",
};

const KUBEPODS: Subject = Subject {
    needed: false,
    purpose: "an agent that watches the Kubernetes API finds the pods there, and holds back those that it doesn't know yet",
    without: "an agent that is told its pods by files works; with --kubernetes it finds no pod, and is not ready unless it has --unknown-pods=pass",
    remedy: "mount the node's whole /sys/fs/cgroup by hostPath, or say --cgroup-root; kubelet must not run with --cgroups-per-qos=false",
};

const PROCESSES: Subject = Subject {
    needed: false,
    purpose: "an agent that watches the Kubernetes API finds the pods' network namespaces by them",
    without: "an agent that is told its pods by files works; with --kubernetes it finds no pod",
    remedy: "hostPID: true, CAP_SYS_PTRACE, and no AppArmor profile that denies ptrace (appArmorProfile: Unconfined)",
};

fn node() -> Result<String, String> {
    match fs::read_link("/proc/self/ns/pid") {
        Ok(link) if link.as_os_str() == FIRST_PIDS => {}
        Ok(link) => return Err(format!("{} is not the node's", link.display())),
        Err(error) => return Err(format!("/proc/self/ns/pid: {error}")),
    }
    match netns("1") {
        Ok(_) => Ok("the node's PID namespace, and process 1 in it".to_owned()),
        Err(error) => Err(format!("/proc/1/ns/net: {error}")),
    }
}

/// What is to be seen of the processes below a cgroup.
#[derive(Debug, Default, PartialEq, Eq)]
struct Sight {
    /// With a network that can be opened.
    seen: usize,
    /// Of PID namespaces that this one is not above of (cgroup.procs then says 0).
    hidden: usize,
    denied: Option<io::ErrorKind>,
}

fn processes(pods: &Path) -> Result<String, String> {
    let mut sight = Sight::default();
    sight.look(pods);
    sight.outcome()
}

impl Sight {
    fn look(&mut self, cgroup: &Path) {
        let mut ahead = vec![cgroup.to_owned()];
        while let Some(directory) = ahead.pop() {
            // Cgroups end meanwhile.
            let listed = fs::read_to_string(directory.join("cgroup.procs")).unwrap_or_default();
            listed.lines().for_each(|pid| self.take_in(pid, netns(pid)));
            ahead.extend(directories(&directory));
        }
    }

    fn take_in(&mut self, pid: &str, netns: io::Result<u64>) {
        match netns {
            _ if pid == "0" => self.hidden += 1,
            Ok(_) => self.seen += 1,
            Err(error) if error.kind() == io::ErrorKind::PermissionDenied => {
                self.denied = Some(error.kind());
            }
            // It has ended.
            Err(_) => {}
        }
    }

    fn outcome(&self) -> Result<String, String> {
        match self {
            Self {
                denied: Some(kind), ..
            } => Err(format!("/proc/PID/ns/net of a pod's process: {kind}")),
            Self { hidden, .. } if *hidden > 0 => {
                Err(format!("{hidden} of them are not in this PID namespace"))
            }
            Self { seen: 0, .. } => Ok("there are none now".to_owned()),
            Self { seen, .. } => Ok(format!("{seen}, with their network namespaces")),
        }
    }
}

fn netns(pid: &str) -> io::Result<u64> {
    Ok(fs::metadata(format!("/proc/{pid}/ns/net"))?.ino())
}

fn directories(directory: &Path) -> impl Iterator<Item = PathBuf> {
    let entries = fs::read_dir(directory).into_iter().flatten().flatten();
    let directories = entries.filter(|e| e.file_type().is_ok_and(|kind| kind.is_dir()));
    directories.map(|entry| entry.path())
}

#[cfg(test)]
mod tests {
    use super::{super::Status, *};

    fn outcome(processes: &[(&str, io::Result<u64>)]) -> Result<String, String> {
        let mut sight = Sight::default();
        for (pid, netns) in processes {
            let netns = netns.as_ref().map_err(|error| error.kind().into());
            sight.take_in(pid, netns.copied());
        }
        sight.outcome()
    }

    #[test]
    fn pods_whose_processes_are_hidden_or_closed_are_not_found() {
        let denied = || Err(io::ErrorKind::PermissionDenied.into());
        let ended = || Err(io::ErrorKind::NotFound.into());
        assert!(outcome(&[("7", Ok(1)), ("8", ended())]).is_ok());
        assert!(outcome(&[("7", Ok(1)), ("0", ended())]).is_err());
        assert!(outcome(&[("7", Ok(1)), ("8", denied())]).is_err());
        assert!(outcome(&[]).is_ok());
    }

    #[test]
    fn a_hierarchy_without_kubelets_cgroup_is_told_with_its_remedy() {
        let root = tempfile::tempdir().unwrap();
        let of = |name: &str| {
            let checks = checks(Some(root.path()), true).into_iter();
            checks
                .filter(|check| check.name == name)
                .map(|c| c.status)
                .next()
        };

        assert_eq!(of("kubepods cgroup"), Some(Status::Missing));
        let needed = |kubernetes| {
            checks(Some(root.path()), kubernetes)
                .iter()
                .all(|c| c.needed)
        };
        assert!(needed(true) && !needed(false));
        assert_eq!(of("processes of pods"), None);
        let pod = root.path().join("kubepods/burstable/pod7");
        fs::create_dir_all(&pod).unwrap();
        fs::write(pod.join("cgroup.procs"), "0\n").unwrap();
        assert_eq!(of("kubepods cgroup"), Some(Status::Ok));
        assert_eq!(of("processes of pods"), Some(Status::Missing));
        let own = format!("{}\n", std::process::id());
        fs::write(pod.join("cgroup.procs"), own).unwrap();
        assert_eq!(of("processes of pods"), Some(Status::Ok));
    }
}
