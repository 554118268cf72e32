//! Where things are in the repository and in cargo's target directory.

use std::{
    env,
    path::{Path, PathBuf},
};

use anyhow::{Context, Result};

/// The repository's root.
pub fn root() -> &'static Path {
    let own = Path::new(env!("CARGO_MANIFEST_DIR"));
    own.parent().unwrap_or(own)
}

/// Cargo's target directory, wherever CARGO_TARGET_DIR or a configuration file has put it: cargo
/// marks it with CACHEDIR.TAG, and we were started from in there.
pub fn target() -> Result<PathBuf> {
    let own = env::current_exe().context("path of xtask")?;
    let target = own
        .ancestors()
        .find(|directory| directory.join("CACHEDIR.TAG").is_file())
        .context("no target directory found: start xtask with `cargo xtask`")?;
    Ok(target.to_path_buf())
}

/// The eBPF object that agent/build.rs embeds.
pub fn ebpf_object() -> Result<PathBuf> {
    Ok(target()?.join("bpf/sealane-ebpf.o"))
}

/// A program that `cargo xtask build` makes.
pub fn program(name: &str) -> Result<PathBuf> {
    Ok(target()?.join("release").join(name))
}
