//! `cargo xtask test`: everything that can be tested on one machine, and one line that sums it up.

mod machines;

use std::process::{Command, ExitCode};

use anyhow::{Result, ensure};

use crate::{
    build, deploy, process,
    progress::{note, step},
    setup,
    tally::Tally,
    vm, workspace,
};

#[derive(clap::Args)]
pub struct Args {
    /// Only tests whose name contains this
    filter: Option<String>,
    /// The unit tests; without this and the next three, all of them
    #[arg(long)]
    unit: bool,
    /// The checks of the manifests in deploy/
    #[arg(long)]
    manifests: bool,
    /// The suite on this machine's kernel: the scenarios, on real sockets in network namespaces
    #[arg(long)]
    suite: bool,
    /// The suite on the kernels of tests/vm/kernels.toml, in virtual machines
    #[arg(long)]
    vm: bool,
    /// All of the suite on every one of these kernels, not only the tests that the list chooses: twice the time
    #[arg(long)]
    whole: bool,
}

impl Args {
    fn all(&self) -> bool {
        !(self.unit || self.manifests || self.suite || self.vm)
    }
}

/// Runs the tests; the last line of stdout is `N passed, N failed, N skipped`.
#[expect(clippy::print_stdout, reason = "the result")]
pub fn run(args: &Args) -> ExitCode {
    let mut tally = Tally::default();
    if let Err(error) = prepare(args).and_then(|()| run_all(args, &mut tally)) {
        eprintln!("error: {error:#}");
        tally.failed = tally.failed.max(1);
    }
    println!("{tally}");
    if tally.is_success() {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    }
}

fn prepare(args: &Args) -> Result<()> {
    ensure!(
        !(args.suite || args.vm || args.all()) || process::is_root(),
        "the suite makes network namespaces and loads eBPF programs: run it as root, or only the unit tests with --unit"
    );
    setup::run()?;
    build::run()?;
    if args.vm || args.all() {
        vm::build_init()?;
    }
    Ok(())
}

fn run_all(args: &Args, tally: &mut Tally) -> Result<()> {
    if args.unit || args.all() {
        *tally += step("test", "unit tests", || unit(args))?;
    }
    if args.manifests || args.all() {
        *tally += step("test", "manifests", || deploy::test(args.filter.as_deref()))?;
    }
    if args.suite || args.all() {
        *tally += step("test", "suite", || suite(args))?;
    }
    if args.vm || args.all() {
        *tally += machines::run(args.filter.as_deref(), args.whole)?;
    }
    Ok(())
}

/// All packages at once, as the build has them: dependencies would otherwise be built again with fewer features.
fn unit(args: &Args) -> Result<Tally> {
    let mut cargo = process::cargo();
    cargo
        .args(["test", "--release", "--no-fail-fast", "--workspace"])
        .args(&args.filter)
        // The conformance suite would go to that cluster; here it is to check the server of the tests.
        .env_remove("KUBECONFIG")
        .current_dir(workspace::root());
    counted(&mut cargo, Tally::from_libtest)
}

fn suite(args: &Args) -> Result<Tally> {
    let mut suite = Command::new(workspace::program("sealane-suite")?);
    suite.args(&args.filter).current_dir(workspace::root());
    counted(&mut suite, Tally::from_suite)
}

/// Runs `command` and adds up what `read` finds. A program that ends badly without having counted a
/// failure (it crashed, or was not even built) is one, and so is one that gave no counts.
fn counted(command: &mut Command, read: fn(&str) -> Option<Tally>) -> Result<Tally> {
    let mut tally = Tally::default();
    let mut verdicts = 0_u32;
    let status = process::watch(command, |line| {
        if let Some(counts) = read(line) {
            tally += counts;
            verdicts += 1;
        }
    })?;
    let is_trusted = status.success() && verdicts > 0;
    if !is_trusted && tally.failed == 0 {
        note(
            "test",
            format_args!("{}: {status}, {verdicts} results", process::shown(command)),
        );
        tally.failed = 1;
    }
    Ok(tally)
}
