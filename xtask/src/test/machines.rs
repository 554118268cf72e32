//! The suite on other kernels, each in a virtual machine of its own.
//!
//! Counts what the suite says of each test, and takes a test of which it says nothing for failed: a machine can
//! end in ways in which nobody sums up.

use std::{
    collections::BTreeMap,
    ffi::OsString,
    fmt::Display,
    process::Command,
    sync::{
        Mutex, PoisonError,
        atomic::{AtomicUsize, Ordering},
    },
    thread,
    time::Duration,
};

use anyhow::Result;

use crate::{
    process,
    progress::{note, step},
    tally::{Tally, Verdict},
    vm::{self, Clock, Kernel, Machine},
    workspace,
};

/// From power-on to the end of the suite.
const TIMEOUT: Duration = Duration::from_secs(40 * 60);
/// Tests at the same time in one machine: they wait more than they compute.
const THREADS: &str = "3";
/// How much longer than natively everything may take; see the harness's module `pace`.
const SLOWDOWN: (&str, &str) = ("SEALANE_TEST_SLOWDOWN", "4");
/// Runs the suite where the kernel does not show its types: the loader of eBPF programs would read them for
/// relocations that ours don't have, which in an emulator is a third of an agent's start.
const WITHOUT_TYPES: &str = r#"
types=/sys/kernel/btf/vmlinux
[ ! -e $types ] || mount --bind /dev/null $types
exec "$0" "$@"
"#;
/// Of the missing tests, so many are named.
const NAMED: usize = 10;

/// Runs the tests whose names contain `filter` on every kernel of the list, unless the list says that they don't
/// belong there and this is not the `whole` of it; as many kernels at the same time as there are
/// processors: one processor to a machine is what emulation makes the most of.
///
/// # Errors
/// When the list or a kernel can't be had.
pub fn run(filter: Option<&str>, whole: bool) -> Result<Tally> {
    let mut kernels = vm::list()?;
    for kernel in &mut kernels {
        if whole {
            kernel.tests.clear();
        }
        kernel.unpacked()?;
    }
    let next = AtomicUsize::new(0);
    let sum = Mutex::new(Tally::default());
    thread::scope(|scope| {
        let worker = || {
            while let Some(kernel) = kernels.get(next.fetch_add(1, Ordering::Relaxed)) {
                let what = format!("suite on Linux {}", kernel.name);
                let tally = step("test", what, || on(kernel, filter)).unwrap_or_else(|error| {
                    note("test", format_args!("error: {}: {error:#}", kernel.name));
                    Tally::FAILURE
                });
                note("test", format_args!("Linux {}: {tally}", kernel.name));
                *sum.lock().unwrap_or_else(PoisonError::into_inner) += tally;
            }
        };
        for _ in 0..vm::processors() {
            scope.spawn(worker);
        }
    });
    Ok(sum.into_inner().unwrap_or_else(PoisonError::into_inner))
}

/// Runs them on one kernel.
#[expect(clippy::print_stdout, reason = "what the suite prints is the result")]
fn on(kernel: &Kernel, filter: Option<&str>) -> Result<Tally> {
    let suite = workspace::program("sealane-suite")?;
    let (chosen, others) = tests(kernel, filter)?;
    if chosen.is_empty() && filter.is_some() {
        return Ok(Tally::default());
    }
    let mut command: Vec<_> = ["sh", "-c", WITHOUT_TYPES].map(OsString::from).into();
    command.push(suite.into());
    // Exact: the name of one test may be a part of another's.
    command.extend(["--test-threads", THREADS, "--exact"].map(Into::into));
    for name in others {
        command.extend(["--skip".into(), name.into()]);
    }
    let mut job = vm::job(command)?;
    let (name, value) = SLOWDOWN;
    job.environment.push((name.to_owned(), value.into()));
    let machine = Machine {
        // Limits of the tests then don't depend on what else the host has to do.
        clock: Clock::Instructions {
            is_idle_free: false,
        },
        timeout: TIMEOUT,
    };
    let mut verdicts: BTreeMap<_, _> = chosen.into_iter().map(|name| (name, None)).collect();
    let end = machine.run(kernel, &job, |line| {
        println!("[{}] {line}", kernel.name);
        if let Some((name, verdict)) = Verdict::from_line(line)
            && let Some(known) = verdicts.get_mut(name)
        {
            *known = Some(verdict);
        }
    });
    Ok(counted(kernel, end, &verdicts))
}

/// The suite's tests that are to run on this kernel, and the others.
fn tests(kernel: &Kernel, filter: Option<&str>) -> Result<(Vec<String>, Vec<String>)> {
    let mut suite = Command::new(workspace::program("sealane-suite")?);
    let list = process::output(suite.arg("--list"))?;
    let names = list.lines().filter_map(|line| line.strip_suffix(": test"));
    let names: Vec<_> = names.map(str::to_owned).collect();
    kernel.check(&names)?;
    let is_chosen =
        |name: &String| kernel.is_for(name) && filter.is_none_or(|part| name.contains(part));
    Ok(names.into_iter().partition(is_chosen))
}

/// What was said of each test; every failure of the machine, and every test without a verdict, counts as one.
fn counted(
    kernel: &Kernel,
    end: Result<u8>,
    verdicts: &BTreeMap<String, Option<Verdict>>,
) -> Tally {
    let mut tally = Tally::default();
    let mut missing = Vec::new();
    let complain =
        |what: &dyn Display| note("test", format_args!("error: Linux {}: {what}", kernel.name));
    for (name, verdict) in verdicts {
        match verdict {
            // These kernels are listed because they can.
            Some(Verdict::Skipped) => {
                complain(&format_args!("{name} was skipped"));
                tally += Tally::FAILURE;
            }
            Some(verdict) => tally += (*verdict).into(),
            None => missing.push(name.as_str()),
        }
    }
    for name in missing.iter().take(NAMED) {
        complain(&format_args!("no verdict on {name}"));
    }
    if missing.len() > NAMED {
        complain(&format_args!("nor on {} others", missing.len() - NAMED));
    }
    let trouble = match end {
        Err(error) => Some(format!("{error:#}")),
        Ok(code) if code != 0 && tally.failed == 0 => {
            Some(format!("the suite's exit code is {code}"))
        }
        Ok(_) => None,
    };
    if let Some(trouble) = trouble {
        complain(&trouble);
        tally += Tally::FAILURE;
    }
    tally.failed += missing.len() as u64;
    tally
}
