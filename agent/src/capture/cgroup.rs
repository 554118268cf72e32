//! The cgroup v2 hierarchy as this process's mounts show it (proc_pid_mountinfo(5), cgroup_namespaces(7)).
//!
//! In a container there may be two mounts: the runtime's, whose root is the container's own cgroup, and the node's, whose
//! root lies above it and is told as `/..` for each level. On hybrid systems neither is `/sys/fs/cgroup` itself.

use std::{
    ffi::{OsStr, OsString},
    fs, io,
    os::unix::{
        ffi::OsStringExt,
        fs::{DirEntryExt as _, MetadataExt as _},
    },
    path::{Path, PathBuf},
};

/// In `kubepods`, `kubepods.slice`, `kubelet-kubepods.slice` and the names below them.
const PODS: &[u8] = b"kubepods";

/// One mount of the hierarchy.
#[derive(Debug, PartialEq, Eq)]
struct Mount {
    /// The cgroup at its top, from this process's cgroup namespace.
    root: PathBuf,
    point: PathBuf,
}

/// Where the hierarchy is mounted as far up as can be seen; `None` when it isn't mounted.
///
/// # Errors
/// When `/proc` is not mounted.
pub fn hierarchy() -> io::Result<Option<PathBuf>> {
    let mounts = mounts(&fs::read("/proc/self/mountinfo")?);
    Ok(topmost(mounts).map(|mount| mount.point))
}

/// `bpf_get_current_cgroup_id` of this process: the inode of its cgroup's directory.
///
/// # Errors
/// When no mount shows that directory.
pub(super) fn own() -> io::Result<u64> {
    // On hybrid systems a container may have a namespace and no mount of its own.
    named().or_else(|_| {
        let absent = || io::Error::new(io::ErrorKind::NotFound, "no mount shows it");
        let top = hierarchy()?.ok_or_else(absent)?;
        let directory = holding(&top, &std::process::id().to_string());
        Ok(fs::metadata(directory.ok_or_else(absent)?)?.ino())
    })
}

/// The directory below `top` that has the process.
fn holding(top: &Path, process: &str) -> Option<PathBuf> {
    let mut ahead = vec![top.to_owned()];
    while let Some(directory) = ahead.pop() {
        // Threaded cgroups refuse to be read, and others end meanwhile.
        let processes = fs::read_to_string(directory.join("cgroup.procs")).unwrap_or_default();
        if processes.lines().any(|line| line == process) {
            return Some(directory);
        }
        let entries = fs::read_dir(&directory).into_iter().flatten().flatten();
        let directories = entries.filter(|e| e.file_type().is_ok_and(|kind| kind.is_dir()));
        ahead.extend(directories.map(|entry| entry.path()));
    }
    None
}

/// The directory with this number below `top`, unless it is a pod's or that of all pods. `top` itself doesn't count.
pub(super) fn outside_pods(top: &Path, number: u64) -> Option<PathBuf> {
    let mut ahead = vec![top.to_owned()];
    while let Some(directory) = ahead.pop() {
        // Others end meanwhile.
        let entries = fs::read_dir(&directory).into_iter().flatten().flatten();
        let directories = entries.filter(|e| e.file_type().is_ok_and(|kind| kind.is_dir()));
        for entry in directories.filter(|entry| !is_pods(&entry.file_name())) {
            if entry.ino() == number {
                return Some(entry.path());
            }
            ahead.push(entry.path());
        }
    }
    None
}

/// Whether this is what kubelet calls the cgroup of all pods, or a part of that.
pub(super) fn is_pods(name: &OsStr) -> bool {
    name.as_encoded_bytes()
        .windows(PODS.len())
        .any(|part| part == PODS)
}

/// By the name that the kernel gives it.
fn named() -> io::Result<u64> {
    let text = fs::read_to_string("/proc/self/cgroup")?;
    let own = text.lines().find_map(|line| line.strip_prefix("0::"));
    let own = Path::new(own.unwrap_or("/"));
    let mounts = mounts(&fs::read("/proc/self/mountinfo")?);
    let directories = mounts.iter().filter_map(|mount| mount.directory(own));
    let mut error = io::Error::new(io::ErrorKind::NotFound, "no mount shows it");
    for directory in directories {
        match fs::metadata(directory) {
            Ok(metadata) => return Ok(metadata.ino()),
            Err(other) => error = other,
        }
    }
    Err(error)
}

impl Mount {
    /// Where a cgroup is below this mount; `None` when it isn't, or can't be told: above this process's namespace, a
    /// path doesn't say by which name it would lead back down.
    fn directory(&self, cgroup: &Path) -> Option<PathBuf> {
        let below = cgroup.strip_prefix(&self.root).ok()?;
        Some(self.point.join(below))
    }

    /// How far above this process's namespace its root is.
    fn levels_up(&self) -> usize {
        let is_up =
            |part: &std::path::Component<'_>| matches!(part, std::path::Component::ParentDir);
        self.root.components().filter(is_up).count()
    }
}

/// The highest root; of those that aren't above the namespace, the whole before a part.
fn topmost(mounts: Vec<Mount>) -> Option<Mount> {
    let mut best: Option<Mount> = None;
    let rank = |mount: &Mount| (mount.levels_up(), mount.root == Path::new("/"));
    for mount in mounts {
        if best.as_ref().is_none_or(|found| rank(&mount) > rank(found)) {
            best = Some(mount);
        }
    }
    best
}

