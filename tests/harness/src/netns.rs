//! Named network namespaces, removed when dropped. Does not connect them: `world` does.

use std::{
    fs::{self, File},
    io::Write,
    os::fd::AsFd,
    path::{Path, PathBuf},
    process::{Command, Stdio},
    thread,
};

use anyhow::{Context, Result, anyhow, bail};
use rustix::{
    mount::{UnmountFlags, unmount},
    thread::{LinkNameSpaceType, move_into_link_name_space},
};

/// Where `ip netns` keeps names.
const DIRECTORY: &str = "/run/netns";

/// A network namespace with a name, made by `ip netns add`.
#[derive(Debug)]
pub struct Netns {
    name: String,
}

impl Netns {
    /// # Errors
    /// When `ip` can't make it.
    pub fn create(name: &str) -> Result<Self> {
        ip(&["netns", "add", name], "")?;
        Ok(Self {
            name: name.to_owned(),
        })
    }

    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    #[must_use]
    pub fn path(&self) -> PathBuf {
        Path::new(DIRECTORY).join(&self.name)
    }

    /// Runs the lines of `ip -batch` inside.
    ///
    /// # Errors
    /// What `ip` said.
    pub fn ip(&self, lines: &str) -> Result<()> {
        ip(&["-n", &self.name, "-batch", "-"], lines)
    }

    /// Runs `work` on a thread that has joined the namespace. Its sockets belong to the namespace, but to the
    /// cgroup of the caller: for sockets of a pod see [`crate::Pod::connect`].
    ///
    /// # Errors
    /// When the namespace can't be joined, or `work` panicked.
    pub fn run<T: Send>(&self, work: impl FnOnce() -> T + Send) -> Result<T> {
        let path = self.path();
        thread::scope(|scope| {
            let inside = scope.spawn(move || {
                join(&path)?;
                Ok(work())
            });
            inside
                .join()
                .map_err(|_| anyhow!("the thread in {} panicked", self.name))?
        })
    }
}

/// TCP ports on which somebody listens in the calling thread's network namespace, each once and in order.
///
/// # Errors
/// When the kernel's tables can't be read.
pub fn listening_ports() -> Result<Vec<u16>> {
    const LISTEN: &str = "0A";
    let mut ports = Vec::new();
    for table in ["tcp", "tcp6"] {
        let table = fs::read_to_string(Path::new("/proc/thread-self/net").join(table))?;
        for line in table.lines().skip(1) {
            // proc_pid_net(5): number, local address, remote address, state.
            let fields: Vec<_> = line.split_whitespace().take(4).collect();
            if let &[_, local, _, LISTEN] = fields.as_slice() {
                let (_, port) = local.rsplit_once(':').context("no port")?;
                ports.push(u16::from_str_radix(port, 16)?);
            }
        }
    }
    ports.sort_unstable();
    ports.dedup();
    Ok(ports)
}

impl Drop for Netns {
    fn drop(&mut self) {
        if let Err(error) = remove(&self.path()) {
            eprintln!("network namespace {} stays: {error:#}", self.name);
        }
    }
}

/// What `ip netns del` does.
fn remove(path: &Path) -> Result<()> {
    unmount(path, UnmountFlags::DETACH)?;
    Ok(fs::remove_file(path)?)
}

/// Moves the calling thread into the network namespace at `path`.
///
/// # Errors
/// When it can't be opened or joined.
pub fn join(path: &Path) -> Result<()> {
    let file = File::open(path).with_context(|| format!("opening {}", path.display()))?;
    move_into_link_name_space(file.as_fd(), Some(LinkNameSpaceType::Network))
        .with_context(|| format!("joining {}", path.display()))
}

fn ip(arguments: &[&str], input: &str) -> Result<()> {
    let mut child = Command::new("ip")
        .args(arguments)
        .stdin(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .context("running ip (Debian package iproute2)")?;
    if let Some(mut stdin) = child.stdin.take() {
        stdin.write_all(input.as_bytes())?;
    }
    let output = child.wait_with_output()?;
    if !output.status.success() {
        let said = String::from_utf8_lossy(&output.stderr);
        bail!("ip {}: {said}{input}", arguments.join(" "));
    }
    Ok(())
}
