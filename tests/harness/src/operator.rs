//! An operator's commands against a running agent or gateway.

use std::path::PathBuf;

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
        let mut command = enter::command(None, None, &self.binary.to_string_lossy())?;
        command.args(arguments).arg("--socket").arg(&self.socket);
        let name = format!("sealane-{}", arguments[0]);
        Process::run(&name, &self.logs, command, PATIENCE)
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
