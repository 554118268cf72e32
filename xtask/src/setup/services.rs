//! Keeps the services of freshly installed packages from being started or enabled: the tests run
//! their own, in their own network namespaces.

use std::{
    collections::BTreeSet,
    fs::{self, OpenOptions},
    io::{ErrorKind, Write},
    os::unix::fs::OpenOptionsExt,
    path::Path,
    process::Command,
};

use anyhow::{Context, Result};

use crate::{process, progress::note};

/// Debian's hook that decides whether a package's scripts may start services: see policy-rc.d(8).
const POLICY: &str = "/usr/sbin/policy-rc.d";
const REFUSAL: &str = "#!/bin/sh\n# Made by `cargo xtask setup`, which removes it.\nexit 101\n";
const UNITS: &str = "/lib/systemd/system";

/// Runs `job`, which installs packages, with no service started, and disables those that came.
///
/// # Errors
/// Those of `job`, or of disabling.
pub fn kept_off<T>(job: impl FnOnce() -> Result<T>) -> Result<T> {
    let before = services();
    let policy = Refusal::install()?;
    let result = job();
    drop(policy);
    let new: Vec<_> = services().difference(&before).cloned().collect();
    let disabled = disable(&new);
    let value = result?;
    disabled?;
    Ok(value)
}

/// The file that refuses starts, as long as this lives.
struct Refusal {
    is_ours: bool,
}

impl Refusal {
    /// An existing file stays: somebody's own policy. One that we were stopped from removing is taken
    /// over.
    fn install() -> Result<Self> {
        let stale = fs::read_to_string(POLICY).is_ok_and(|content| content == REFUSAL);
        if stale {
            return Ok(Self { is_ours: true });
        }
        let mut options = OpenOptions::new();
        match options
            .write(true)
            .create_new(true)
            .mode(0o755)
            .open(POLICY)
        {
            Ok(mut file) => file.write_all(REFUSAL.as_bytes()).context(POLICY)?,
            Err(error) if error.kind() == ErrorKind::AlreadyExists => {
                return Ok(Self { is_ours: false });
            }
            Err(error) => return Err(error).context(POLICY),
        }
        Ok(Self { is_ours: true })
    }
}

impl Drop for Refusal {
    fn drop(&mut self) {
        if self.is_ours
            && let Err(error) = fs::remove_file(POLICY)
        {
            note("setup", format_args!("remove {POLICY} by hand: {error}"));
        }
    }
}

/// The services that systemd knows from packages.
fn services() -> BTreeSet<String> {
    let entries = fs::read_dir(UNITS).into_iter().flatten().flatten();
    entries
        .filter_map(|entry| entry.file_name().into_string().ok())
        .filter(|name| {
            [".service", ".socket", ".timer"]
                .iter()
                .any(|end| name.ends_with(end))
        })
        // Templates have no state of their own.
        .filter(|name| !name.contains('@'))
        .collect()
}

fn disable(units: &[String]) -> Result<()> {
    if units.is_empty() {
        return Ok(());
    }
    note("setup", format_args!("disable {}", units.join(" ")));
    if process::find("systemctl").is_none() {
        return disable_scripts(units);
    }
    let mut systemctl = Command::new("systemctl");
    systemctl.args(["disable", "--quiet"]);
    // Somebody's own policy may have let them start.
    if Path::new("/run/systemd/system").is_dir() {
        systemctl.arg("--now");
    }
    process::run(systemctl.args(units))
}

/// Without systemd, what starts at boot is scripts of the same names.
fn disable_scripts(units: &[String]) -> Result<()> {
    let names = units
        .iter()
        .filter_map(|unit| unit.strip_suffix(".service"));
    for name in names.filter(|name| Path::new("/etc/init.d").join(name).is_file()) {
        process::run(Command::new("update-rc.d").args([name, "disable"]))?;
    }
    Ok(())
}
