//! `cargo xtask fuzz`: feeds made-up input to what reads other people's documents, with libFuzzer and the toolchain
//! that is there anyway. The targets are in tests/fuzz.

use std::{
    fs,
    path::{Path, PathBuf},
};

use anyhow::{Context, Result};

use crate::{process, progress::step, workspace};

/// What a target is fed.
#[derive(Clone, Copy, clap::ValueEnum)]
enum Target {
    /// The text of a file
    Documents,
    /// Policies that make sense, and connections
    Compile,
}

#[derive(clap::Args)]
pub struct Args {
    /// One of them only
    target: Option<Target>,
    /// How long to try each
    #[arg(long, default_value_t = 60)]
    seconds: u32,
}

/// As `cargo fuzz` sets them, without a sanitizer: those need a nightly compiler.
const FLAGS: [&str; 7] = [
    "-Cpasses=sancov-module",
    "-Cllvm-args=-sanitizer-coverage-level=4",
    "-Cllvm-args=-sanitizer-coverage-inline-8bit-counters",
    "-Cllvm-args=-sanitizer-coverage-pc-table",
    "-Cllvm-args=-sanitizer-coverage-trace-compares",
    "--cfg fuzzing",
    "-Cdebug-assertions",
];

impl Target {
    fn name(self) -> &'static str {
        match self {
            Self::Documents => "documents",
            Self::Compile => "compile",
        }
    }

    /// libFuzzer's own options: what a megabyte may take at most, and how long inputs get.
    fn options(self) -> &'static [&'static str] {
        match self {
            Self::Documents => &["-timeout=10", "-rss_limit_mb=1024", "-max_len=1048576"],
            Self::Compile => &["-timeout=10", "-rss_limit_mb=1024", "-max_len=1024"],
        }
    }
}

/// Builds and runs the targets.
///
/// # Errors
/// The first finding: libFuzzer has told the input and where it is kept.
pub fn run(args: &Args) -> Result<()> {
    let directory = workspace::target()?.join("fuzz");
    let programs = step("fuzz", "sealane-fuzz", || build(&directory))?;
    for target in [Target::Documents, Target::Compile] {
        if args.target.is_none_or(|only| only.name() == target.name()) {
            step("fuzz", target.name(), || {
                fuzz(target, &programs, &directory, args.seconds)
            })?;
        }
    }
    Ok(())
}

/// Returns the directory of the programs.
fn build(directory: &Path) -> Result<PathBuf> {
    let host = process::output(process::rustc().args(["--print", "host-tuple"]))?;
    let mut cargo = process::cargo();
    // With a target the flags are not for build scripts and macros, which have no libFuzzer to be linked to.
    cargo
        .args(["build", "--release", "--bins", "--target", &host])
        .arg("--target-dir")
        .arg(directory)
        .env("RUSTFLAGS", FLAGS.join(" "))
        .env("SEALANE_EBPF_OBJECT", "none")
        .current_dir(sources());
    process::run(&mut cargo)?;
    Ok(directory.join(host).join("release"))
}

fn fuzz(target: Target, programs: &Path, directory: &Path, seconds: u32) -> Result<()> {
    let name = target.name();
    let found = directory.join("corpus").join(name);
    fs::create_dir_all(&found).with_context(|| found.display().to_string())?;
    let mut prefix = directory.join(name).into_os_string();
    prefix.push("-");
    let mut command = std::process::Command::new(programs.join(name));
    command
        .args(target.options())
        .arg(format!("-max_total_time={seconds}"))
        .arg(format!("-artifact_prefix={}", prefix.display()))
        // New inputs go to the first.
        .arg(found)
        .arg(sources().join("corpus").join(name));
    if let Target::Documents = target {
        let words = sources().join("words.dict");
        command.arg(format!("-dict={}", words.display()));
    }
    process::run(&mut command)
}

fn sources() -> PathBuf {
    workspace::root().join("tests/fuzz")
}
