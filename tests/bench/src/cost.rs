//! What work has cost: processor time and memory of control groups.
//!
//! Of control groups rather than of processes: it is exact (`cpu.stat` counts run time, not ticks) and includes
//! children that have ended. The kernel's work on a packet is on the account of whoever it interrupted, mostly
//! the sender; the machine's total has all of it.

use std::{
    fs,
    path::{Path, PathBuf},
    time::Duration,
};

use anyhow::{Context, Result};
use serde::Serialize;

/// Whose time is counted.
#[derive(Clone, Debug)]
pub struct Accounts {
    /// Agents or proxies.
    pub proxies: Vec<PathBuf>,
    /// Client and server.
    pub load: Vec<PathBuf>,
    /// The root of the hierarchy.
    pub machine: PathBuf,
}

/// Processor time, in seconds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize)]
pub struct Cpu {
    pub proxies: f64,
    pub load: f64,
    /// All that wasn't idle, that of other programs included.
    pub machine: f64,
}

impl Accounts {
    /// What `work` has cost.
    ///
    /// # Errors
    /// The work's own, or when a group is gone.
    pub fn of<T>(&self, work: impl FnOnce() -> Result<T>) -> Result<(T, Cpu)> {
        let before = self.now()?;
        let done = work()?;
        let after = self.now()?;
        let cpu = Cpu {
            proxies: after.proxies - before.proxies,
            load: after.load - before.load,
            machine: after.machine - before.machine,
        };
        Ok((done, cpu))
    }

    fn now(&self) -> Result<Cpu> {
        Ok(Cpu {
            proxies: total(&self.proxies)?,
            load: total(&self.load)?,
            machine: usage(&self.machine)?.as_secs_f64(),
        })
    }

    /// Resident memory of the agents or proxies, in KiB.
    ///
    /// # Errors
    /// When a group is gone.
    pub fn proxies_rss(&self) -> Result<u64> {
        self.proxies.iter().map(|group| rss_of_group(group)).sum()
    }
}

/// Agents put themselves into a group below the one that they are started in.
fn rss_of_group(group: &Path) -> Result<u64> {
    let processes = fs::read_to_string(group.join("cgroup.procs"))?;
    // One that has just ended holds nothing.
    let mut total = processes.lines().filter_map(rss).sum();
    for entry in fs::read_dir(group)? {
        let entry = entry?;
        if entry.file_type()?.is_dir() {
            total += rss_of_group(&entry.path())?;
        }
    }
    Ok(total)
}

fn total(groups: &[PathBuf]) -> Result<f64> {
    let mut total = Duration::ZERO;
    for group in groups {
        total += usage(group)?;
    }
    Ok(total.as_secs_f64())
}

fn usage(group: &Path) -> Result<Duration> {
    let path = group.join("cpu.stat");
    let stat = fs::read_to_string(&path).with_context(|| path.display().to_string())?;
    let usage = stat
        .lines()
        .find_map(|line| line.strip_prefix("usage_usec "));
    let usage = usage.and_then(|micros| micros.parse().ok());
    let usage = usage.with_context(|| format!("no usage_usec in {}", path.display()))?;
    Ok(Duration::from_micros(usage))
}

/// proc_pid_status(5).
fn rss(process: &str) -> Option<u64> {
    let status = fs::read_to_string(format!("/proc/{process}/status")).ok()?;
    let line = status
        .lines()
        .find_map(|line| line.strip_prefix("VmRSS:"))?;
    line.trim().trim_end_matches(" kB").parse().ok()
}
