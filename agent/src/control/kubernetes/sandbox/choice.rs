//! Which of the network namespaces that a pod's processes are in is the pod's.
//!
//! A process may make a namespace for itself (with `CAP_SYS_ADMIN`, or below a user namespace), and sockets that it made
//! before stay in the old one. Where a pod has no process of the runtime's own (CRI-O starts none), all of its processes
//! may do so: the capture must not move along, or the pod would listen in clear where it was. CRI-O and containerd pin
//! the namespaces that they make below `/run/netns` of the node, where no pod can write: those come before others. With
//! runtimes that don't pin, the first that was seen is kept for as long as any process is left of those that were there
//! when it was last looked; a sandbox that was made anew has none.

use std::{collections::HashSet, fs, os::unix::fs::MetadataExt as _, path::Path};

/// As the node sees them, wherever this process is.
const PINNED: [&str; 2] = ["/proc/1/root/run/netns", "/proc/1/root/var/run/netns"];

/// A process of a pod that is in a network of its own.
#[derive(Clone, Copy, Debug)]
pub(super) struct Candidate {
    /// Number of the namespace.
    pub(super) netns: u64,
    /// Clock ticks since the machine was started.
    pub(super) started: u64,
    pub(super) pid: u32,
}

/// Where the pod was.
#[derive(Clone, Copy, Debug)]
pub(super) struct Known {
    pub(super) netns: u64,
    /// When the youngest of its processes had started when it was last looked.
    pub(super) youngest: u64,
}

#[derive(Clone, Copy, Debug)]
pub(super) enum Choice<'c> {
    /// Where it is known to be.
    Stay,
    /// Where this process is.
    Of(&'c Candidate),
}

/// Numbers of the namespaces that the container runtime keeps; none where it keeps none, or they can't be seen.
pub(super) fn pinned() -> HashSet<u64> {
    let Ok(own) = fs::metadata("/proc/self/ns/net") else {
        return HashSet::new();
    };
    let entries = PINNED
        .iter()
        .filter_map(|dir| fs::read_dir(Path::new(dir)).ok());
    let files = entries.flatten().flatten();
    // The directory has plain files, too, of namespaces that are gone.
    let files = files.filter_map(|entry| fs::metadata(entry.path()).ok());
    let namespaces = files.filter(|file| file.dev() == own.dev());
    namespaces.map(|file| file.ino()).collect()
}

/// `candidates` are not empty.
pub(super) fn choose<'c>(
    candidates: &'c [Candidate],
    known: Option<Known>,
    pinned: &HashSet<u64>,
) -> Choice<'c> {
    let oldest = |is_meant: &dyn Fn(&Candidate) -> bool| {
        let meant = candidates.iter().filter(|c| is_meant(c));
        meant.min_by_key(|c| (c.started, c.pid))
    };
    let is_pinned = |netns: u64| pinned.contains(&netns);
    let kept = known.and_then(|known| oldest(&|c| c.netns == known.netns));
    let made = kept.filter(|c| is_pinned(c.netns));
    let made = made.or_else(|| oldest(&|c| is_pinned(c.netns)));
    match (made.or(kept), known) {
        (Some(candidate), _) => Choice::Of(candidate),
        (None, Some(known)) if is_pinned(known.netns) => Choice::Stay,
        (None, Some(known)) if candidates.iter().any(|c| c.started <= known.youngest) => {
            Choice::Stay
        }
        (None, _) => oldest(&|_| true).map_or(Choice::Stay, Choice::Of),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const OLD: u64 = 1;
    const NEW: u64 = 2;

    fn candidates(list: &[(u64, u64)]) -> Vec<Candidate> {
        let numbered = (100..).zip(list);
        let candidate = |(pid, (netns, started)): (u32, &(u64, u64))| Candidate {
            netns: *netns,
            started: *started,
            pid,
        };
        numbered.map(candidate).collect()
    }

    /// Namespace in which the pod is. It was in `OLD` when its youngest process was of the time 10.
    fn chosen(list: &[(u64, u64)], pinned: &[u64]) -> u64 {
        let known = Known {
            netns: OLD,
            youngest: 10,
        };
        let pinned = pinned.iter().copied().collect();
        match choose(&candidates(list), Some(known), &pinned) {
            Choice::Stay => OLD,
            Choice::Of(candidate) => candidate.netns,
        }
    }

    #[test]
    fn a_pod_that_moves_all_of_its_processes_stays_where_the_runtime_put_it() {
        assert_eq!(chosen(&[(NEW, 5), (NEW, 20)], &[OLD]), OLD);
        assert_eq!(chosen(&[(NEW, 20)], &[OLD]), OLD, "others started since");
        assert_eq!(
            chosen(&[(NEW, 5), (NEW, 20)], &[]),
            OLD,
            "nothing is pinned"
        );
        assert_eq!(
            chosen(&[(NEW, 5), (OLD, 20)], &[]),
            OLD,
            "or only some move"
        );
    }

    #[test]
    fn a_sandbox_that_was_made_anew_is_found() {
        assert_eq!(chosen(&[(NEW, 20)], &[NEW]), NEW);
        assert_eq!(
            chosen(&[(NEW, 20)], &[OLD, NEW]),
            NEW,
            "the old one is left over"
        );
        assert_eq!(chosen(&[(NEW, 20)], &[]), NEW, "nothing is pinned");
    }

    #[test]
    fn at_first_the_runtimes_comes_before_others_and_then_the_oldest() {
        let first = |list: &[(u64, u64)], pinned: &[u64]| {
            let pinned = pinned.iter().copied().collect();
            match choose(&candidates(list), None, &pinned) {
                Choice::Stay => None,
                Choice::Of(candidate) => Some(candidate.netns),
            }
        };
        assert_eq!(first(&[(NEW, 5), (OLD, 20)], &[OLD]), Some(OLD));
        assert_eq!(first(&[(NEW, 5), (OLD, 20)], &[]), Some(NEW));
        // Taken for the pod's before the runtime's was seen.
        assert_eq!(chosen(&[(OLD, 5), (NEW, 20)], &[NEW]), NEW);
    }
}
