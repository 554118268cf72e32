//! `cargo xtask image`: the agent as a container image, an OCI archive, without a container engine.
//!
//! One layer: the binary, linked statically, the system's certificate authorities, and the list of what was linked
//! (CycloneDX). The same sources, compilers and C library make the same bytes, in the same directories: the eBPF object
//! has their names in its debug information.

mod binary;
mod layout;
mod sbom;

use std::{
    env, fs,
    os::unix::fs::PermissionsExt,
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::{Context, Result, ensure};

use crate::{
    build, process,
    progress::{note, step},
    setup, workspace,
};

/// Where Debian, and what descends from it, has the authorities as one file; then where Fedora has them.
const AUTHORITIES: [&str; 2] = [
    "/etc/ssl/certs/ca-certificates.crt",
    "/etc/pki/tls/certs/ca-bundle.crt",
];

#[derive(clap::Args)]
pub struct Args {
    /// The archive [default: sealane-image.tar in cargo's target directory]
    #[arg(long, value_name = "FILE")]
    output: Option<PathBuf>,
}

/// Sets up, builds and packs.
///
/// # Errors
/// A failed build, or a file that can't be written.
#[expect(clippy::print_stdout, reason = "the result")]
pub fn run(args: &Args) -> Result<()> {
    setup::run()?;
    build::object()?;
    let program = step("image", "sealane, linked statically", binary::build)?;
    let work = workspace::target()?.join("image-root");
    let time = time()?;
    let bill = step("image", "list of what is linked", || {
        sbom::list(&program, time)
    })?;
    fill(&work, &program.path, &bill)?;
    let output = match &args.output {
        Some(path) => path.clone(),
        None => workspace::target()?.join("sealane-image.tar"),
    };
    let archive = step("image", "pack", || {
        layout::pack(&work, &program, time, &output)
    })?;
    let bill_path = output.with_extension("cdx.json");
    fs::write(&bill_path, &bill).with_context(|| bill_path.display().to_string())?;
    note(
        "image",
        format_args!("{}: what is in it", bill_path.display()),
    );
    println!(
        "{}: {:.1} MB, sha256:{}",
        output.display(),
        megabytes(archive.bytes),
        archive.manifest
    );
    Ok(())
}

#[expect(clippy::cast_precision_loss, reason = "for people")]
fn megabytes(bytes: u64) -> f64 {
    bytes as f64 / 1e6
}

/// The time that files and image have, in seconds since 1970: SOURCE_DATE_EPOCH
/// (<https://reproducible-builds.org/specs/source-date-epoch/>), or that of the commit.
fn time() -> Result<u64> {
    let text = match env::var("SOURCE_DATE_EPOCH") {
        Ok(text) => text,
        Err(_) => {
            let mut git = Command::new("git");
            git.args(["log", "-1", "--format=%ct"]);
            process::output(git.current_dir(workspace::root())).unwrap_or_else(|_| "0".to_owned())
        }
    };
    text.parse()
        .with_context(|| format!("SOURCE_DATE_EPOCH: {text}"))
}

/// Makes the root directory of the image.
fn fill(root: &Path, program: &Path, bill: &str) -> Result<()> {
    if root.exists() {
        fs::remove_dir_all(root).with_context(|| root.display().to_string())?;
    }
    put(root, "usr/bin/sealane", &read(program)?, 0o755)?;
    put(
        root,
        "usr/share/sealane/sbom.cdx.json",
        bill.as_bytes(),
        0o644,
    )?;
    let authorities = AUTHORITIES
        .iter()
        .map(Path::new)
        .find(|path| path.is_file());
    let authorities = authorities.context("no certificate authorities: install ca-certificates")?;
    put(
        root,
        "etc/ssl/certs/ca-certificates.crt",
        &read(authorities)?,
        0o644,
    )
}

fn read(path: &Path) -> Result<Vec<u8>> {
    let bytes = fs::read(path).with_context(|| path.display().to_string())?;
    ensure!(!bytes.is_empty(), "{} is empty", path.display());
    Ok(bytes)
}

fn put(root: &Path, name: &str, bytes: &[u8], mode: u32) -> Result<()> {
    let path = root.join(name);
    let mut directory = path.parent();
    if let Some(directory) = directory {
        fs::create_dir_all(directory).with_context(|| directory.display().to_string())?;
    }
    fs::write(&path, bytes).with_context(|| path.display().to_string())?;
    // Whatever this user's umask is.
    fs::set_permissions(&path, fs::Permissions::from_mode(mode))?;
    while let Some(parent) = directory.filter(|parent| parent.starts_with(root)) {
        fs::set_permissions(parent, fs::Permissions::from_mode(0o755))?;
        directory = parent.parent();
    }
    Ok(())
}
