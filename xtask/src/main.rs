//! The project's automation: `cargo xtask COMMAND`.
//!
//! One file per command. Imports no crate of the product and few others: it is the first thing that
//! is compiled on a bare machine.

mod bench;
mod build;
mod demo;
mod deploy;
mod ebpf;
mod fuzz;
mod image;
mod lint;
mod process;
mod progress;
mod setup;
mod tally;
mod test;
mod vm;
mod workspace;

use std::process::ExitCode;

use clap::Parser;

#[derive(Parser)]
#[command(
    name = "cargo xtask",
    about = "Sets up, builds, tests and checks Sealane"
)]
enum Command {
    /// Installs what building and testing need; does nothing when all is there
    Setup,
    /// Builds the eBPF object, then the agent and the test suite (release)
    Build,
    /// Sets up, builds, then runs the unit tests, and the suite here and on other kernels (as root)
    Test(test::Args),
    /// Sets up, builds, then runs a command on another kernel, in a virtual machine with this one's files (as root)
    Vm(vm::Args),
    /// Sets up, builds, then shows the product on two nodes made for it (as root)
    Demo,
    /// Sets up, builds, then measures Sealane beside direct TCP and other proxies (as root); --help tells more
    Bench(bench::Args),
    /// Feeds made-up documents to what reads and compiles them, and tells what breaks
    Fuzz(fuzz::Args),
    /// Makes the container image: a statically linked binary and a list of what is in it, as an OCI archive
    Image(image::Args),
    /// Checks formatting, clippy, dependencies and the layout of the sources
    Lint,
}

fn main() -> ExitCode {
    let outcome = match Command::parse() {
        Command::Setup => setup::run(),
        Command::Build => build::run(),
        Command::Test(args) => return test::run(&args),
        Command::Vm(args) => return vm::run(&args),
        Command::Demo => demo::run(),
        Command::Bench(args) => return bench::run(&args),
        Command::Fuzz(args) => fuzz::run(&args),
        Command::Image(args) => image::run(&args),
        Command::Lint => lint::run(),
    };
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}
