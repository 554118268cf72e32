//! The programs that the build and the suite call.

use anyhow::{Result, bail};

use super::{Outcome, apt};
use crate::process;

/// A program, and Debian's package that has it.
const PROGRAMS: [(&str, &str); 13] = [
    // aws-lc, rustls' cryptography, is C.
    ("cc", "gcc libc6-dev"),
    ("curl", "curl"),
    ("ip", "iproute2"),
    ("mariadb", "mariadb-client"),
    ("mariadb-install-db", "mariadb-server"),
    ("mariadbd", "mariadb-server"),
    ("nginx", "nginx-light"),
    ("openssl", "openssl"),
    ("promtool", "prometheus"),
    ("python3", "python3"),
    ("redis-server", "redis-server"),
    ("socat", "socat"),
    ("tcpdump", "tcpdump"),
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
