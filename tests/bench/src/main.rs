//! Measures what the `sealane` that was built beside this program costs, beside direct TCP and other proxies.
//!
//! # Layout
//! `cli` is what was typed, `plan` what will be done; `variants` builds each way from a client to a server;
//! `load` is what goes over it, `cost` what that takes; `rounds` measures all variants in turn; `figures` are the
//! numbers, `report` tells them.
//!
//! Runs isolated, as the suite does (see `sealane_harness::isolation`), with all traffic in network namespaces
//! of its own. The other sub-commands are parts that need a process of their own.

mod cli;
mod cluster;
mod cost;
mod figures;
mod load;
mod machine;
mod plan;
mod report;
mod rounds;
mod variants;

use std::{env, ffi::OsString, process::ExitCode, sync::Arc};

use anyhow::{Context, Result};
use clap::Parser as _;
use sealane_harness::{Run, enter, isolation};

use cli::Args;

fn main() -> ExitCode {
    let mut arguments = env::args_os().skip(1);
    let first = arguments.next();
    let done = match first.as_ref().and_then(|first| first.to_str()) {
        Some(enter::NAME) => enter::run(arguments).map(|()| ExitCode::SUCCESS),
        Some(load::NAME) => load::run().map(|()| ExitCode::SUCCESS),
        Some(isolation::GUARD) => isolation::guard(arguments).map(|()| ExitCode::SUCCESS),
        Some(isolation::ISOLATED) => isolated(arguments),
        _ => start(),
    };
    done.unwrap_or_else(|error| {
        eprintln!("sealane-bench: {error:#}");
        ExitCode::FAILURE
    })
}

/// Help and mistakes need neither root nor isolation.
fn start() -> Result<ExitCode> {
    Args::parse().plan()?;
    isolation::start(env::args_os().skip(1))
}

fn isolated(mut arguments: impl Iterator<Item = OsString>) -> Result<ExitCode> {
    let id = arguments.next().context("the run's id is missing")?;
    let typed: Vec<_> = arguments.collect();
    let args = Args::parse_from(std::iter::once("sealane-bench".into()).chain(typed.clone()));
    let plan = args.plan()?;
    let run = Arc::new(Run::begin(&id.to_string_lossy())?);
    if let Some(size) = args.kubernetes {
        return cluster::measure(&run, size);
    }
    let measured = rounds::measure(variants::build(&run, &plan), &plan);
    report::Report::new(&plan, &measured, &typed).publish()?;
    Ok(if measured.iter().any(rounds::Measured::has_failed) {
        ExitCode::FAILURE
    } else {
        ExitCode::SUCCESS
    })
}
