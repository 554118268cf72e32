//! Redis: a request-response protocol in which the client speaks first.

use std::time::Duration;

use anyhow::{Result, bail};

use super::require;
use crate::{pod::Pod, process::Process, world::World};

/// A running server.
#[derive(Debug)]
pub struct Redis {
    _process: Process,
}

impl Redis {
    pub const PORT: u16 = 6379;

    /// Starts it in `pod` and waits until it listens.
    ///
    /// # Errors
    /// When it doesn't start.
    pub fn start(world: &World, pod: &Pod) -> Result<Self> {
        require("redis-server")?;
        let mut command = pod.command("redis-server")?;
        command.arg("--dir").arg(world.scratch("redis")?);
        command.args(["--port", "6379", "--protected-mode", "no", "--save", ""]);
        command.args(["--bind", "0.0.0.0", "::"]);
        let process = pod.spawn("redis", command)?;
        pod.wait_listening(Self::PORT)?;
        Ok(Self { _process: process })
    }

    /// Runs one command from `pod` against `host`.
    ///
    /// # Errors
    /// When the client fails.
    pub fn ask(pod: &Pod, host: &str, words: &[&str]) -> Result<String> {
        require("redis-cli")?;
        let mut command = pod.command("redis-cli")?;
        command.args(["-h", host]).args(words);
        let output = pod.run("redis-cli", command, Duration::from_secs(15))?;
        if output.code() != Some(0) {
            bail!("redis-cli: {}", output.describe());
        }
        Ok(output.stdout.trim().to_owned())
    }
}
