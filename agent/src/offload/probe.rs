//! What this kernel's TLS can, found out by doing it once at start: versions say nothing, distributions
//! backport.
//!
//! Everything happens between two sockets on the loopback interface of the agent's own network namespace, and
//! takes some milliseconds. Keys are of the probe's own making and protect nothing.

mod checks;
mod loopback;

use std::{fmt, io};

use rustls::SupportedCipherSuite;

use super::driver;
use loopback::Loopback;

/// What was found.
#[derive(Clone, Debug, Default)]
pub struct Capabilities {
    /// Cipher suites that work in both directions, the fastest first.
    pub ciphers: Vec<CipherSpeed>,
    /// Whether bytes pass through pipes unchanged, and control records are told from data.
    pub splice: bool,
    /// Whether keys can be replaced (since Linux 6.14).
    pub rekey: bool,
    /// The kernel's driver for AES-GCM.
    pub aes_driver: Option<String>,
    /// What is missing, with the reason.
    pub missing: Vec<Missing>,
}

/// A suite that the kernel has.
#[derive(Clone, Copy, Debug)]
pub struct CipherSpeed {
    pub suite: SupportedCipherSuite,
    /// Bytes per second through both ends of a connection on one CPU.
    pub bytes_per_second: u64,
}

/// Something that this kernel's TLS lacks.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Missing {
    pub what: &'static str,
    pub why: String,
}

impl Capabilities {
    /// Whether connections of a suite can be offloaded.
    #[must_use]
    pub fn has(&self, suite: SupportedCipherSuite) -> bool {
        self.ciphers.iter().any(|c| c.suite == suite)
    }

    fn lack(&mut self, what: &'static str, why: impl fmt::Display) {
        let why = why.to_string();
        self.missing.push(Missing { what, why });
    }
}

/// Tries everything with the given suites of TLS 1.3. Blocks for some milliseconds.
#[must_use]
pub fn probe(suites: &[SupportedCipherSuite]) -> Capabilities {
    let mut found = Capabilities::default();
    if let Err(error) = Loopback::open().and_then(|pair| super::prepare(&pair.near)) {
        found.lack("kernel TLS", unavailable(&error));
        return found;
    }
    driver::load_accelerated();
    for suite in suites {
        match checks::cipher(*suite) {
            Ok(bytes_per_second) => found.ciphers.push(CipherSpeed {
                suite: *suite,
                bytes_per_second,
            }),
            Err(error) => found.lack(name(*suite), error),
        }
    }
    found
        .ciphers
        .sort_by_key(|c| std::cmp::Reverse(c.bytes_per_second));
    found.aes_driver = driver::aes_gcm();
    let Some(fastest) = found.ciphers.first().map(|c| c.suite) else {
        return found;
    };
    match checks::splice(fastest) {
        Ok(()) => found.splice = true,
        Err(error) => found.lack("splice", error),
    }
    match checks::rekey(fastest) {
        Ok(()) => found.rekey = true,
        Err(error) => found.lack("rekey", error),
    }
    found
}

fn name(suite: SupportedCipherSuite) -> &'static str {
    suite.suite().as_str().unwrap_or("an unknown suite")
}

fn unavailable(error: &io::Error) -> String {
    match error.raw_os_error() {
        Some(libc::ENOENT) => {
            "the kernel has no module `tls` (CONFIG_TLS): `modprobe tls`, or boot a \
                               kernel that has it"
                .to_owned()
        }
        _ => error.to_string(),
    }
}
