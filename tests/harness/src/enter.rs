//! `enter --netns PATH --cgroup PATH -- PROGRAM …`: joins a pod, then becomes the program.
//!
//! A program of its own because a child can only be moved before it runs by unsafe code in its parent.

use std::{
    ffi::OsString,
    fs,
    os::unix::process::CommandExt,
    path::{Path, PathBuf},
    process::{self, Command},
};

use anyhow::{Context, Result, bail};

use crate::{isolation, netns};

/// The sub-command's name.
pub const NAME: &str = "enter";

/// A command that will run `program` inside. The environment holds `PATH` and `TMPDIR`: names in `/tmp` that are
/// made of process ids would collide with those of other runs.
///
/// # Errors
/// When this executable can't be found.
pub fn command(netns: Option<&Path>, cgroup: Option<&Path>, program: &str) -> Result<Command> {
    // Where there is nothing to join, there is no need for a detour.
    let is_outside = netns.is_none() && cgroup.is_none();
    let mut command = match is_outside {
        true => Command::new(program),
        false => Command::new(std::env::current_exe()?),
    };
    command.env_clear();
    command.env(
        "PATH",
        "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
    );
    command.env("TMPDIR", isolation::TEMPORARY);
    if is_outside {
        return Ok(command);
    }
    command.arg(NAME);
    if let Some(netns) = netns {
        command.arg("--netns").arg(netns);
    }
    if let Some(cgroup) = cgroup {
        command.arg("--cgroup").arg(cgroup);
    }
    command.arg("--").arg(program);
    Ok(command)
}

/// Does what the arguments say. Returns only when it failed.
///
/// # Errors
/// When the cgroup or namespace can't be joined or the program can't be run.
pub fn run(mut arguments: impl Iterator<Item = OsString>) -> Result<()> {
    while let Some(argument) = arguments.next() {
        if argument == "--" {
            break;
        }
        let path = PathBuf::from(arguments.next().context("a path is missing")?);
        match argument.to_str() {
            Some("--netns") => netns::join(&path)?,
            Some("--cgroup") => join_cgroup(&path)?,
            _ => bail!("unknown argument {}", argument.display()),
        }
    }
    let program = arguments.next().context("the program is missing")?;
    let error = Command::new(&program).args(arguments).exec();
    Err(error).with_context(|| format!("running {}", program.display()))
}

fn join_cgroup(path: &Path) -> Result<()> {
    fs::write(path.join("cgroup.procs"), process::id().to_string())
        .with_context(|| format!("joining {}", path.display()))
}
