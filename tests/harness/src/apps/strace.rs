//! strace(1): how much of what a process relays it reads or writes itself.

use std::{fs, path::PathBuf, time::Duration};

use anyhow::{Context, Result};
use rustix::process::Signal;

use super::require;
use crate::{enter, process::Process, wait::until_true, world::World};

const LIMIT: Duration = Duration::from_secs(10);

/// Everything that moves bytes between a process and a socket, but not between sockets.
const CALLS: &str = "trace=read,readv,recvfrom,recvmsg,write,writev,sendto,sendmsg";

/// A running trace.
#[derive(Debug)]
pub struct Strace {
    process: Process,
    file: PathBuf,
}

impl Strace {
    /// Traces all threads of a process; returns once that is so.
    ///
    /// # Errors
    /// When strace doesn't start.
    pub fn attach(world: &World, pid: u32) -> Result<Self> {
        require("strace")?;
        let file = world.scratch("strace")?.join("calls");
        let mut command = enter::command(None, None, "strace")?;
        command.args(["-f", "-yy", "-e", CALLS, "-o"]).arg(&file);
        command.arg("-p").arg(pid.to_string());
        let mut process = Process::spawn("strace", &world.logs, command)?;
        until_true("strace to attach", LIMIT, || {
            process.still_runs()?;
            Ok(process.stderr()?.contains("attached"))
        })?;
        Ok(Self { process, file })
    }

    /// Ends the trace. Returns how many bytes the process has read from and written to TCP sockets itself.
    ///
    /// # Errors
    /// When strace failed.
    pub fn finish(mut self) -> Result<u64> {
        self.process.signal(Signal::INT)?;
        self.process.wait(LIMIT)?;
        let calls = fs::read_to_string(&self.file).context("the trace")?;
        let on_tcp = calls.lines().filter(|line| line.contains("<TCP"));
        Ok(on_tcp.filter_map(result).sum())
    }
}

/// The number behind the last `=`; errors are negative.
fn result(line: &str) -> Option<u64> {
    let (_, result) = line.rsplit_once(" = ")?;
    result.split_whitespace().next()?.parse().ok()
}
