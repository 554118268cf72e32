//! Debian's packages. Knows how to install, not what.

use std::{fs, path::Path, process::Command};

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
    Sources::default().update()
}

/// Where packages are looked for: as the machine is configured, unless told otherwise.
#[derive(Debug, Default)]
pub struct Sources {
    options: Vec<String>,
}

impl Sources {
    /// One suite of Debian's, with lists of its own in `directory`: the machine's sources stay as they are.
    ///
    /// # Errors
    /// When the directory can't be written to.
    pub fn suite(suite: &str, directory: &Path) -> Result<Self> {
        const KEYRING: &str = "/usr/share/keyrings/debian-archive-keyring.gpg";
        const DEBIAN: &str = "http://deb.debian.org/debian";
        let lists = directory.join("lists/partial");
        fs::create_dir_all(&lists).with_context(|| lists.display().to_string())?;
        let list = directory.join("sources.list");
        let line = format!("deb [signed-by={KEYRING}] {DEBIAN} {suite} main\n");
        fs::write(&list, line).with_context(|| list.display().to_string())?;
        let options = [
            ("Dir::Etc::sourcelist", list.as_path()),
            ("Dir::Etc::sourceparts", Path::new("/dev/null")),
            ("Dir::State::lists", &directory.join("lists")),
            ("Dir::Cache", directory),
        ];
        let options = options.map(|(name, value)| format!("-o{name}={}", value.display()));
        Ok(Self {
            options: options.into(),
        })
    }

    /// As [`update`].
    ///
    /// # Errors
    /// apt's own.
    pub fn update(&self) -> Result<()> {
        step("setup", "apt-get update", || {
            process::run(self.get().args(["update", "-qq"]))
        })
    }

    /// `apt-get` without a subcommand.
    pub fn get(&self) -> Command {
        let mut apt = apt();
        // Its own user for downloads can't write everywhere; what it downloads is verified all the same.
        apt.args(&self.options)
            .args(["-o", "APT::Sandbox::User=root"]);
        apt
    }

    /// `apt-cache` without a subcommand.
    pub fn cache(&self) -> Command {
        let mut apt = Command::new("apt-cache");
        apt.args(&self.options);
        apt
    }
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
