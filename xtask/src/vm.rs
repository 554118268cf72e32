//! `cargo xtask vm`: runs a command on one of Debian's kernels, with the files of this machine.
//!
//! There is no image: the host's root file system is shared read-only, a layer in memory over it, so that every
//! program of the host is there. Emulated (see `machine`), and so several times slower than the host.

mod console;
mod cpio;
mod initramfs;
mod kernels;
mod machine;
pub mod share;

use std::{env, ffi::OsString, fs, path::PathBuf, process::ExitCode, time::Duration};

use anyhow::{Context, Result, ensure};

pub use self::{
    initramfs::Job,
    kernels::{Kernel, list},
    machine::Machine,
};
use crate::{build, process, progress::step, setup};

/// What goes over from the host's environment.
const ENVIRONMENT: [&str; 3] = ["HOME", "LANG", "USER"];

#[derive(clap::Args)]
pub struct Args {
    /// The kernel, by its name in tests/vm/kernels.toml [default: the last one there]
    #[arg(long)]
    kernel: Option<String>,
    /// After this the machine is switched off and that is a failure: 90s, 20m, 2h
    #[arg(long, value_parser = duration, default_value = "30m")]
    timeout: Duration,
    /// A directory that the command may write to; all else that it writes is lost
    #[arg(long)]
    output: Option<PathBuf>,
    /// How many processors it has [default: as many as the host, up to 4]
    #[arg(long)]
    processors: Option<u32>,
    /// One processor whose clock counts instructions: for ratios that don't depend on the host's load
    #[arg(long)]
    icount: bool,
    /// What to run, in the current directory
    #[arg(required = true, trailing_var_arg = true, allow_hyphen_values = true)]
    command: Vec<OsString>,
}

/// Boots, runs the command and ends with its exit code.
#[expect(clippy::print_stdout, reason = "what the command prints is the result")]
pub fn run(args: &Args) -> ExitCode {
    let outcome = prepare().and_then(|()| {
        let kernel = kernels::named(args.kernel.as_deref())?;
        let mut job = job(args.command.clone())?;
        if let Some(output) = &args.output {
            fs::create_dir_all(output).with_context(|| output.display().to_string())?;
            job.output = Some(output.canonicalize()?);
        }
        let machine = Machine {
            processors: args.processors.unwrap_or_else(processors),
            counts_instructions: args.icount,
            timeout: args.timeout,
        };
        machine.run(&kernel, &job, |line| println!("{line}"))
    });
    outcome.map_or_else(
        |error| {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        },
        ExitCode::from,
    )
}

/// Sets up and builds what runs in the machines.
///
/// # Errors
/// Not root, an incomplete setup, or a failed build.
pub fn prepare() -> Result<()> {
    ensure!(
        process::is_root(),
        "virtual machines see all files of this machine: run this as root"
    );
    setup::run()?;
    build::run()?;
    build_init()
}

/// Builds the machines' first process.
///
/// # Errors
/// Cargo's own.
pub fn build_init() -> Result<()> {
    step("build", "sealane-vm-init", initramfs::build)
}

/// A command in the current directory, with the environment that a shell of root's would have.
///
/// # Errors
/// Without a current directory.
pub fn job(command: Vec<OsString>) -> Result<Job> {
    let kept = ENVIRONMENT
        .iter()
        .filter_map(|name| Some(((*name).to_owned(), env::var_os(name)?)));
    let mut environment: Vec<_> = kept.collect();
    environment.push(("TERM".to_owned(), "dumb".into()));
    Ok(Job {
        command,
        environment,
        directory: env::current_dir().context("the current directory")?,
        output: None,
    })
}

/// As many as the host has.
pub fn processors() -> u32 {
    let host = std::thread::available_parallelism().map_or(1, usize::from);
    u32::try_from(host).unwrap_or(1).min(4)
}

fn duration(text: &str) -> Result<Duration, String> {
    let digits = text.trim_end_matches(|c: char| c.is_ascii_alphabetic());
    let unit = match &text[digits.len()..] {
        "s" | "" => 1,
        "m" => 60,
        "h" => 3600,
        other => return Err(format!("no unit of time: {other}")),
    };
    let number: u64 = digits.parse().map_err(|error| format!("{error}"))?;
    Ok(Duration::from_secs(number * unit))
}

#[cfg(test)]
mod tests {
    use super::{Duration, duration};

    #[test]
    fn durations() {
        assert_eq!(duration("90s"), Ok(Duration::from_secs(90)));
        assert_eq!(duration("90"), Ok(Duration::from_secs(90)));
        assert_eq!(duration("20m"), Ok(Duration::from_secs(1200)));
        assert!(duration("1d").is_err());
        assert!(duration("m").is_err());
    }
}
