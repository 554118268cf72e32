//! Child processes: output in files, killed with all their children when dropped.

use std::{
    fs::{self, File},
    os::unix::process::{CommandExt, ExitStatusExt},
    path::{Path, PathBuf},
    process::{Child, Command, ExitStatus, Stdio},
    sync::atomic::{AtomicU32, Ordering},
    time::Duration,
};

use anyhow::{Context, Result, bail};
use rustix::process::{Pid, Signal, kill_process, kill_process_group};

use crate::wait::until;

/// What a program left behind.
#[derive(Debug)]
pub struct Output {
    pub status: ExitStatus,
    pub stdout: String,
    pub stderr: String,
}

impl Output {
    /// The exit code; `None` when a signal ended the program.
    #[must_use]
    pub fn code(&self) -> Option<i32> {
        self.status.code()
    }

    /// # Errors
    /// Unless the program exited with zero; tells all that it said.
    pub fn success(self) -> Result<Self> {
        if !self.status.success() {
            bail!("{}", self.describe());
        }
        Ok(self)
    }

    #[must_use]
    pub fn describe(&self) -> String {
        let ended = match (self.status.code(), self.status.signal()) {
            (Some(code), _) => format!("exit code {code}"),
            (None, signal) => format!("signal {signal:?}"),
        };
        format!(
            "{ended}\nstdout: {}\nstderr: {}",
            self.stdout.trim_end(),
            self.stderr.trim_end()
        )
    }
}

/// A running program, leader of its own process group.
#[derive(Debug)]
pub struct Process {
    name: String,
    child: Child,
    stdout: PathBuf,
    stderr: PathBuf,
}

static COUNTER: AtomicU32 = AtomicU32::new(0);

impl Process {
    /// Starts `command`; standard output and error go to files in `logs`, named after `name`.
    ///
    /// # Errors
    /// When the files or the process can't be made.
    pub fn spawn(name: &str, logs: &Path, mut command: Command) -> Result<Self> {
        let number = COUNTER.fetch_add(1, Ordering::Relaxed);
        let stdout = logs.join(format!("{number:03}-{name}.out"));
        let stderr = logs.join(format!("{number:03}-{name}.err"));
        command.stdout(File::create(&stdout)?);
        command.stderr(File::create(&stderr)?);
        command.process_group(0);
        let child = command
            .spawn()
            .with_context(|| format!("starting {name}"))?;
        Ok(Self {
            name: name.to_owned(),
            child,
            stdout,
            stderr,
        })
    }

    /// [`Process::spawn`] with no input, then [`Process::wait`].
    ///
    /// # Errors
    /// As those.
    pub fn run(name: &str, logs: &Path, mut command: Command, limit: Duration) -> Result<Output> {
        command.stdin(Stdio::null());
        Self::spawn(name, logs, command)?.wait(limit)
    }

    #[must_use]
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// What it has written to standard output so far.
    ///
    /// # Errors
    /// When the file can't be read.
    pub fn stdout(&self) -> Result<String> {
        read_lossy(&self.stdout)
    }

    /// What it has written to standard error so far.
    ///
    /// # Errors
    /// When the file can't be read.
    pub fn stderr(&self) -> Result<String> {
        read_lossy(&self.stderr)
    }

    /// Whether it has ended.
    ///
    /// # Errors
    /// When the kernel doesn't tell.
    pub fn ended(&mut self) -> Result<bool> {
        Ok(self.child.try_wait()?.is_some())
    }

    /// # Errors
    /// When it has ended, with what it said.
    pub fn still_runs(&mut self) -> Result<()> {
        if let Some(status) = self.child.try_wait()? {
            bail!("{} ended: {}", self.name, self.output(status)?.describe());
        }
        Ok(())
    }

    /// # Errors
    /// When it is gone.
    pub fn signal(&self, signal: Signal) -> Result<()> {
        kill_process(Pid::from_child(&self.child), signal)
            .with_context(|| format!("sending {signal:?} to {}", self.name))
    }

    /// Waits for its end.
    ///
    /// # Errors
    /// When it still runs after `limit`.
    pub fn wait(&mut self, limit: Duration) -> Result<Output> {
        let what = format!("{} to end", self.name);
        let status = until(&what, limit, || Ok(self.child.try_wait()?))?;
        self.output(status)
    }

    fn output(&self, status: ExitStatus) -> Result<Output> {
        Ok(Output {
            status,
            stdout: self.stdout()?,
            stderr: self.stderr()?,
        })
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        // ESRCH: nobody is left in the group, which is what is wanted.
        let _ = kill_process_group(Pid::from_child(&self.child), Signal::KILL);
        let _ = self.child.wait();
    }
}

fn read_lossy(path: &Path) -> Result<String> {
    let bytes = fs::read(path).with_context(|| format!("reading {}", path.display()))?;
    Ok(String::from_utf8_lossy(&bytes).into_owned())
}

/// The last lines of every file in `logs` that has any.
#[must_use]
pub fn tails(logs: &Path) -> String {
    const LINES: usize = 60;
    let mut paths: Vec<_> = fs::read_dir(logs)
        .into_iter()
        .flatten()
        .flatten()
        .map(|entry| entry.path())
        .collect();
    paths.sort();
    let mut text = String::new();
    for path in paths {
        let content = read_lossy(&path).unwrap_or_default();
        if content.trim().is_empty() {
            continue;
        }
        let lines: Vec<_> = content.lines().collect();
        let tail = &lines[lines.len().saturating_sub(LINES)..];
        let name = path.file_name().unwrap_or_default().display();
        text.push_str(&format!("--- {name}\n{}\n", tail.join("\n")));
    }
    text
}
