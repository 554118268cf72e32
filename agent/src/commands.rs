//! The operator's commands. Those that ask a running agent print what it says and change nothing.

mod ask;
mod ca;
mod capture;
mod certs;
mod cleanup;
mod connections;
mod diff;
mod flows;
mod gateway;
mod keep;
mod lint;
mod preflight;
mod review;
mod status;
mod table;
mod verify;

use std::{
    io::{self, Write},
    process::ExitCode,
};

use anyhow::Context;
use serde::{Deserialize, de::DeserializeOwned};

use self::ask::{Answer, ask};
use crate::{
    admin::api,
    cli::{CertsArgs, FlowsArgs, OutputFormat, QueryArgs},
    config,
};

/// Exit code of a command that couldn't do what it was asked to.
pub const FAILED: u8 = 2;
/// Exit code of `sealane status` when the agent isn't ready.
pub const NOT_READY: u8 = 1;

/// `sealane status`: [`NOT_READY`] unless the agent, or gateway, is ready.
///
/// # Errors
/// When the agent can't be asked, or its answer can't be written.
pub async fn status(args: &QueryArgs, out: &mut impl Write) -> anyhow::Result<ExitCode> {
    let answer = ask(&args.socket, "/v1/status").await?;
    let Readiness { ready, role } = answer.parse()?;
    match role.as_deref() {
        Some(api::GATEWAY) => print(&answer, args.output, out, gateway::table)?,
        _ => print(&answer, args.output, out, status::table)?,
    }
    Ok(if ready {
        ExitCode::SUCCESS
    } else {
        ExitCode::from(NOT_READY)
    })
}

/// The part of a status that the exit code follows from, and who it is of.
#[derive(Deserialize)]
struct Readiness {
    ready: bool,
    #[serde(default)]
    role: Option<String>,
}

/// `sealane connections`.
///
/// # Errors
/// When the agent can't be asked, or its answer can't be written.
pub async fn connections(args: &QueryArgs, out: &mut impl Write) -> anyhow::Result<ExitCode> {
    let answer = ask(&args.socket, "/v1/connections").await?;
    print(&answer, args.output, out, |list: &Vec<_>| {
        connections::table(list)
    })?;
    Ok(ExitCode::SUCCESS)
}

/// `sealane certs`.
///
/// # Errors
/// When the agent can't be asked, or its answer can't be written.
pub async fn certs(args: &CertsArgs, out: &mut impl Write) -> anyhow::Result<ExitCode> {
    let CertsArgs { pem, query } = args;
    let answer = ask(&query.socket, "/v1/certs").await?;
    print(&answer, query.output, out, |list: &Vec<_>| match pem {
        true => certs::pem(list),
        false => certs::table(list),
    })?;
    Ok(ExitCode::SUCCESS)
}

/// `sealane flows`.
///
/// # Errors
/// When the agent can't be asked, or its answer can't be written.
pub async fn flows(args: &FlowsArgs, out: &mut impl Write) -> anyhow::Result<ExitCode> {
    let FlowsArgs { last, query } = args;
    let last = config::window(last)?.as_secs();
    let answer = ask(&query.socket, &format!("/v1/flows?last={last}")).await?;
    print(&answer, query.output, out, flows::table)?;
    Ok(ExitCode::SUCCESS)
}

fn print<T: DeserializeOwned>(
    answer: &Answer,
    format: OutputFormat,
    out: &mut impl Write,
    table: impl FnOnce(&T) -> String,
) -> anyhow::Result<()> {
    let text = match format {
        OutputFormat::Table => table(&answer.parse()?).into_bytes(),
        OutputFormat::Json => answer.raw().to_vec(),
    };
    print_text(text, out)
}

fn print_text(mut text: Vec<u8>, out: &mut impl Write) -> anyhow::Result<()> {
    if text.last().is_some_and(|last| *last != b'\n') {
        text.push(b'\n');
    }
    match out.write_all(&text) {
        // A reader that has seen enough, such as `head`.
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => Ok(()),
        written => written.context("writing the answer"),
    }
}

#[cfg(test)]
mod tests;

pub use ca::{ca_issue, ca_rotate, ca_status};
pub use capture::capture;
pub use cleanup::cleanup;
pub use diff::diff;
pub use keep::ca_keep;
pub use lint::lint;
pub use preflight::preflight;
pub use review::{authz_check, explain, tls_check};
pub use verify::verify;
