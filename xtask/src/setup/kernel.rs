//! What the running kernel must offer, and the file systems that show it. Decides nothing by version
//! number; what the agent can use, the agent probes by itself.

use std::{fs, path::Path, process::Command};

use anyhow::{Result, bail};

use super::Outcome;
use crate::{process, progress::note};

const BTF: &str = "/sys/kernel/btf/vmlinux";
const BPFFS: &str = "/sys/fs/bpf";

/// Mounts the BPF file system and looks for BTF and cgroup v2.
///
/// # Errors
/// Each thing that is missing, with the remedy.
pub fn ensure() -> Result<Outcome> {
    let mounts = fs::read_to_string("/proc/self/mounts").unwrap_or_default();
    let mut problems = Vec::new();
    if !Path::new(BTF).is_file() {
        problems.push(format!(
            "no {BTF}: boot a kernel with CONFIG_DEBUG_INFO_BTF=y"
        ));
    }
    if !is_mounted(&mounts, "cgroup2", None) {
        problems.push(
            "cgroup v2 is not mounted: as root, run: mkdir -p /sys/fs/cgroup/unified && mount -t cgroup2 none /sys/fs/cgroup/unified"
                .to_owned(),
        );
    }
    let outcome = bpffs(&mounts).unwrap_or_else(|error| {
        problems.push(format!("{error:#}"));
        Outcome::Present
    });
    if !problems.is_empty() {
        bail!("{}", problems.join("\n"));
    }
    Ok(outcome)
}

fn bpffs(mounts: &str) -> Result<Outcome> {
    if is_mounted(mounts, "bpf", Some(BPFFS)) {
        return Ok(Outcome::Present);
    }
    if !process::is_root() {
        bail!("the BPF file system is not mounted: as root, run: mount -t bpf bpf {BPFFS}");
    }
    note(
        "setup",
        format_args!("mount the BPF file system at {BPFFS}"),
    );
    process::run(Command::new("mount").args(["-t", "bpf", "bpf", BPFFS]))?;
    Ok(Outcome::Done)
}

/// Whether a file system of type `kind` is mounted, at `place` if that matters.
fn is_mounted(mounts: &str, kind: &str, place: Option<&str>) -> bool {
    mounts.lines().any(|line| {
        let mut fields = line.split(' ').skip(1);
        let (mounted, found) = (fields.next(), fields.next());
        found == Some(kind) && (place.is_none() || mounted == place)
    })
}

#[cfg(test)]
mod tests {
    use super::is_mounted;

    const MOUNTS: &str = "\
tmpfs /sys/fs/cgroup tmpfs rw,relatime,mode=755 0 0
cgroup2 /sys/fs/cgroup/unified cgroup2 rw,relatime 0 0
bpf /run/bpf bpf rw,relatime 0 0
";

    #[test]
    fn mounts_by_type_and_place() {
        assert!(is_mounted(MOUNTS, "cgroup2", None));
        assert!(is_mounted(MOUNTS, "bpf", Some("/run/bpf")));
        assert!(!is_mounted(MOUNTS, "bpf", Some("/sys/fs/bpf")));
        assert!(!is_mounted(MOUNTS, "proc", None));
    }
}
