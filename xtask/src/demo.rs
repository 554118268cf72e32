//! `cargo xtask demo`: shows what Sealane does, on this machine, with real programs. The steps themselves are
//! the suite's, which has what they need.

use std::process::Command;

use anyhow::{Result, ensure};

use crate::{build, process, setup, workspace};

/// Sets up, builds, shows.
///
/// # Errors
/// Not root, a failed build, or a step that didn't hold.
pub fn run() -> Result<()> {
    ensure!(
        process::is_root(),
        "the demo makes network namespaces and loads eBPF programs: run it as root"
    );
    setup::run()?;
    build::run()?;
    let mut suite = Command::new(workspace::program("sealane-suite")?);
    process::run(suite.arg("demo").current_dir(workspace::root()))
}
