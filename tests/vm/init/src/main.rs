//! The first process of a virtual machine: makes it look like the host, runs one command, tells how that ended
//! and switches the machine off.
//!
//! What the command prints goes to the second serial port as it is. The verdict goes through the kernel's log to
//! the first one, where it can't be torn apart by the kernel's own messages. Knows nothing of tests.

mod command;
mod job;
mod log;
mod modules;
mod root;

use std::thread;

use anyhow::{Context, Result};
use rustix::system::{RebootCommand, reboot};

use crate::job::Job;

/// What the host looks for: this, and the number.
const VERDICT: &str = "sealane-vm: exit code ";

fn main() {
    match run() {
        Ok(code) => log::write(&format!("{VERDICT}{code}")),
        // No verdict: the host takes that for a failure and shows this line.
        Err(error) => log::write(&format!("sealane-vm: error: {error:#}")),
    }
    rustix::fs::sync();
    if let Err(error) = reboot(RebootCommand::PowerOff) {
        log::write(&format!("sealane-vm: error: switching off: {error}"));
    }
    // The kernel panics when its first process ends, which would look like a failure of what was tested.
    loop {
        thread::park();
    }
}

fn run() -> Result<u8> {
    root::mount_kernel().context("mounting the kernel's file systems")?;
    let job = Job::read()?;
    modules::load()?;
    root::become_host(&job).context("making the host's files the root")?;
    root::furnish(&job)?;
    log::write("sealane-vm: running");
    command::run(&job)
}
