//! `cargo xtask bench`: measures Sealane beside direct TCP and other proxies. The measuring itself is
//! `sealane-bench`'s, which has the options, too.

use std::{
    env,
    ffi::OsString,
    fs,
    process::{Command, ExitCode},
};

use anyhow::{Context, Result, ensure};

use crate::{build, process, progress::step, setup, workspace};

/// Takes everything, `--help` included: the program itself tells its options.
#[derive(clap::Args)]
#[command(disable_help_flag = true)]
pub struct Args {
    #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
    arguments: Vec<OsString>,
}

/// Where to measure. Not the program's affair, so it doesn't see it.
const IN_VM: &str = "--vm";
/// Parts that are measured alone, without root and without a network, and what Cargo calls them.
const ALONE: [(&str, &str); 2] = [("--policy", "policy"), ("--ca", "issuing")];
/// A machine that is emulated takes longer than `cargo xtask vm` would allow it.
const TIMEOUT: &str = "2h";

/// Sets up, builds, measures. A variant that could not be measured although it should is a failure.
pub fn run(args: &Args) -> ExitCode {
    let given = |flag: &str| args.arguments.iter().any(|argument| *argument == *flag);
    if let Some((_, name)) = ALONE.iter().find(|(flag, _)| given(flag)) {
        return alone(name);
    }
    let (vm, arguments): (Vec<_>, Vec<_>) = args
        .arguments
        .iter()
        .partition(|argument| **argument == *IN_VM);
    let outcome = prepare(&arguments).and_then(|()| measure(!vm.is_empty(), &arguments));
    outcome.unwrap_or_else(|error| {
        eprintln!("error: {error:#}");
        ExitCode::FAILURE
    })
}

fn alone(name: &str) -> ExitCode {
    let mut cargo = process::cargo();
    cargo.args(["bench", "--quiet", "-p", "sealane", "--bench", name]);
    match process::run(cargo.current_dir(workspace::root())) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn prepare(arguments: &[&OsString]) -> Result<()> {
    let only_talks = arguments
        .iter()
        .any(|argument| **argument == *"--help" || **argument == *"-h");
    ensure!(
        only_talks || process::is_root(),
        "the benchmark makes network namespaces and loads eBPF programs: run it as root"
    );
    if !only_talks {
        setup::run()?;
        build::run()?;
    }
    step("bench", "sealane-bench", || {
        let mut cargo = process::cargo();
        cargo.args(["build", "--release", "-p", "sealane-bench"]);
        process::run(cargo.current_dir(workspace::root()))
    })
}

fn measure(in_vm: bool, arguments: &[&OsString]) -> Result<ExitCode> {
    let program = workspace::program("sealane-bench")?;
    let output = workspace::target()?.join("bench");
    fs::create_dir_all(&output).with_context(|| output.display().to_string())?;
    let mut command = if in_vm {
        let mut xtask = Command::new(env::current_exe().context("path of xtask")?);
        xtask.args(["vm", "--icount", "--timeout", TIMEOUT, "--output"]);
        xtask.arg(&output).arg("--").arg(program);
        xtask
    } else {
        Command::new(program)
    };
    // The last one counts: it may be said again.
    command.arg("--output").arg(&output).args(arguments);
    let status = process::status(command.current_dir(workspace::root()))?;
    let code = status.code().and_then(|code| u8::try_from(code).ok());
    Ok(ExitCode::from(code.unwrap_or(1)))
}
