//! Directories of the host for the machine: virtiofsd, which is there in two implementations with flags of their own.

use std::{
    fs,
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context, Result, bail, ensure};

use crate::{process, workspace};

/// The program's name, and that of its package where it has one of its own.
pub const NAME: &str = "virtiofsd";

/// Not in PATH. Of Debian 13's package virtiofsd and of others' (Rust), then of Debian 12's qemu-system-common (C).
const PROGRAMS: [&str; 4] = [
    "/usr/libexec/virtiofsd",
    "/usr/lib/virtiofsd",
    "/usr/lib/qemu/virtiofsd",
    "/usr/libexec/qemu/virtiofsd",
];

/// How long it may take to start.
const START: Duration = Duration::from_secs(20);

/// Makes a directory that shows the host's files as they are, but read-only, in a mount namespace of its own; then
/// becomes the program. Arguments: how many directories follow, these, the program and its arguments. The first
/// directory is the root itself, the others are on other file systems.
const READ_ONLY: &str = r#"
set -e
root=$1; count=$2; shift 2
mount --bind / "$root"
mount -o remount,bind,ro "$root"
while [ "$count" -gt 0 ]; do
    mount --bind "$1" "$root$1"
    mount -o remount,bind,ro "$root$1"
    count=$((count - 1)); shift
done
exec "$@"
"#;

/// A running virtiofsd. Dropping it ends it.
#[derive(Debug)]
pub struct Share {
    child: Child,
    pub socket: PathBuf,
}

/// Where virtiofsd is, if it is.
pub fn program() -> Option<PathBuf> {
    PROGRAMS
        .iter()
        .map(PathBuf::from)
        .find(|program| program.is_file())
}

impl Share {
    /// The host's files, read-only. Not in it: what is mounted below the root, but for the file systems that
    /// programs, the repository and `needed` are on.
    ///
    /// # Errors
    /// When it doesn't start.
    pub fn host(scratch: &Path, needed: &[&Path]) -> Result<Self> {
        let root = scratch.join("host");
        fs::create_dir(&root).with_context(|| root.display().to_string())?;
        let others = other_file_systems(needed)?;
        let mut command = Command::new("unshare");
        command
            .args([
                "--mount",
                "--propagation",
                "private",
                "sh",
                "-c",
                READ_ONLY,
                "sh",
            ])
            .arg(&root)
            .arg(others.len().to_string())
            .args(&others);
        // The host doesn't change under a test: what was read once stays valid.
        Self::start(command, &root, scratch, "host", "always")
    }

    /// A directory that the machine may write to.
    ///
    /// # Errors
    /// When it doesn't start.
    pub fn output(scratch: &Path, directory: &Path) -> Result<Self> {
        Self::start(Command::new("env"), directory, scratch, "output", "auto")
    }

    /// `command` is made to run virtiofsd.
    fn start(
        mut command: Command,
        directory: &Path,
        scratch: &Path,
        name: &str,
        cache: &str,
    ) -> Result<Self> {
        let virtiofsd = program().context("virtiofsd is missing: `cargo xtask setup`")?;
        let socket = scratch.join(format!("{name}.sock"));
        let log = scratch.join(format!("{name}.log"));
        let file = fs::File::create(&log).with_context(|| log.display().to_string())?;
        command
            .args(["setpriv", "--pdeathsig", "KILL"])
            .arg(&virtiofsd);
        command.arg(format!("--socket-path={}", socket.display()));
        let help = process::output(Command::new(&virtiofsd).arg("--help")).unwrap_or_default();
        if help.contains("--shared-dir") {
            command.arg("--shared-dir").arg(directory);
            command.args(["--sandbox", "chroot", "--cache", cache]);
        } else {
            command
                .arg("-o")
                .arg(format!("source={}", directory.display()));
            command.args(["-o", "sandbox=chroot", "-o", &format!("cache={cache}")]);
        }
        command
            .arg("--thread-pool-size=2")
            .stdin(Stdio::null())
            .stdout(file.try_clone()?)
            .stderr(file);
        let child = command.spawn().with_context(|| process::shown(&command))?;
        let mut share = Self { child, socket };
        share.wait(&log)?;
        Ok(share)
    }

    /// Until its socket is there.
    fn wait(&mut self, log: &Path) -> Result<()> {
        let deadline = Instant::now() + START;
        while !self.socket.exists() {
            let said = || fs::read_to_string(log).unwrap_or_default();
            if let Some(status) = self.child.try_wait().context("virtiofsd")? {
                bail!("virtiofsd: {status}: {}", said().trim());
            }
            ensure!(
                Instant::now() < deadline,
                "virtiofsd did not start within {START:?}: {}",
                said().trim()
            );
            thread::sleep(Duration::from_millis(10));
        }
        Ok(())
    }
}

impl Drop for Share {
    fn drop(&mut self) {
        // It has ended by itself when its machine did.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// The mount points, other than `/`, of what has to be seen in the machine; each after those it is below.
fn other_file_systems(needed: &[&Path]) -> Result<Vec<PathBuf>> {
    let table = fs::read_to_string("/proc/self/mountinfo").context("/proc/self/mountinfo")?;
    // proc_pid_mountinfo(5): the fifth field; later mounts cover earlier ones.
    let points: Vec<_> = table
        .lines()
        .filter_map(|line| line.split(' ').nth(4))
        .map(PathBuf::from)
        .collect();
    let target = workspace::target()?;
    let mut paths: Vec<&Path> = ["/usr", "/etc", "/opt", "/var", "/var/lib"]
        .iter()
        .map(Path::new)
        .collect();
    paths.extend([workspace::root(), &target]);
    paths.extend(needed);
    let mut found: Vec<_> = paths
        .iter()
        .filter_map(|path| {
            points
                .iter()
                .filter(|point| path.starts_with(point))
                .max_by_key(|point| point.as_os_str().len())
        })
        .filter(|point| point.as_os_str() != "/")
        .cloned()
        .collect();
    found.sort();
    found.dedup();
    Ok(found)
}
