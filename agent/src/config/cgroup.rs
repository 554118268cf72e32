//! Which directory holds the cgroups of all pods.

use std::path::{Path, PathBuf};

use super::ConfigError;
use crate::capture;

/// `CGROUP2_SUPER_MAGIC` of statfs(2).
const CGROUP2_MAGIC: u64 = 0x6367_7270;

/// The directory given, or the mount point of the hierarchy.
pub(super) fn root(given: Option<&Path>) -> Result<PathBuf, ConfigError> {
    let root = match given {
        Some(path) => path.to_owned(),
        None => capture::cgroup_hierarchy()
            .map_err(|source| ConfigError::Mounts { source })?
            .ok_or(ConfigError::NoCgroup2)?,
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
