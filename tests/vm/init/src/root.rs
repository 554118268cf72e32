//! The file systems: the host's files with a layer in memory over them, and what belongs to a running system.

use std::{
    env,
    ffi::{CStr, CString},
    fs,
    os::unix::{ffi::OsStrExt, fs::PermissionsExt},
    path::Path,
    process::Command,
};

use anyhow::{Context, Result, ensure};
use rustix::{
    mount::{MountFlags, mount, mount_bind, mount_move},
    process::chroot,
    system::{sethostname, uname},
};

use crate::job::Job;

const HOSTNAME: &[u8] = b"sealane-vm";
/// The tags of the shares that QEMU offers.
const HOST: &str = "host";
const OUTPUT: &str = "output";

/// What a process needs to talk to the kernel. Moved to the new root later.
const KERNEL: [(&str, &str); 3] = [("proc", "/proc"), ("sysfs", "/sys"), ("devtmpfs", "/dev")];

/// What a running system has besides. Not `/tmp`: it is in memory already, and the repository may be below it.
const SYSTEM: [(&str, &str, &CStr); 5] = [
    ("devpts", "/dev/pts", c"mode=600,ptmxmode=666"),
    ("tmpfs", "/dev/shm", c"mode=1777"),
    ("tmpfs", "/run", c"mode=755"),
    ("cgroup2", "/sys/fs/cgroup", c""),
    ("bpf", "/sys/fs/bpf", c""),
];

/// Mounts `/proc`, `/sys` and `/dev`.
pub fn mount_kernel() -> Result<()> {
    for (kind, place) in KERNEL {
        mount_at(kind, kind, place, MountFlags::empty(), c"")?;
    }
    Ok(())
}

/// Makes the host's files the root, writable by a layer in memory that goes with the machine.
pub fn become_host(job: &Job) -> Result<()> {
    mount_at("virtiofs", HOST, "/host", MountFlags::RDONLY, c"")?;
    mount_at("tmpfs", "layer", "/layer", MountFlags::empty(), c"size=75%")?;
    for directory in ["/layer/upper", "/layer/work"] {
        fs::create_dir(directory).context(directory)?;
    }
    let layers = c"lowerdir=/host,upperdir=/layer/upper,workdir=/layer/work";
    mount_at("overlay", "root", "/root", MountFlags::empty(), layers)?;
    if let Some(output) = &job.output {
        let place = below("/root", output)?;
        mount_at("virtiofs", OUTPUT, place, MountFlags::empty(), c"")?;
    }
    for (_, place) in KERNEL {
        let new = below("/root", Path::new(place))?;
        fs::create_dir_all(&new).with_context(|| new.display().to_string())?;
        mount_move(place, &new).with_context(|| format!("moving {place}"))?;
    }
    env::set_current_dir("/root")?;
    mount_move(".", "/").context("moving the root")?;
    chroot(".").context("changing the root")?;
    Ok(env::set_current_dir("/")?)
}

/// Mounts the rest, gives the kernel its modules, the machine a name and itself as a peer.
pub fn furnish(job: &Job) -> Result<()> {
    for (kind, place, options) in SYSTEM {
        mount_at(kind, kind, place, MountFlags::empty(), options)?;
    }
    fs::create_dir_all("/tmp").context("/tmp")?;
    fs::set_permissions("/tmp", fs::Permissions::from_mode(0o1777)).context("/tmp")?;
    let kernel = uname();
    let release = kernel.release().to_string_lossy();
    let modules = Path::new("/lib/modules").join(&*release);
    fs::create_dir_all(&modules).with_context(|| modules.display().to_string())?;
    mount_bind(&job.modules, &modules)
        .with_context(|| format!("{} at {}", job.modules.display(), modules.display()))?;
    sethostname(HOSTNAME).context("the machine's name")?;
    let status = Command::new("ip")
        .args(["link", "set", "lo", "up"])
        .env("PATH", crate::command::PATH)
        .status()
        .context("running ip (Debian package iproute2)")?;
    ensure!(status.success(), "ip link set lo up: {status}");
    Ok(())
}

fn mount_at(
    kind: &str,
    source: &str,
    place: impl AsRef<Path>,
    flags: MountFlags,
    options: &CStr,
) -> Result<()> {
    let place = place.as_ref();
    fs::create_dir_all(place).with_context(|| place.display().to_string())?;
    let target = CString::new(place.as_os_str().as_bytes())?;
    mount(source, target.as_c_str(), kind, flags, options)
        .with_context(|| format!("mounting {kind} at {}", place.display()))
}

/// An absolute path, seen from outside its root.
fn below(root: &str, path: &Path) -> Result<std::path::PathBuf> {
    let inside = path.strip_prefix("/");
    let inside = inside.with_context(|| format!("{} is not absolute", path.display()))?;
    Ok(Path::new(root).join(inside))
}
