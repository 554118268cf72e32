//! `cargo xtask lint`: what can be said about the sources without running them.

use std::{
    fs,
    path::{Path, PathBuf},
};

use anyhow::{Context, Result, bail, ensure};

use crate::{
    ebpf::Toolchain,
    process,
    progress::{note, step},
    workspace,
};

const LONGEST_FILE: usize = 400;
const NOT_OURS: [&str; 3] = ["target", "node_modules", ".git"];

type Check = fn() -> Result<()>;

/// Runs every check, and fails at the end when any did.
///
/// # Errors
/// Names the checks that failed; their findings are on stderr.
pub fn run() -> Result<()> {
    let checks: [(&str, Check); 5] = [
        ("layout of the sources", layout),
        ("cargo fmt", format),
        ("cargo clippy", clippy),
        ("cargo clippy of agent-ebpf", clippy_ebpf),
        ("cargo deny", deny),
    ];
    let mut failed = Vec::new();
    for (name, check) in checks {
        if let Err(error) = step("lint", name, check) {
            eprintln!("error: {error:#}");
            failed.push(name);
        }
    }
    ensure!(failed.is_empty(), "failed: {}", failed.join(", "));
    Ok(())
}

fn layout() -> Result<()> {
    let mut sources = Vec::new();
    collect(workspace::root(), &mut sources)?;
    let mut findings = Vec::new();
    for source in &sources {
        let name = source.strip_prefix(workspace::root()).unwrap_or(source);
        if source.ends_with("mod.rs") {
            findings.push(format!("{}: use foo.rs + foo/", name.display()));
        }
        let text = fs::read_to_string(source).with_context(|| name.display().to_string())?;
        let lines = text.lines().count();
        if lines > LONGEST_FILE {
            findings.push(format!(
                "{}: {lines} lines, {LONGEST_FILE} at most",
                name.display()
            ));
        }
    }
    if !findings.is_empty() {
        bail!("{}", findings.join("\n"));
    }
    note("lint", format_args!("{} files read", sources.len()));
    Ok(())
}

/// Adds the Rust files below `directory` to `sources`.
fn collect(directory: &Path, sources: &mut Vec<PathBuf>) -> Result<()> {
    let entries = fs::read_dir(directory).with_context(|| directory.display().to_string())?;
    for entry in entries {
        let entry = entry?;
        let path = entry.path();
        if entry.file_type()?.is_dir() {
            if !NOT_OURS.iter().any(|name| entry.file_name() == *name) {
                collect(&path, sources)?;
            }
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            sources.push(path);
        }
    }
    Ok(())
}

fn format() -> Result<()> {
    for directory in ["", "agent-ebpf", "tests/fuzz"] {
        let directory = workspace::root().join(directory);
        let mut cargo = process::cargo();
        cargo
            .args(["fmt", "--all", "--check"])
            .current_dir(directory);
        process::run(&mut cargo)?;
    }
    Ok(())
}

fn clippy() -> Result<()> {
    let mut cargo = process::cargo();
    // Release: the C code of the dependencies is then built once for clippy, the tests and the product.
    cargo
        .args(["clippy", "--release", "--workspace", "--all-targets"])
        .args(["--", "-D", "warnings"])
        .current_dir(workspace::root());
    if !workspace::ebpf_object()?.is_file() {
        cargo.env("SEALANE_EBPF_OBJECT", "none");
    }
    process::run(&mut cargo)
}

fn clippy_ebpf() -> Result<()> {
    let Some(toolchain) = Toolchain::detect() else {
        note(
            "lint",
            "skipped: no eBPF toolchain (`cargo xtask setup` installs it)",
        );
        return Ok(());
    };
    if !toolchain.clippy()? {
        let hint = toolchain.compiler.kind.clippy_hint();
        note(
            "lint",
            format_args!("skipped: {toolchain} has no clippy (`{hint}`)"),
        );
    }
    Ok(())
}

fn deny() -> Result<()> {
    if process::output(process::cargo().args(["deny", "--version"])).is_err() {
        note(
            "lint",
            "skipped: `cargo install cargo-deny --locked` installs it",
        );
        return Ok(());
    }
    for manifest in ["Cargo.toml", "agent-ebpf/Cargo.toml"] {
        let mut cargo = process::cargo();
        cargo
            .args(["deny", "--workspace", "--manifest-path", manifest])
            .args(["check", "--config"])
            .arg(workspace::root().join("deny.toml"))
            .current_dir(workspace::root());
        process::run(&mut cargo)?;
    }
    Ok(())
}
