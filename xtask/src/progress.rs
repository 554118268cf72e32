//! Tells what a command is doing and how long it took. Goes to stderr: stdout is for results.

use std::{fmt::Display, time::Instant};

use anyhow::Result;

/// Announces `what`, does it, and tells the time it took.
pub fn step<T>(command: &str, what: impl Display, job: impl FnOnce() -> Result<T>) -> Result<T> {
    let started = Instant::now();
    note(command, format_args!("{what} ..."));
    let result = job();
    let outcome = if result.is_ok() { "done" } else { "FAILED" };
    let seconds = started.elapsed().as_secs_f32();
    note(command, format_args!("{what}: {outcome} in {seconds:.1} s"));
    result
}

/// One line about `command`.
pub fn note(command: &str, what: impl Display) {
    eprintln!("[{command}] {what}");
}
