//! The programs that the build and the suite call.

use anyhow::{Result, bail};

use super::{Outcome, apt};
use crate::process;

/// A program, and Debian's package that has it.
const PROGRAMS: [(&str, &str); 17] = [
    // aws-lc, rustls' cryptography, is C.
    ("cc", "gcc libc6-dev"),
    ("curl", "curl"),
    ("ip", "iproute2"),
    ("mariadb", "mariadb-client"),
    ("mariadb-install-db", "mariadb-server"),
    ("mariadbd", "mariadb-server"),
    ("mount", "mount"),
    ("nginx", "nginx-light"),
    ("openssl", "openssl"),
    ("promtool", "prometheus"),
    ("python3", "python3"),
    ("redis-cli", "redis-tools"),
    ("redis-server", "redis-server"),
    ("socat", "socat"),
    ("ss", "iproute2"),
    ("tcpdump", "tcpdump"),
    ("unshare", "util-linux"),
];

/// Installs the packages of the programs that are not there.
///
/// # Errors
/// No apt or not root: then it names the programs and packages.
pub fn ensure() -> Result<Outcome> {
    let missing = || {
        PROGRAMS
            .iter()
            .filter(|(program, _)| process::find(program).is_none())
    };
    let mut packages: Vec<_> = missing()
        .flat_map(|(_, package)| package.split(' '))
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
