//! Control groups (version 2), removed with everything in them when dropped.

use std::{
    fs, io,
    path::{Path, PathBuf},
    time::Duration,
};

use anyhow::{Context, Result, anyhow};

use crate::wait::until_true;

const REMOVAL: Duration = Duration::from_secs(5);

/// A directory of the cgroup v2 hierarchy.
#[derive(Debug)]
pub struct Cgroup {
    path: PathBuf,
}

impl Cgroup {
    /// # Errors
    /// When the directory can't be made.
    pub fn create(parent: &Path, name: &str) -> Result<Self> {
        let path = parent.join(name);
        fs::create_dir(&path).with_context(|| format!("making {}", path.display()))?;
        Ok(Self { path })
    }

    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }
}

impl Drop for Cgroup {
    fn drop(&mut self) {
        if let Err(error) = remove(&self.path) {
            eprintln!("cgroup {} stays: {error:#}", self.path.display());
        }
    }
}

/// Kills what runs in `path`, then removes it and what is below it.
///
/// # Errors
/// When processes outlive the kill, or a directory can't be removed.
pub fn remove(path: &Path) -> Result<()> {
    fs::write(path.join("cgroup.kill"), "1").context("killing its processes")?;
    until_true("the cgroup to empty", REMOVAL, || {
        let events = fs::read_to_string(path.join("cgroup.events"))?;
        Ok(events.lines().any(|line| line == "populated 0"))
    })?;
    remove_directories(path).with_context(|| format!("removing {}", path.display()))
}

fn remove_directories(path: &Path) -> io::Result<()> {
    for entry in fs::read_dir(path)? {
        let entry = entry?;
        if entry.file_type()?.is_dir() {
            remove_directories(&entry.path())?;
        }
    }
    fs::remove_dir(path)
}

/// Where the cgroup v2 hierarchy is mounted: `/sys/fs/cgroup`, or below it in a hybrid layout.
///
/// # Errors
/// When it isn't mounted.
pub fn mount_point() -> Result<PathBuf> {
    let mounts = fs::read_to_string("/proc/self/mountinfo")?;
    // proc_pid_mountinfo(5): fields before " - " end with optional ones, the file system's type follows it.
    mounts
        .lines()
        .filter_map(|line| line.split_once(" - "))
        .find(|(_, file_system)| file_system.starts_with("cgroup2 "))
        .and_then(|(mount, _)| mount.split(' ').nth(4))
        .map(PathBuf::from)
        .ok_or_else(|| anyhow!("no cgroup v2 hierarchy is mounted: mount -t cgroup2 none /mnt"))
}
