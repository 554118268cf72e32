//! File systems and switches of the kernel.

use std::{
    fs,
    path::{Path, PathBuf},
};

use super::{Check, Subject};
use crate::{capture::Ground, cli::PreflightArgs, config};

/// The root of the pods' cgroups where there is one, and what was found.
pub(super) fn checks(args: &PreflightArgs) -> (Option<PathBuf>, Vec<Check>) {
    let root = config::cgroup_root(args.cgroup_root.as_deref());
    let shown = root.as_ref().map(|root| root.display().to_string());
    let checks = vec![
        CGROUP.check("cgroup v2", shown.map_err(ToString::to_string)),
        BPFFS.check("BPF file system", bpffs(&args.bpffs)),
        BTF.check("BTF of the kernel", btf()),
        JIT.check("BPF compiler", jit()),
        IPV6.check("IPv6", ipv6()),
    ];
    (root.ok(), checks)
}

const CGROUP: Subject = Subject {
    needed: true,
    purpose: "programs for outbound connections are attached to the cgroups of all pods",
    without: "nothing is captured",
    remedy: "mount it (`mount -t cgroup2 none /sys/fs/cgroup/unified`); in a container, mount the node's /sys/fs/cgroup by hostPath",
};

const BPFFS: Subject = Subject {
    needed: true,
    purpose: "programs and maps are pinned there, and outlive the agent",
    without: "an agent does not start: nothing would be enforced while it is away",
    remedy: "`mount -t bpf bpf /sys/fs/bpf` on the node (with kind: `docker exec NODE mount -t bpf bpf /sys/fs/bpf`); in a container, mount that by hostPath",
};

const BTF: Subject = Subject {
    needed: false,
    purpose: "nothing yet: the programs don't depend on the kernel's own types",
    without: "everything works",
    remedy: "a kernel with CONFIG_DEBUG_INFO_BTF",
};

const JIT: Subject = Subject {
    needed: false,
    purpose: "programs run as machine code",
    without: "everything works, and each connect() and each arriving connection costs more",
    remedy: "`sysctl net.core.bpf_jit_enable=1`",
};

const IPV6: Subject = Subject {
    needed: false,
    purpose: "connections of pods that have IPv6 addresses",
    without: "IPv4 works; --admin can't be [::]:PORT",
    remedy: "boot without ipv6.disable=1, where pods are to have IPv6",
};

/// The place of the pins, or the nearest directory above that exists.
fn bpffs(path: &Path) -> Result<String, String> {
    let ground = Ground::of(path).map_err(|error| format!("{}: {error}", path.display()))?;
    let shown = ground.directory.display();
    if !ground.is_bpffs {
        return Err(format!("{shown} is of another file system"));
    }
    let attempt = ground
        .directory
        .join(format!("sealane-preflight-{}", std::process::id()));
    fs::create_dir(&attempt).map_err(|error| format!("{shown} can't be written to: {error}"))?;
    fs::remove_dir(&attempt).map_err(|error| format!("{}: {error}", attempt.display()))?;
    Ok(shown.to_string())
}

fn btf() -> Result<String, String> {
    const FILE: &str = "/sys/kernel/btf/vmlinux";
    match fs::metadata(FILE) {
        Ok(_) => Ok(FILE.to_owned()),
        Err(error) => Err(format!("{FILE}: {error}")),
    }
}

fn jit() -> Result<String, String> {
    const FILE: &str = "/proc/sys/net/core/bpf_jit_enable";
    match fs::read_to_string(FILE).as_deref().map(str::trim) {
        Ok("0") => Err("net.core.bpf_jit_enable is 0".to_owned()),
        Ok(value) => Ok(format!("net.core.bpf_jit_enable is {value}")),
        // Kernels that always compile have no switch, and neither has a network namespace of its own.
        Err(_) => Ok("always on, or not to be seen from here".to_owned()),
    }
}

fn ipv6() -> Result<String, String> {
    use std::net::{Ipv6Addr, TcpListener};
    match TcpListener::bind((Ipv6Addr::UNSPECIFIED, 0)) {
        Ok(_) => Ok("there".to_owned()),
        Err(error) => Err(error.to_string()),
    }
}
