//! Debian's packages. Knows how to install, not what.

use std::process::Command;

use anyhow::{Context, Result, bail};

use super::services;
use crate::{process, progress::step};

/// Whether this machine has apt and we may use it.
pub fn is_usable() -> bool {
    process::find("apt-get").is_some() && process::is_root()
}

/// The version that apt would install, when its lists know the package.
pub fn candidate(package: &str) -> Option<String> {
    let policy = process::output(Command::new("apt-cache").args(["policy", package])).ok()?;
    let line = policy
        .lines()
        .find_map(|line| line.trim().strip_prefix("Candidate: "))?;
    (line != "(none)").then(|| line.to_owned())
}

/// Downloads the lists of packages.
///
/// # Errors
/// apt's own.
pub fn update() -> Result<()> {
    step("setup", "apt-get update", || {
        process::run(apt().args(["update", "-qq"]))
    })
}

/// Installs `packages` and what they depend on, without recommendations; services that come with
/// them are neither started nor enabled. The lists are downloaded only when the ones here don't do.
///
/// # Errors
/// Not root, no apt (both with the command to run), or apt's own.
pub fn install(packages: &[&str]) -> Result<()> {
    let list = packages.join(" ");
    if !is_usable() {
        bail!("as root, run: apt-get update && apt-get install --no-install-recommends {list}");
    }
    step("setup", format_args!("apt-get install {list}"), || {
        services::kept_off(|| {
            let known = packages.iter().all(|package| candidate(package).is_some());
            if known && try_install(packages).is_ok() {
                return Ok(());
            }
            // Unknown packages, or lists so old that the files they name are gone.
            update()?;
            try_install(packages)
        })
    })
    .with_context(|| format!("install {list}"))
}

fn try_install(packages: &[&str]) -> Result<()> {
    let options = ["install", "-y", "-qq", "--no-install-recommends"];
    process::run(apt().args(options).args(packages))
}

fn apt() -> Command {
    let mut apt = Command::new("apt-get");
    apt.env("DEBIAN_FRONTEND", "noninteractive");
    apt
}
