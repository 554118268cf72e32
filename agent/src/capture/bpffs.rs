//! What the pins would be on. Mounts nothing.

use std::{io, path::Path};

/// The nearest directory that exists, of a place that may have to be made yet.
#[derive(Debug, PartialEq, Eq)]
pub struct Ground<'p> {
    pub directory: &'p Path,
    /// Whether the kernel's objects can be pinned there.
    pub is_bpffs: bool,
}

impl<'p> Ground<'p> {
    /// Of `path`, or above it. Makes nothing: without a bpf file system `/sys/fs/bpf` is a directory of sysfs, where
    /// even root can't make any.
    ///
    /// # Errors
    /// The kernel's, of `statfs(2)`.
    pub fn of(path: &'p Path) -> io::Result<Self> {
        /// `BPF_FS_MAGIC`, include/uapi/linux/magic.h
        const BPF_FS_MAGIC: u64 = 0xcafe_4a11;
        let mut present = path.ancestors().filter(|ancestor| ancestor.is_dir());
        let directory = present.next().unwrap_or(Path::new("."));
        let stat = rustix::fs::statfs(directory)?;
        Ok(Self {
            directory,
            is_bpffs: u64::try_from(stat.f_type) == Ok(BPF_FS_MAGIC),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ground_is_the_nearest_directory_that_exists() {
        let ground = |path| Ground::of(path).unwrap();
        for path in ["/sys/kernel/no/such/thing", "/sys/kernel"] {
            let found = ground(Path::new(path));
            assert_eq!(found.directory, Path::new("/sys/kernel"));
            assert!(!found.is_bpffs);
        }
        assert_eq!(ground(Path::new("no/such/thing")).directory, Path::new("."));
    }
}
