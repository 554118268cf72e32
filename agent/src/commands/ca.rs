//! `sealane ca status`, `sealane ca rotate` and `sealane ca issue`.

use std::{
    io::Write,
    path::Path,
    process::ExitCode,
    time::{Duration, SystemTime},
};

use anyhow::{Context as _, anyhow};
use jiff::{SignedDuration, Timestamp};

use super::{
    NOT_READY, Readiness,
    ask::{Answer, AskError, ask},
    print, print_text,
    status::{list, rows},
    table::{duration, instant, relative, render},
};
use crate::{
    admin::api,
    ca::CaState,
    cli::{CaIssueArgs, CaRotateArgs, CaWhichArgs, OutputFormat},
    config,
};

/// How often `sealane ca rotate --wait` looks.
const WATCH: Duration = Duration::from_secs(1);

/// `sealane ca status`: [`NOT_READY`] unless the CA is ready.
///
/// # Errors
/// When the CA can't be asked, or its answer can't be written.
pub async fn ca_status(args: &CaWhichArgs, out: &mut impl Write) -> anyhow::Result<ExitCode> {
    let now = SystemTime::now();
    let ready = if let Some(dir) = &args.directory {
        let state = CaState::of(dir, now)?;
        print_keys(&api::CaKeys::new(dir, &state), args.output, out)?;
        timestamp(now) < state.not_after
    } else {
        let answer = question(&args.socket).await?;
        print(&answer, args.output, out, table)?;
        let Readiness { ready, .. } = answer.parse()?;
        ready
    };
    Ok(if ready {
        ExitCode::SUCCESS
    } else {
        ExitCode::from(NOT_READY)
    })
}

/// `sealane ca rotate`: does it in the directory, of which the service takes notice.
///
/// # Errors
/// When it can't be done, or with `--wait` when the directory can't be read any more.
pub async fn ca_rotate(args: &CaRotateArgs, out: &mut impl Write) -> anyhow::Result<ExitCode> {
    let rotate = config::rotate(args)?;
    let dir = match &args.which.directory {
        Some(dir) => dir.clone(),
        None => {
            let answer = question(&args.which.socket).await?;
            answer.parse::<api::CaStatus>()?.keys.directory
        }
    };
    let mut state = rotate.apply(&dir, SystemTime::now())?;
    let show = |state: &CaState, out: &mut _| {
        print_keys(&api::CaKeys::new(&dir, state), args.which.output, out)
    };
    show(&state, out)?;
    while args.wait && state.rotation.is_some() {
        tokio::time::sleep(WATCH).await;
        let next = CaState::moved_on(&dir, SystemTime::now())?;
        if next != state {
            show(&next, out)?;
        }
        state = next;
    }
    Ok(ExitCode::SUCCESS)
}

async fn question(socket: &Path) -> anyhow::Result<Answer> {
    ask(socket, "/v1/ca").await.map_err(|error| match error {
        AskError::NoAgent { socket } => anyhow!(
            "no CA service at {}: start `sealane ca serve`, or name its socket with --socket or a CA's directory with \
             --directory",
            socket.display()
        ),
        error => error.into(),
    })
}

fn print_keys(
    keys: &api::CaKeys,
    format: OutputFormat,
    out: &mut impl Write,
) -> anyhow::Result<()> {
    let text = match format {
        OutputFormat::Table => keys_table(keys),
        OutputFormat::Json => serde_json::to_string(keys).context("status")?,
    };
    print_text(text.into_bytes(), out)
}

/// `sealane ca issue`: prints the paths of the files that it has written.
///
/// # Errors
/// When nothing could be issued or written.
pub fn ca_issue(args: &CaIssueArgs, out: &mut impl Write) -> anyhow::Result<ExitCode> {
    let order = config::order(args)?;
    let issued = order.fill(&args.out, SystemTime::now())?;
    if let Some(error) = &issued.unrecorded {
        eprintln!("warning: {error}: `sealane ca rotate` will not wait for this certificate's end");
    }
    let lines = issued
        .files
        .iter()
        .map(|path| format!("{}\n", path.display()));
    print_text(lines.collect::<String>().into_bytes(), out)?;
    Ok(ExitCode::SUCCESS)
}

fn table(status: &api::CaStatus) -> String {
    let seconds = |n: u64| {
        duration(SignedDuration::from_secs(
            i64::try_from(n).unwrap_or(i64::MAX),
        ))
    };
    let mut text = rows([
        ("CA", format!("{} at {}", status.version, status.listen)),
        ("Ready", if status.ready { "yes" } else { "no" }.to_owned()),
        ("Up", seconds(status.uptime_seconds)),
        ("Trust domain", status.trust_domain.clone()),
        ("Longest life", seconds(status.max_ttl_seconds)),
        ("Signed", status.signed.to_string()),
        ("Refused", status.refused.to_string()),
    ]);
    text.push_str(&keys_table(&status.keys));
    list(&mut text, "Not ready", &status.unready);
    list(&mut text, "Errors", &status.source_errors);
    text
}

fn keys_table(keys: &api::CaKeys) -> String {
    let now = Timestamp::now();
    let when = |time| format!("{} ({})", instant(time), relative(time, now));
    let rotation = &keys.rotation;
    let stage = match (&rotation.what, rotation.until) {
        (Some(what), Some(until)) => format!(
            "{what}, {} until {}, for {}",
            rotation.stage,
            when(until),
            rotation.waits_for
        ),
        _ => rotation.stage.clone(),
    };
    let mut text = rows([
        ("Directory", keys.directory.display().to_string()),
        ("Expires", when(keys.not_after)),
        ("Rotation", stage),
    ]);
    if let Some(end) = keys.issued_until {
        text.push_str(&rows([("By hand", format!("valid until {}", when(end)))]));
    }
    let roots = keys.roots.iter().map(|root| {
        vec![
            root.usage.clone(),
            root.subject.clone(),
            instant(root.not_after),
            root.fingerprint.clone(),
        ]
    });
    text.push('\n');
    text.push_str(&render(&["ROOT", "SUBJECT", "NOT AFTER", "SHA-256"], roots));
    text.push('\n');
    for (title, error) in [
        ("The last good files are in force", &keys.files_error),
        ("Nothing can be recorded", &keys.unrecorded),
    ] {
        let error: Vec<_> = error.iter().cloned().collect();
        list(&mut text, title, &error);
    }
    text
}

fn timestamp(time: SystemTime) -> Timestamp {
    Timestamp::try_from(time).unwrap_or(Timestamp::MAX)
}
