//! Sealane's scenarios and demonstration, run against the `sealane` that was built beside this program.
//!
//! `sealane-suite [FILTER] [--list] [--test-threads N]` runs scenarios, `sealane-suite demo` shows the product.
//! Both run isolated (see `sealane_harness::isolation`); the other sub-commands are parts of the harness that
//! need a process of their own.

mod demo;
mod pair;
mod scenarios;
mod stage;
mod trials;

use std::{env, ffi::OsString, process::ExitCode, sync::Arc};

use anyhow::{Context, Result};
use sealane_harness::{Run, enter, isolation, sockets, spire};

fn main() -> ExitCode {
    let mut arguments = env::args_os().skip(1);
    let first = arguments.next();
    let done = match first.as_ref().and_then(|first| first.to_str()) {
        Some(enter::NAME) => enter::run(arguments).map(|()| ExitCode::SUCCESS),
        Some(sockets::NAME) => sockets::run().map(|()| ExitCode::SUCCESS),
        Some(spire::NAME) => spire::run(arguments).map(|()| ExitCode::SUCCESS),
        Some(isolation::GUARD) => isolation::guard(arguments).map(|()| ExitCode::SUCCESS),
        Some(isolation::ISOLATED) => isolated(arguments),
        _ if trials::only_talk(env::args_os()) => Ok(trials::talk()),
        _ => isolation::start(first.into_iter().chain(arguments)),
    };
    done.unwrap_or_else(|error| {
        eprintln!("sealane-suite: {error:#}");
        ExitCode::FAILURE
    })
}

fn isolated(mut arguments: impl Iterator<Item = OsString>) -> Result<ExitCode> {
    let id = arguments.next().context("the run's id is missing")?;
    let run = Arc::new(Run::begin(&id.to_string_lossy())?);
    let mut arguments = arguments.peekable();
    if arguments.next_if(|argument| argument == "demo").is_some() {
        return demo::show(&run);
    }
    Ok(trials::run(&run, arguments))
}
