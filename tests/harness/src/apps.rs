//! Real programs as applications, clients and observers of pods. A missing one is an error that names its
//! Debian package.

mod capture;
mod curl;
mod envoy;
mod grpc;
mod mariadb;
mod nginx;
mod openssl;
mod redis;
mod strace;
mod tshark;

use std::path::Path;

use anyhow::{Result, bail};

pub use capture::Capture;
pub use curl::{Answer, Curl, Exit};
pub use envoy::{Accepts, Envoy, Inbound, Mode, Outbound, Protocol, Tls, TlsVersion};
pub use grpc::{CertificateAnswer, CertificateCall, csr};
pub use mariadb::{MariaDb, MariaDbTemplate};
pub use nginx::{Listener, Nginx};
pub use openssl::{Leaf, SClient, leaf, show_certificates};
pub use redis::Redis;
pub use strace::Strace;
pub use tshark::{Dissected, dissect};

/// Programs that the suite runs, with the Debian package of each.
const PROGRAMS: [(&str, &str); 16] = [
    ("ip", "iproute2"),
    ("ss", "iproute2"),
    ("unshare", "util-linux"),
    ("mount", "mount"),
    ("curl", "curl"),
    ("openssl", "openssl"),
    ("nginx", "nginx-light"),
    ("mariadbd", "mariadb-server"),
    ("mariadb-install-db", "mariadb-server"),
    ("mariadb", "mariadb-client"),
    ("redis-server", "redis-server"),
    ("redis-cli", "redis-tools"),
    ("strace", "strace"),
    ("tcpdump", "tcpdump"),
    ("tshark", "tshark"),
    ("promtool", "prometheus"),
];

/// Where programs are looked for; what [`crate::enter::command`] sets as `PATH`.
const DIRECTORIES: [&str; 6] = [
    "/usr/local/sbin",
    "/usr/local/bin",
    "/usr/sbin",
    "/usr/bin",
    "/sbin",
    "/bin",
];

/// Checks that a program is installed.
///
/// # Errors
/// Names the Debian package of a missing one.
pub fn require(program: &str) -> Result<()> {
    let installed = DIRECTORIES
        .iter()
        .any(|directory| Path::new(directory).join(program).exists());
    if installed {
        return Ok(());
    }
    match PROGRAMS.iter().find(|(name, _)| *name == program) {
        Some((_, package)) => bail!("{program} is missing: apt-get install {package}"),
        None => bail!("{program} is missing"),
    }
}
