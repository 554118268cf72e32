//! Runs the command, passes on what it prints, and buries whatever processes it leaves behind.

use std::{
    fs::{File, OpenOptions},
    io::{self, PipeReader, Read, Write},
    os::unix::{fs::OpenOptionsExt, process::ExitStatusExt},
    process::{Command, ExitStatus, Stdio},
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    thread::{self, JoinHandle},
};

use anyhow::{Context, Result, anyhow};
use rustix::{
    event::{PollFd, PollFlags, Timespec, poll},
    fs::OFlags,
    process::{WaitOptions, wait},
    termios::{OptionalActions, tcdrain, tcgetattr, tcsetattr},
};

use crate::job::Job;

/// Unless the host says otherwise.
pub const PATH: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

/// The second serial port: the first is the kernel's.
const OUTPUT: &str = "/dev/ttyS1";

/// Runs it to its end and returns its exit code; that of a signal is 128 more than its number, as in a shell.
pub fn run(job: &Job) -> Result<u8> {
    let (reader, writer) = io::pipe()?;
    let has_ended = Arc::new(AtomicBool::new(false));
    let copier = copy(reader, Arc::clone(&has_ended))?;
    let (program, arguments) = job.command.split_first().context("no command")?;
    let mut command = Command::new(program);
    command
        .args(arguments)
        .env_clear()
        .env("PATH", PATH)
        .envs(job.environment.iter().map(|(name, value)| (name, value)))
        .current_dir(&job.directory)
        .stdin(Stdio::null())
        .stdout(writer.try_clone()?)
        .stderr(writer);
    let child = command
        .spawn()
        .with_context(|| format!("running {}", program.display()))?;
    // With it go our ends of the pipe.
    drop(command);
    let status = reap_until(child.id())?;
    has_ended.store(true, Ordering::Release);
    copier
        .join()
        .map_err(|_| anyhow!("the copying of its output panicked"))?
        .context("copying its output")?;
    let code = status.code().or(status.signal().map(|signal| signal + 128));
    Ok(code.and_then(|code| u8::try_from(code).ok()).unwrap_or(255))
}

/// Waits for every process that ends, until `child` does.
fn reap_until(child: u32) -> Result<ExitStatus> {
    loop {
        let ended = wait(WaitOptions::empty()).context("waiting for processes")?;
        if let Some((pid, status)) = ended
            && u32::try_from(pid.as_raw_nonzero().get()) == Ok(child)
        {
            return Ok(ExitStatus::from_raw(status.as_raw()));
        }
    }
}

/// Copies until nobody can write any more or, as survivors may hold the pipe for ever, until the command has ended
/// and nothing more comes.
fn copy(mut from: PipeReader, has_ended: Arc<AtomicBool>) -> Result<JoinHandle<Result<()>>> {
    let mut to = serial_port().context(OUTPUT)?;
    let interval = Timespec {
        tv_sec: 0,
        tv_nsec: 100_000_000,
    };
    let copier = move || {
        let mut bytes = [0; 4096];
        loop {
            let was_over = has_ended.load(Ordering::Acquire);
            let mut pipe = [PollFd::new(&from, PollFlags::IN)];
            if poll(&mut pipe, Some(&interval))? == 0 {
                if was_over {
                    break;
                }
                continue;
            }
            match from.read(&mut bytes)? {
                0 => break,
                length => to.write_all(&bytes[..length])?,
            }
        }
        tcdrain(&to)?;
        Ok(())
    };
    Ok(thread::Builder::new().spawn(copier)?)
}

/// Opened as it is, without a terminal's editing: bytes arrive as they were written.
fn serial_port() -> Result<File> {
    let flags = i32::try_from(OFlags::NOCTTY.bits())?;
    let port = OpenOptions::new()
        .write(true)
        .custom_flags(flags)
        .open(OUTPUT)?;
    let mut settings = tcgetattr(&port)?;
    settings.make_raw();
    tcsetattr(&port, OptionalActions::Now, &settings)?;
    Ok(port)
}
