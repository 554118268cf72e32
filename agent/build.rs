//! Puts the eBPF object that `cargo xtask build` made where `include_bytes_aligned!` finds it.
//!
//! Does not compile eBPF: that takes another compiler, and a plain `cargo check` must stay quick.

use std::{
    env, fs,
    path::{Path, PathBuf},
    process::ExitCode,
};

const OBJECT: &str = "SEALANE_EBPF_OBJECT";

fn main() -> ExitCode {
    println!("cargo::rerun-if-changed=build.rs");
    println!("cargo::rerun-if-env-changed={OBJECT}");
    match embed() {
        Ok(()) => ExitCode::SUCCESS,
        Err(reason) => {
            println!("cargo::error={reason}");
            ExitCode::FAILURE
        }
    }
}

fn embed() -> Result<(), String> {
    let out = PathBuf::from(env::var_os("OUT_DIR").ok_or("OUT_DIR is not set: run by cargo only")?);
    let embedded = out.join("sealane-ebpf.o");
    let object = match env::var_os(OBJECT) {
        // For checks of the code only: an agent with an empty object refuses to start.
        Some(object) if object == "none" => return write(&embedded, &[]),
        Some(object) => PathBuf::from(object),
        None => target_directory(&out)
            .ok_or_else(|| format!("no target directory found: set {OBJECT}"))?
            .join("bpf/sealane-ebpf.o"),
    };
    println!("cargo::rerun-if-changed={}", object.display());
    let program = fs::read(&object).map_err(|error| {
        format!(
            "the eBPF object {}: {error}: run `cargo xtask build`",
            object.display()
        )
    })?;
    write(&embedded, &program)
}

fn write(path: &Path, content: &[u8]) -> Result<(), String> {
    fs::write(path, content).map_err(|error| format!("write {}: {error}", path.display()))
}

/// Cargo marks its target directory with CACHEDIR.TAG, wherever CARGO_TARGET_DIR or a configuration
/// file has put it.
fn target_directory(out: &Path) -> Option<&Path> {
    out.ancestors()
        .find(|directory| directory.join("CACHEDIR.TAG").is_file())
}
