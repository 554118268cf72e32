//! Installs what compiles eBPF: a compiler with the source of `core`, and bpf-linker for its LLVM.

use std::{
    env, fs,
    path::Path,
    process::{Command, Stdio},
};

use anyhow::{Context, Result, bail, ensure};

use super::{Outcome, apt};
use crate::{
    ebpf::{self, Compiler, Kind},
    process::{self, without_cargo},
    progress::{note, step},
};

const LINKER_VERSION: &str = "0.13.0";
const LINKER_RELEASES: &str = "https://github.com/aya-rs/bpf-linker/releases/download";
const DEBIAN_PACKAGES: [&str; 3] = ["rustc-web", "cargo-web", "rust-web-src"];

/// Installs the compiler, then the linker, whichever is missing.
///
/// # Errors
/// What to install by hand, where neither apt nor rustup can.
pub fn ensure() -> Result<Outcome> {
    let mut outcome = Outcome::Present;
    let compiler = match Compiler::detect() {
        Some(compiler) => compiler,
        None => {
            outcome = Outcome::Done;
            install_compiler()?;
            Compiler::detect()
                .context("the eBPF compiler is still incomplete after installation")?
        }
    };
    if compiler.linker().is_none() {
        outcome = Outcome::Done;
        match compiler.kind {
            Kind::Debian => build_linker(compiler.llvm)?,
            Kind::Nightly => download_linker()?,
        }
        ensure!(
            compiler.linker().is_some(),
            "bpf-linker does not fit LLVM {} even after installation",
            compiler.llvm
        );
    }
    Ok(outcome)
}

fn install_compiler() -> Result<()> {
    if apt::is_usable() && debian_has_compiler()? {
        return apt::install(&DEBIAN_PACKAGES);
    }
    if ebpf::has_rustup() {
        return step("setup", "rustup toolchain install nightly", || {
            let mut rustup = Command::new("rustup");
            without_cargo(&mut rustup);
            rustup.args(["toolchain", "install", "nightly"]);
            process::run(rustup.args(["--profile", "minimal", "--component", "rust-src"]))
        });
    }
    let (major, minor) = ebpf::minimum();
    bail!(
        "no compiler for eBPF. Either, as root on Debian 12 or later with its security updates \
         (rustc-web {major}.{minor} or later):\n  apt-get update && apt-get install {}\n\
         or install rustup (https://rustup.rs), then:\n  rustup toolchain install nightly --component rust-src\n\
         and run `cargo xtask setup` again",
        DEBIAN_PACKAGES.join(" ")
    )
}

/// Whether apt offers a rustc-web that is new enough, if need be with fresh lists.
fn debian_has_compiler() -> Result<bool> {
    let offered = || {
        apt::candidate(DEBIAN_PACKAGES[0])
            .and_then(|version| ebpf::version(&version))
            .is_some_and(|version| version >= ebpf::minimum())
    };
    if offered() {
        return Ok(true);
    }
    apt::update()?;
    Ok(offered())
}

/// Compiles bpf-linker against Debian's LLVM.
fn build_linker(llvm: u32) -> Result<()> {
    let prefix = format!("/usr/lib/llvm-{llvm}");
    if !Path::new(&prefix).join("include/llvm-c/Core.h").exists() {
        apt::install(&[&format!("llvm-{llvm}-dev")])?;
    }
    let feature = format!("llvm-{llvm}");
    let what = format!("bpf-linker {LINKER_VERSION} for LLVM {llvm} (takes minutes, once)");
    step("setup", what, || {
        let mut cargo = process::cargo();
        cargo
            .args(["install", "bpf-linker", "--locked", "--force"])
            .args(["--version", LINKER_VERSION])
            .args(["--no-default-features", "--features", &feature])
            .env_remove("CARGO_TARGET_DIR")
            .env("LLVM_PREFIX", &prefix);
        process::run(&mut cargo)
    })
}

/// Takes upstream's binary, which brings its own LLVM: to build it would take an LLVM as new as the
/// nightly's, and few distributions have one. See "Manual download" in bpf-linker's README.
fn download_linker() -> Result<()> {
    let arch = env::consts::ARCH;
    let url =
        format!("{LINKER_RELEASES}/v{LINKER_VERSION}/bpf-linker-{arch}-unknown-linux-musl.tar.zst");
    let directory = ebpf::cargo_home()
        .context("neither CARGO_HOME nor HOME is set")?
        .join("bin");
    fs::create_dir_all(&directory).with_context(|| directory.display().to_string())?;
    note("setup", format_args!("{url} -> {}", directory.display()));
    let by_hand = format!("curl -fL {url} | tar --zstd -xp -C {}", directory.display());
    step("setup", format_args!("bpf-linker {LINKER_VERSION}"), || {
        let mut curl = Command::new("curl")
            .args(["-fsSL", "--retry", "3", &url])
            .stdout(Stdio::piped())
            .spawn()
            .context("curl")?;
        let archive = curl.stdout.take().context("curl has no stdout")?;
        let mut tar = Command::new("tar");
        tar.args(["--zstd", "-xp", "-C"]).arg(&directory);
        let unpacked = process::run(tar.stdin(archive));
        let status = curl.wait().context("curl")?;
        ensure!(status.success(), "curl {url}: {status}");
        unpacked
    })
    .with_context(|| format!("install bpf-linker by hand: {by_hand}"))
}
