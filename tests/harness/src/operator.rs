//! An operator's commands against a running agent or gateway.

use std::{path::PathBuf, process::Command};

use anyhow::{Context, Result};
use serde_json::Value;

use crate::{
    enter,
    process::{Output, Process},
    sockets::PATIENCE,
};

/// Knows whom to ask.
#[derive(Clone, Debug)]
pub struct Operator {
    pub binary: PathBuf,
    pub socket: PathBuf,
    pub logs: PathBuf,
}

impl Operator {
    /// `sealane ARGUMENTS --socket …`.
    ///
    /// # Errors
    /// When it can't be run.
    pub fn run(&self, arguments: &[&str]) -> Result<Output> {
        let (name, command) = self.command(arguments)?;
        Process::run(&name, &self.logs, command, PATIENCE)
    }

    /// [`Operator::run`] of a command that goes on until it is told to stop.
    ///
    /// # Errors
    /// When it can't be started.
    pub fn start(&self, arguments: &[&str]) -> Result<Process> {
        let (name, command) = self.command(arguments)?;
        Process::spawn(&name, &self.logs, command)
    }

    fn command(&self, arguments: &[&str]) -> Result<(String, Command)> {
        let mut command = enter::command(None, None, &self.binary.to_string_lossy())?;
        command.args(arguments).arg("--socket").arg(&self.socket);
        Ok((format!("sealane-{}", arguments[0]), command))
    }

    /// What `sealane COMMAND -o json` prints; `status` may exit with 1 for one that isn't ready.
    ///
    /// # Errors
    /// When it fails or doesn't print JSON.
    pub fn json(&self, command: &str) -> Result<Value> {
        let output = self.run(&[command, "-o", "json"])?;
        serde_json::from_str(&output.stdout).with_context(|| output.describe())
    }
}
