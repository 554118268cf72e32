//! A run's own mounts and processes, so that nothing of it is left on the machine, however it ends.
//!
//! The executable starts itself again in new mount and process-id namespaces, with empty `/run` and
//! `/sys/fs/bpf`: names of network namespaces, pinned programs, sockets and files vanish with the last process,
//! and no process outlives the run. Cgroups are not covered by either: the outer process removes them, and
//! those of earlier runs that were killed.

use std::{
    ffi::OsString,
    fs,
    path::{Path, PathBuf},
    process::{self, Command, ExitCode},
    sync::atomic::{AtomicU32, Ordering},
};

use anyhow::{Context, Result, bail};
use rustix::process::{
    Resource, Rlimit, Signal, getrlimit, set_parent_process_death_signal, setrlimit,
};

use crate::{cgroup, hosts};

/// Sub-commands of the executable that uses this module.
pub const GUARD: &str = "guard";
pub const ISOLATED: &str = "isolated";

const PREFIX: &str = "sealane-test-";
const DIRECTORY: &str = "/run/sealane-test";
/// For the temporary files of programs.
pub const TEMPORARY: &str = "/run/sealane-test/tmp";

/// The isolated run: gives out names and places.
#[derive(Debug)]
pub struct Run {
    /// The process id of the outermost process, unique on the machine while the run lasts.
    id: u32,
    cgroup_mount: PathBuf,
    next: AtomicU32,
}

/// Starts this executable again as `isolated RUN-ID ARGUMENTS…` and waits for its end.
///
/// # Errors
/// Without root, or when the process can't be made.
pub fn start(arguments: impl Iterator<Item = OsString>) -> Result<ExitCode> {
    if !rustix::process::geteuid().is_root() {
        bail!("network namespaces and eBPF need root: run this with sudo");
    }
    remove_abandoned_cgroups()?;
    let id = process::id();
    let status = Command::new(std::env::current_exe()?)
        .arg(GUARD)
        .arg(id.to_string())
        .args(arguments)
        .status()?;
    remove_cgroups_of(id)?;
    let code = status.code().and_then(|code| u8::try_from(code).ok());
    Ok(ExitCode::from(code.unwrap_or(1)))
}

/// `guard RUN-ID ARGUMENTS…`: becomes `unshare … isolated RUN-ID ARGUMENTS…`, and dies with its parent.
/// Returns only when it failed.
///
/// # Errors
/// When `unshare` can't be run.
pub fn guard(arguments: impl Iterator<Item = OsString>) -> Result<()> {
    use std::os::unix::process::CommandExt;
    set_parent_process_death_signal(Some(Signal::KILL))?;
    let error = Command::new("unshare")
        .args(["--mount", "--pid", "--fork", "--kill-child", "--mount-proc"])
        .arg(std::env::current_exe()?)
        .arg(ISOLATED)
        .args(arguments)
        .exec();
    Err(error).context("running unshare (Debian package util-linux)")
}

impl Run {
    /// What `isolated RUN-ID` does first.
    ///
    /// # Errors
    /// When the mounts can't be made, or there is no cgroup v2 hierarchy.
    pub fn begin(id: &str) -> Result<Self> {
        mount("tmpfs", "/run")?;
        mount("bpf", "/sys/fs/bpf")?;
        fs::create_dir_all(TEMPORARY)?;
        fs::create_dir_all("/run/netns")?;
        hosts::name_hosts()?;
        allow_many_files()?;
        Ok(Self {
            id: id.parse().context("the run's id")?,
            cgroup_mount: cgroup::mount_point()?,
            next: AtomicU32::new(0),
        })
    }

    /// A name that nothing else on the machine has.
    pub fn unique_name(&self) -> String {
        let number = self.next.fetch_add(1, Ordering::Relaxed);
        format!("{PREFIX}{}-{number}", self.id)
    }

    /// A directory in memory that goes with the run.
    #[must_use]
    pub fn directory(&self) -> &Path {
        Path::new(DIRECTORY)
    }

    #[must_use]
    pub fn cgroup_mount(&self) -> &Path {
        &self.cgroup_mount
    }

    /// A program of the product, built beside this executable.
    ///
    /// # Errors
    /// When it isn't there.
    pub fn product(&self, name: &str) -> Result<PathBuf> {
        let path = std::env::current_exe()?.with_file_name(name);
        if !path.exists() {
            bail!("{} is missing: run `cargo xtask build`", path.display());
        }
        Ok(path)
    }
}

fn mount(file_system: &str, directory: &str) -> Result<()> {
    let status = Command::new("mount")
        .args(["-t", file_system, "sealane-test", directory])
        .status()
        .context("running mount")?;
    if !status.success() {
        bail!("can't mount {file_system} at {directory}");
    }
    Ok(())
}

/// Trials share one process, and a thousand connections of one have four thousand ends. What a service manager
/// would allow is not there when the kernel itself started us.
fn allow_many_files() -> Result<()> {
    const AT_LEAST: u64 = 64 * 1024;
    let mut limit = getrlimit(Resource::Nofile);
    let more = limit.maximum.map(|maximum| maximum.max(AT_LEAST));
    let enough = Rlimit {
        current: more,
        maximum: more,
    };
    if setrlimit(Resource::Nofile, enough).is_ok() {
        return Ok(());
    }
    // In a container root may not.
    limit.current = limit.maximum;
    setrlimit(Resource::Nofile, limit).context("raising the limit of open files")
}

fn remove_abandoned_cgroups() -> Result<()> {
    for (path, owner) in cgroups()? {
        if !Path::new("/proc").join(owner.to_string()).exists() {
            cgroup::remove(&path)?;
        }
    }
    Ok(())
}

fn remove_cgroups_of(id: u32) -> Result<()> {
    for (path, owner) in cgroups()? {
        if owner == id {
            cgroup::remove(&path)?;
        }
    }
    Ok(())
}

/// The tests' top-level cgroups, with the run that each belongs to.
fn cgroups() -> Result<Vec<(PathBuf, u32)>> {
    let mut found = Vec::new();
    for entry in fs::read_dir(cgroup::mount_point()?)? {
        let entry = entry?;
        let name = entry.file_name();
        let owner = name
            .to_str()
            .and_then(|name| name.strip_prefix(PREFIX))
            .and_then(|rest| rest.split('-').next())
            .and_then(|owner| owner.parse().ok());
        if let Some(owner) = owner {
            found.push((entry.path(), owner));
        }
    }
    Ok(found)
}
