//! curl, whose exit codes are what users see (<https://everything.curl.dev/cmdline/exitcode.html>).

use std::{ffi::OsStr, process::Command, time::Duration};

use anyhow::{Result, bail};

use super::require;
use crate::{pace, pki::LeafFiles, pod::Pod, process::Output};

const LIMIT: Duration = Duration::from_secs(30);

/// Exit codes of curl.
#[derive(Debug)]
pub struct Exit;

impl Exit {
    pub const COULD_NOT_CONNECT: i32 = 7;
    pub const TLS_CONNECT_ERROR: i32 = 35;
    pub const SEND_ERROR: i32 = 55;
    pub const RECEIVE_ERROR: i32 = 56;
    /// What a reset is to curl, which depends on when it comes.
    const RESET: [i32; 3] = [
        Self::COULD_NOT_CONNECT,
        Self::SEND_ERROR,
        Self::RECEIVE_ERROR,
    ];
}

/// One invocation.
#[derive(Debug)]
pub struct Curl<'a> {
    pod: &'a Pod,
    command: Command,
}

/// What became of it.
#[derive(Debug)]
pub struct Answer {
    pub exit: Option<i32>,
    /// Zero without a response.
    pub status: u16,
    pub body: String,
    pub output: Output,
}

impl<'a> Curl<'a> {
    /// # Errors
    /// When curl isn't installed.
    pub fn new(pod: &'a Pod) -> Result<Self> {
        require("curl")?;
        let mut command = pod.command("curl")?;
        command.args(["-sS", "-w", "\n%{http_code}", "--max-time"]);
        command.arg(pace::span(LIMIT / 2).as_secs().to_string());
        Ok(Self { pod, command })
    }

    /// Adds an argument.
    #[must_use]
    pub fn arg(mut self, argument: impl AsRef<OsStr>) -> Self {
        self.command.arg(argument);
        self
    }

    /// Shows a client certificate and trusts its root alone.
    #[must_use]
    pub fn certificate(self, files: &LeafFiles) -> Self {
        self.arg("--cert")
            .arg(&files.certificate)
            .arg("--key")
            .arg(&files.key)
            .arg("--cacert")
            .arg(&files.root)
    }

    /// Fetches `url`.
    ///
    /// # Errors
    /// When curl can't be run; a failed request is an [`Answer`].
    pub fn get(mut self, url: &str) -> Result<Answer> {
        self.command.arg(url);
        let output = self.pod.run("curl", self.command, LIMIT)?;
        let (body, status) = output.stdout.rsplit_once('\n').unwrap_or_default();
        Ok(Answer {
            exit: output.code(),
            status: status.parse().unwrap_or_default(),
            body: body.to_owned(),
            output,
        })
    }
}

impl Answer {
    /// # Errors
    /// Unless the response was 200 with this body.
    pub fn expect_ok(&self, body: &str) -> Result<()> {
        if self.exit != Some(0) || self.status != 200 || self.body != body {
            bail!("expected 200 {body:?}: {}", self.output.describe());
        }
        Ok(())
    }

    /// Whether the connection was reset.
    #[must_use]
    pub fn is_reset(&self) -> bool {
        self.exit.is_some_and(|exit| Exit::RESET.contains(&exit))
    }

    /// # Errors
    /// Unless curl ended with this exit code.
    pub fn expect_exit(&self, code: i32) -> Result<()> {
        if self.exit != Some(code) {
            bail!("expected curl exit {code}: {}", self.output.describe());
        }
        Ok(())
    }
}
