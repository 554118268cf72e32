//! The benchmark's end of a load process.

use std::{
    io::{BufRead, BufReader, Write},
    net::SocketAddr,
    os::{fd::OwnedFd, unix::net::UnixStream},
    time::Duration,
};

use anyhow::{Context, Result, bail};
use sealane_harness::{Pod, Process};

use super::{Answer, Job, NAME, Outcome};

/// Longer than any job may take: sockets give up earlier.
const PATIENCE: Duration = Duration::from_secs(300);

/// A load process in a pod. Dropping it ends it.
#[derive(Debug)]
pub struct Load {
    channel: BufReader<UnixStream>,
    process: Process,
}

impl Load {
    /// # Errors
    /// When the process can't be made.
    pub fn start(pod: &Pod) -> Result<Self> {
        let (ours, theirs) = UnixStream::pair()?;
        ours.set_read_timeout(Some(PATIENCE))?;
        let executable = std::env::current_exe()?;
        let mut command = pod.command(&executable.to_string_lossy())?;
        command.arg(NAME).stdin(OwnedFd::from(theirs));
        Ok(Self {
            channel: BufReader::new(ours),
            process: pod.spawn("load", command)?,
        })
    }

    /// # Errors
    /// When the address can't be listened on.
    pub fn serve(&mut self, at: SocketAddr) -> Result<()> {
        self.does(&Job::Serve { at }).map(|_| ())
    }

    /// Does a job to its end.
    ///
    /// # Errors
    /// What the job said, or that the process is gone.
    pub fn does(&mut self, job: &Job) -> Result<Outcome> {
        let mut line = serde_json::to_string(job)?;
        line.push('\n');
        self.channel.get_mut().write_all(line.as_bytes())?;
        line.clear();
        let read = self.channel.read_line(&mut line);
        if !matches!(read, Ok(length) if length > 0) {
            let said = self.process.stderr().unwrap_or_default();
            bail!("the load process is gone or stuck ({read:?}): {said}");
        }
        match serde_json::from_str(&line).with_context(|| line.clone())? {
            Answer::Done(outcome) => Ok(outcome),
            Answer::Failed(reason) => bail!("{reason}"),
        }
    }
}
