//! `cargo xtask build`: the eBPF object, then the agent that embeds it and the suite that tests it.

use std::fs;

use anyhow::{Context, Result};

use crate::{
    ebpf::Toolchain,
    process,
    progress::{note, step},
    workspace,
};

/// Builds everything in release mode.
///
/// # Errors
/// No eBPF toolchain, or a compiler's own.
pub fn run() -> Result<()> {
    object()?;
    let what = "sealane, sealane-suite and sealane-apiserver";
    step("build", what, || {
        let mut cargo = process::cargo();
        cargo.args(["build", "--release", "-p", "sealane", "-p", "sealane-suite"]);
        cargo.args(["-p", "sealane-apiserver", "--bins"]);
        process::run(cargo.current_dir(workspace::root()))
    })
}

/// Builds the eBPF object.
///
/// # Errors
/// No eBPF toolchain, or a compiler's own.
pub fn object() -> Result<()> {
    let toolchain =
        Toolchain::detect().context("no complete eBPF toolchain found: run `cargo xtask setup`")?;
    step("build", format_args!("eBPF object ({toolchain})"), || {
        ebpf(&toolchain)
    })
}

fn ebpf(toolchain: &Toolchain) -> Result<()> {
    let built = toolchain.compile()?;
    let object = workspace::ebpf_object()?;
    let content = fs::read(&built).with_context(|| built.display().to_string())?;
    // The agent is compiled again when this file is newer: leave an equal one alone.
    if fs::read(&object).is_ok_and(|present| present == content) {
        return Ok(());
    }
    if let Some(directory) = object.parent() {
        fs::create_dir_all(directory).with_context(|| directory.display().to_string())?;
    }
    fs::write(&object, &content).with_context(|| object.display().to_string())?;
    note(
        "build",
        format_args!("{}: {} bytes", object.display(), content.len()),
    );
    Ok(())
}
