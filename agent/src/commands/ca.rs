//! `sealane ca status` and `sealane ca issue`.

use std::{io::Write, process::ExitCode, time::SystemTime};

use jiff::{SignedDuration, Timestamp};

use super::{
    NOT_READY, Readiness,
    ask::ask,
    print, print_text,
    table::{duration, instant, relative},
};
use crate::{
    admin::api,
    cli::{CaIssueArgs, CaStatusArgs},
    config,
};

/// `sealane ca status`: [`NOT_READY`] unless the CA is ready.
///
/// # Errors
/// When the CA can't be asked, or its answer can't be written.
pub async fn ca_status(args: &CaStatusArgs, out: &mut impl Write) -> anyhow::Result<ExitCode> {
    let answer = ask(&args.socket, "/v1/ca").await?;
    print(&answer, args.output, out, table)?;
    let Readiness { ready, .. } = answer.parse()?;
    Ok(if ready {
        ExitCode::SUCCESS
    } else {
        ExitCode::from(NOT_READY)
    })
}

/// `sealane ca issue`: prints the paths of the files that it has written.
///
/// # Errors
/// When nothing could be issued or written.
pub fn ca_issue(args: &CaIssueArgs, out: &mut impl Write) -> anyhow::Result<ExitCode> {
    let order = config::order(args)?;
    let files = order.fill(&args.out, SystemTime::now())?;
    let lines = files.iter().map(|path| format!("{}\n", path.display()));
    print_text(lines.collect::<String>().into_bytes(), out)?;
    Ok(ExitCode::SUCCESS)
}

fn table(status: &api::CaStatus) -> String {
    let seconds = |n: u64| {
        duration(SignedDuration::from_secs(
            i64::try_from(n).unwrap_or(i64::MAX),
        ))
    };
    let expiry = format!(
        "{} ({})",
        instant(status.not_after),
        relative(status.not_after, Timestamp::now())
    );
    let rows = [
        ("CA", format!("{} at {}", status.version, status.listen)),
        ("Ready", if status.ready { "yes" } else { "no" }.to_owned()),
        ("Up", seconds(status.uptime_seconds)),
        ("Trust domain", status.trust_domain.clone()),
        ("Expires", expiry),
        ("Longest life", seconds(status.max_ttl_seconds)),
        ("Signed", status.signed.to_string()),
        ("Refused", status.refused.to_string()),
    ];
    let mut text = super::status::rows(rows);
    super::status::list(&mut text, "Not ready", &status.unready);
    super::status::list(&mut text, "Errors", &status.source_errors);
    text
}