fn mounts(mountinfo: &[u8]) -> Vec<Mount> {
    mountinfo.split(|b| *b == b'\n').filter_map(mount).collect()
}

/// Of each line the fourth field is the root, the fifth the mount point, the first after ` - ` the type.
fn mount(line: &[u8]) -> Option<Mount> {
    let mut fields = line.split(|b| *b == b' ');
    let root = fields.nth(3)?;
    let point = fields.next()?;
    fields.find(|f| *f == b"-")?;
    (fields.next()? == b"cgroup2").then(|| Mount {
        root: unescape(root),
        point: unescape(point),
    })
}

/// Blanks and backslashes are written as three octal digits after a backslash.
fn unescape(field: &[u8]) -> PathBuf {
    let mut bytes = Vec::with_capacity(field.len());
    let mut rest = field;
    while let Some((&first, tail)) = rest.split_first() {
        let octal = tail
            .get(..3)
            .filter(|_| first == b'\\')
            .and_then(|d| std::str::from_utf8(d).ok())
            .and_then(|d| u8::from_str_radix(d, 8).ok());
        match octal {
            Some(byte) => {
                bytes.push(byte);
                rest = &tail[3..];
            }
            None => {
                bytes.push(first);
                rest = tail;
            }
        }
    }
    OsString::from_vec(bytes).into()
}

#[cfg(test)]
mod tests {
    use super::*;

    const HYBRID: &[u8] = b"\
22 1 0:20 / /sys rw - sysfs sysfs rw
30 22 0:26 / /sys/fs/cgroup ro,nosuid - tmpfs tmpfs ro
31 30 0:27 / /sys/fs/cgroup/unified rw,nosuid shared:4 - cgroup2 cgroup2 rw,nsdelegate
32 30 0:28 / /sys/fs/cgroup/cpu rw - cgroup cgroup rw,cpu
";
    /// A container with a cgroup namespace of its own and the node's hierarchy from a hostPath.
    const CONTAINER: &[u8] = b"\
90 80 0:27 / /sys/fs/cgroup ro,nosuid - cgroup2 cgroup rw
91 80 0:27 /../../../.. /host/cgroup ro,relatime master:9 - cgroup2 cgroup2 rw
";

    fn point(mountinfo: &[u8]) -> Option<PathBuf> {
        topmost(mounts(mountinfo)).map(|mount| mount.point)
    }

    #[test]
    fn the_hierarchy_is_found_where_it_is_mounted() {
        assert_eq!(point(HYBRID), Some("/sys/fs/cgroup/unified".into()));
    }

    #[test]
    fn the_nodes_hierarchy_is_preferred_to_the_containers_own() {
        assert_eq!(point(CONTAINER), Some("/host/cgroup".into()));
    }

    #[test]
    fn a_whole_hierarchy_is_preferred_to_a_subtree() {
        let info = b"1 1 0:27 /pod /mnt/sub rw - cgroup2 none rw\n2 1 0:27 / /mnt/a\\040b rw - cgroup2 none rw\n";
        assert_eq!(point(info), Some("/mnt/a b".into()));
    }

    #[test]
    fn a_cgroup_is_looked_for_where_its_mount_shows_it() {
        let directories = |info: &[u8], cgroup: &str| {
            let mounts = mounts(info);
            let found = mounts.iter().filter_map(|m| m.directory(Path::new(cgroup)));
            found.collect::<Vec<_>>()
        };
        assert_eq!(
            directories(HYBRID, "/system.slice/sealane"),
            [Path::new("/sys/fs/cgroup/unified/system.slice/sealane")]
        );
        // The node's mount shows it as well, under a name that nothing tells.
        assert_eq!(directories(CONTAINER, "/"), [Path::new("/sys/fs/cgroup/")]);
        let subtree = b"1 1 0:27 /pod /mnt rw - cgroup2 none rw\n";
        assert_eq!(directories(subtree, "/pod/a"), [Path::new("/mnt/a")]);
        assert!(directories(subtree, "/other").is_empty());
    }

    #[test]
    fn broken_lines_are_passed_over() {
        assert_eq!(mounts(b"\n1 2\n1 2 3 / /x rw -\nx - cgroup2\n\\"), []);
    }

    #[test]
    fn cgroups_of_pods_are_not_looked_into() {
        let top = tempfile::tempdir().unwrap();
        let number = |path: &str| {
            let path = top.path().join(path);
            fs::create_dir_all(&path).unwrap();
            fs::metadata(path).unwrap().ino()
        };
        let find = |number| outside_pods(top.path(), number);
        let service = number("system.slice/kubelet.service");
        let path = top.path().join("system.slice/kubelet.service");
        assert_eq!(find(service), Some(path));
        assert!(find(number("kubelet.slice")).is_some());
        for pods in [
            "kubepods",
            "kubepods.slice/pod1/x",
            "kubelet.slice/kubelet-kubepods.slice",
        ] {
            assert_eq!(find(number(pods)), None, "{pods}");
        }
        assert_eq!(find(number("")), None);
    }

    #[test]
    fn this_process_is_found_by_name_and_by_search() {
        let Some(top) = hierarchy().unwrap() else {
            return;
        };
        let found = holding(&top, &std::process::id().to_string());
        let inode = fs::metadata(found.unwrap()).unwrap().ino();
        assert_eq!(own().unwrap(), inode);
        assert_eq!(holding(&top, "no process"), None);
    }
}
