//! Where the cgroup v2 hierarchy is. On hybrid systems it is not `/sys/fs/cgroup` itself.

use std::{
    ffi::OsString,
    fs,
    os::unix::ffi::OsStringExt,
    path::{Path, PathBuf},
};

use super::ConfigError;

/// `CGROUP2_SUPER_MAGIC` of statfs(2).
const CGROUP2_MAGIC: u64 = 0x6367_7270;

/// The directory given, or the mount point of the hierarchy.
pub(super) fn root(given: Option<&Path>) -> Result<PathBuf, ConfigError> {
    let root = match given {
        Some(path) => path.to_owned(),
        None => mounted()?,
    };
    let file_system = rustix::fs::statfs(&root).map_err(|errno| ConfigError::CgroupRoot {
        path: root.clone(),
        source: errno.into(),
    })?;
    if u64::try_from(file_system.f_type) == Ok(CGROUP2_MAGIC) {
        Ok(root)
    } else {
        Err(ConfigError::NotCgroup2 { path: root })
    }
}

fn mounted() -> Result<PathBuf, ConfigError> {
    let mounts =
        fs::read("/proc/self/mountinfo").map_err(|source| ConfigError::Mounts { source })?;
    mount_point(&mounts).ok_or(ConfigError::NoCgroup2)
}

/// The first cgroup2 mount of a mountinfo file (proc_pid_mountinfo(5)): of each line the fifth field is the
/// mount point, the first after ` - ` the type. Mounts of a subtree only (root not `/`) come last.
fn mount_point(mountinfo: &[u8]) -> Option<PathBuf> {
    let mounts = || mountinfo.split(|b| *b == b'\n').filter_map(cgroup2_mount);
    mounts()
        .find(|(whole, _)| *whole)
        .or_else(|| mounts().next())
        .map(|(_, path)| path)
}

/// Whether a line's mount shows the whole hierarchy, and where; `None` for other file systems.
fn cgroup2_mount(line: &[u8]) -> Option<(bool, PathBuf)> {
    let mut fields = line.split(|b| *b == b' ');
    let root = fields.nth(3)?;
    let point = fields.next()?;
    fields.find(|f| *f == b"-")?;
    (fields.next()? == b"cgroup2").then(|| (root == b"/", unescape(point)))
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

    #[test]
    fn the_hierarchy_is_found_where_it_is_mounted() {
        assert_eq!(mount_point(HYBRID), Some("/sys/fs/cgroup/unified".into()));
    }

    #[test]
    fn a_whole_hierarchy_is_preferred_to_a_subtree() {
        let info = b"1 1 0:27 /pod /mnt/sub rw - cgroup2 none rw\n2 1 0:27 / /mnt/a\\040b rw - cgroup2 none rw\n";
        assert_eq!(mount_point(info), Some("/mnt/a b".into()));
    }

    #[test]
    fn broken_lines_are_passed_over() {
        assert_eq!(
            mount_point(b"\n1 2\n1 2 3 / /x rw -\nx - cgroup2\n\\"),
            None
        );
    }
}
