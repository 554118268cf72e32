//! The programs that the build, the suite and the virtual machines call.

use std::path::PathBuf;

use anyhow::{Result, bail};

use super::{Outcome, apt};
use crate::{process, vm::share};

/// A program, and Debian's package that has it.
const PROGRAMS: [(&str, &str); 26] = [
    // aws-lc, rustls' cryptography, is C.
    ("cc", "gcc libc6-dev"),
    ("curl", "curl"),
    ("depmod", "kmod"),
    ("dpkg-deb", "dpkg"),
    ("ip", "iproute2"),
    ("mariadb", "mariadb-client"),
    ("mariadb-install-db", "mariadb-server"),
    ("mariadbd", "mariadb-server"),
    ("modprobe", "kmod"),
    ("mount", "mount"),
    ("nginx", "nginx-light"),
    ("openssl", "openssl"),
    // For Envoy, which is not Debian's.
    ("pip3", "python3-pip"),
    ("promtool", "prometheus"),
    ("python3", "python3"),
    ("qemu-system-x86_64", "qemu-system-x86"),
    ("redis-cli", "redis-tools"),
    ("redis-server", "redis-server"),
    ("setpriv", "util-linux"),
    ("socat", "socat"),
    ("ss", "iproute2"),
    ("strace", "strace"),
    ("tcpdump", "tcpdump"),
    ("tshark", "tshark"),
    ("unshare", "util-linux"),
    (share::NAME, share::NAME),
];

/// Installs the packages of the programs that are not there.
///
/// # Errors
/// No apt or not root: then it names the programs and packages.
pub fn ensure() -> Result<Outcome> {
    let missing = || {
        PROGRAMS
            .iter()
            .filter(|(program, _)| find(program).is_none())
    };
    let mut packages: Vec<_> = missing()
        .flat_map(|(_, package)| package.split(' '))
        .map(offered)
        .collect();
    packages.sort_unstable();
    packages.dedup();
    if packages.is_empty() {
        return Ok(Outcome::Present);
    }
    let names: Vec<_> = missing().map(|(program, _)| *program).collect();
    if process::find("apt-get").is_none() {
        bail!(
            "install these programs with your distribution's package manager: {} (Debian's packages: {})",
            names.join(" "),
            packages.join(" ")
        );
    }
    apt::install(&packages)?;
    match missing().next() {
        Some((program, package)) => bail!("{program} is still missing after installing {package}"),
        None => Ok(Outcome::Done),
    }
}

fn find(program: &str) -> Option<PathBuf> {
    match program {
        share::NAME => share::program(),
        other => process::find(other),
    }
}

/// Before Debian 13, virtiofsd comes with QEMU.
fn offered(package: &str) -> &str {
    if package == share::NAME
        && process::find("apt-cache").is_some()
        && apt::candidate(package).is_none()
    {
        return "qemu-system-common";
    }
    package
}
