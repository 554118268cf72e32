//! Host names that the system's resolver knows, in this run only.

use std::{
    fs::{self, File, OpenOptions},
    io::Write as _,
    net::IpAddr,
    os::unix::fs::FileExt as _,
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::{Context, Result, ensure};

use crate::isolation::{Run, TEMPORARY};

/// The host name of the first pod of node B.
pub const FIRST_OF_B: &str = "outside.example";

/// A name that no other trial has; nobody knows it until it leads somewhere.
#[derive(Debug)]
pub struct HostName {
    name: String,
}

impl HostName {
    #[must_use]
    pub fn new(run: &Run) -> Self {
        Self {
            name: format!("{}.example", run.unique_name()),
        }
    }

    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.name
    }

    /// From now on it leads here as well.
    ///
    /// # Errors
    /// When the file of host names can't be written.
    pub fn lead_to(&self, address: IpAddr) -> Result<()> {
        let line = format!("{address} {}\n", self.name);
        let mut file = OpenOptions::new().append(true).open(file())?;
        Ok(file.write_all(line.as_bytes())?)
    }

    /// Nobody knows it any more. Other trials read the file meanwhile: lines become comments, one byte at a time.
    ///
    /// # Errors
    /// When the file of host names can't be written.
    pub fn withdraw(&self) -> Result<()> {
        let text = fs::read_to_string(file())?;
        let file = OpenOptions::new().write(true).open(file())?;
        let mut start = 0;
        for line in text.split_inclusive('\n') {
            if line.split_whitespace().nth(1) == Some(&self.name) {
                comment_out(&file, start)?;
            }
            start += line.len();
        }
        Ok(())
    }
}

fn comment_out(file: &File, at: usize) -> Result<()> {
    Ok(file.write_all_at(b"#", u64::try_from(at)?)?)
}

fn file() -> PathBuf {
    Path::new(TEMPORARY).join("hosts")
}

/// Puts files of our own in the places of the system's: what they don't know nobody does, and it is told at once.
pub(crate) fn name_hosts() -> Result<()> {
    let addresses = ["10.42.2.10", "fd00:42::2:a"];
    let lines = addresses.map(|address| format!("{address} {FIRST_OF_B}\n"));
    let others = fs::read_to_string("/etc/hosts").unwrap_or_default();
    replace("/etc/hosts", &file(), &(lines.concat() + &others + "\n"))?;
    // Nothing listens there, nor where resolvers look without such a file.
    let system = "/etc/resolv.conf";
    if Path::new(system).exists() {
        let resolver = Path::new(TEMPORARY).join("resolv.conf");
        replace(system, &resolver, "nameserver 127.0.0.1\n")?;
    }
    Ok(())
}

fn replace(system: &str, ours: &Path, text: &str) -> Result<()> {
    fs::write(ours, text)?;
    let status = Command::new("mount")
        .arg("--bind")
        .args([ours, Path::new(system)])
        .status()
        .context("running mount")?;
    ensure!(status.success(), "can't mount over {system}");
    Ok(())
}
