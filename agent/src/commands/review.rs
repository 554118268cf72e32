//! `sealane explain`, `tls-check` and `authz-check`: what an agent or a directory says of policy.

use std::{io::Write, path::Path, process::ExitCode};

use anyhow::bail;
use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};
use serde::{Serialize, de::DeserializeOwned};

use super::{
    ask::ask,
    print_text,
    table::{ABSENT, or_absent, render},
};
use crate::{
    cli::{AskArgs, AuthzCheckArgs, ExplainArgs, MeshArgs, OutputFormat, TlsCheckArgs},
    config::MeshConfig,
    control::{self, Settings},
    review::{self, Agreement, Answer, Authorized, Explanation, TargetError, TlsRow},
    store::Snapshot,
};

/// Exit code of an answer that nobody wishes for.
const UNWELCOME: u8 = 1;

/// `sealane explain`: [`UNWELCOME`] when the connection is refused.
///
/// # Errors
/// When nobody can be asked, client or server is nobody, or the answer can't be written.
pub async fn explain(args: &ExplainArgs, out: &mut impl Write) -> anyhow::Result<ExitCode> {
    let ExplainArgs {
        client,
        server,
        ask,
    } = args;
    let query = [("client", client.as_str()), ("server", server)];
    let answer = |snapshot: &Snapshot| review::explain(snapshot, client, server);
    let explanation = asked(ask, "explain", &query, answer).await?;
    show(&explanation, ask.output, out, explanation_table)?;
    Ok(code(explanation.verdict == Answer::Allow))
}

/// `sealane tls-check`: [`UNWELCOME`] when there is a conflict.
///
/// # Errors
/// As [`explain`].
pub async fn tls_check(args: &TlsCheckArgs, out: &mut impl Write) -> anyhow::Result<ExitCode> {
    let ask = &args.ask;
    let (client, server) = ends(args.client.as_deref(), args.server.as_deref());
    let query = [("client", client), ("server", server)];
    let query: Vec<_> = query
        .iter()
        .filter_map(|(k, v)| Some((*k, (*v)?)))
        .collect();
    let answer = |snapshot: &Snapshot| review::tls_check(snapshot, client, server);
    let rows = asked(ask, "tls-check", &query, answer).await?;
    show(&rows, ask.output, out, |rows| tls_table(rows))?;
    Ok(code(rows.iter().all(|row| row.status == Agreement::Ok)))
}

/// Client and server. One name alone is the server's if it is a host's or has a port, which clients have not.
fn ends<'a>(first: Option<&'a str>, second: Option<&'a str>) -> (Option<&'a str>, Option<&'a str>) {
    let is_server = |name: &str| {
        let is_address = name.parse::<std::net::IpAddr>().is_ok();
        !is_address && (name.contains(':') || (name.contains('.') && !name.contains('/')))
    };
    match (first, second) {
        (Some(only), None) if is_server(only) => (None, Some(only)),
        both => both,
    }
}

/// `sealane authz-check`.
///
/// # Errors
/// As [`explain`].
pub async fn authz_check(args: &AuthzCheckArgs, out: &mut impl Write) -> anyhow::Result<ExitCode> {
    let AuthzCheckArgs { workload, ask } = args;
    let query = [("workload", workload.as_str())];
    let answer = |snapshot: &Snapshot| review::authz_check(snapshot, workload);
    let rows = asked(ask, "authz-check", &query, answer).await?;
    show(&rows, ask.output, out, |rows| authz_table(rows))?;
    Ok(ExitCode::SUCCESS)
}

/// [`UNWELCOME`] unless the answer is welcome.
pub(super) fn code(welcome: bool) -> ExitCode {
    if welcome {
        ExitCode::SUCCESS
    } else {
        ExitCode::from(UNWELCOME)
    }
}

/// Asks the directory if there is one, else the agent.
async fn asked<T: DeserializeOwned>(
    args: &AskArgs,
    question: &str,
    query: &[(&str, &str)],
    answer: impl FnOnce(&Snapshot) -> Result<T, TargetError>,
) -> anyhow::Result<T> {
    if let Some(dir) = &args.from {
        return Ok(answer(&snapshot(dir, &args.mesh)?)?);
    }
    let encode = |(key, value): &(&str, &str)| {
        format!("{key}={}", utf8_percent_encode(value, NON_ALPHANUMERIC))
    };
    let query: Vec<_> = query.iter().map(encode).collect();
    let path = format!("/v1/{question}?{}", query.join("&"));
    Ok(ask(&args.socket, &path).await?.parse()?)
}

fn snapshot(dir: &Path, mesh: &MeshArgs) -> anyhow::Result<Snapshot> {
    loaded(dir, &Settings::from(MeshConfig::try_from(mesh)?).of_dump())
}

/// What a directory says.
pub(super) fn loaded(dir: &Path, settings: &Settings) -> anyhow::Result<Snapshot> {
    match control::load(dir, settings) {
        Ok(loaded) => Ok(loaded.mesh.into_snapshot()),
        Err(errors) => bail!("--from {}: {}", dir.display(), errors.texts().join("\n")),
    }
}

pub(super) fn show<T: Serialize>(
    answer: &T,
    format: OutputFormat,
    out: &mut impl Write,
    table: impl FnOnce(&T) -> String,
) -> anyhow::Result<()> {
    let text = match format {
        OutputFormat::Table => table(answer),
        OutputFormat::Json => serde_json::to_string_pretty(answer)?,
    };
    print_text(text.into_bytes(), out)
}

fn explanation_table(explanation: &Explanation) -> String {
    let verdict = match explanation.verdict {
        Answer::Allow => "allowed",
        Answer::Deny => "refused",
    };
    let transport = explanation.transport.name();
    let mut text = format!("{verdict}, {transport}\n");
    for (number, step) in explanation.steps.iter().enumerate() {
        text.push_str(&format!("{:>3}. {step}\n", number + 1));
    }
    text
}

fn tls_table(rows: &[TlsRow]) -> String {
    let header = [
        "HOST:PORT",
        "STATUS",
        "SERVER",
        "CLIENT",
        "AUTHN POLICY",
        "DESTINATION RULE",
        "VIRTUAL SERVICE",
        "OBSERVED",
    ];
    let cells = rows.iter().map(|row| {
        let (modes, policies) = taken(row);
        vec![
            row.host.clone(),
            match row.status {
                Agreement::Ok => "OK",
                Agreement::Conflict => "CONFLICT",
            }
            .to_owned(),
            modes,
            row.client.clone(),
            policies,
            named(row.destination_rule.as_deref()),
            named(row.virtual_service.as_deref()),
            observed(row),
        ]
    });
    let mut text = render(&header, cells);
    for row in rows {
        let differs = rows.iter().filter(|other| other.host == row.host).count() > 1;
        let clients = differs.then(|| format!("for clients in {}", row.clients.join(", ")));
        let words: Vec<_> = clients.into_iter().chain(row.note.clone()).collect();
        if !words.is_empty() {
            text.push_str(&format!("\n{}: {}", row.host, words.join("; ")));
        }
    }
    text
}

/// What a server takes and by which policies, one below the other where its pods differ.
fn taken(row: &TlsRow) -> (String, String) {
    let modes = row.modes.iter().map(|taken| taken.mode.as_str());
    let modes: Vec<_> = modes.collect();
    let policies = row.modes.iter().map(|t| named(t.authn_policy.as_deref()));
    let policies: Vec<_> = policies.collect();
    match modes.is_empty() {
        true => (ABSENT.to_owned(), ABSENT.to_owned()),
        false => (modes.join("\n"), policies.join("\n")),
    }
}

/// `NAMESPACE/NAME`, as istioctl has it.
fn named(document: Option<&str>) -> String {
    let name = document.and_then(|d| d.split_once('/'));
    or_absent(name.map(|(_kind, name)| name))
}

fn observed(row: &TlsRow) -> String {
    let counts = [
        (row.observed.mutual_tls, "mutual TLS"),
        (row.observed.tls, "TLS"),
        (row.observed.plaintext, "plaintext"),
    ];
    let seen: Vec<_> = counts
        .iter()
        .filter(|(count, _)| *count > 0)
        .map(|(count, what)| format!("{count} {what}"))
        .collect();
    if seen.is_empty() {
        ABSENT.to_owned()
    } else {
        seen.join(", ")
    }
}

fn authz_table(rows: &[Authorized]) -> String {
    let header = [
        "WORKLOAD",
        "PORT",
        "MODE",
        "AUTHN POLICY",
        "CERTIFICATE",
        "AUTHZ (RULES)",
    ];
    let rows = rows.iter().map(|row| {
        let rules = row.rules.iter().map(|applying| {
            let dry_run = if applying.dry_run { ", dry run" } else { "" };
            let name = named(Some(&applying.policy));
            format!("{} {name} ({}{dry_run})", applying.action, applying.rules)
        });
        let rules: Vec<_> = rules.collect();
        vec![
            row.workload.clone(),
            row.port
                .map_or_else(|| "others".to_owned(), |port| port.to_string()),
            row.mode.clone(),
            named(row.authn_policy.as_deref()),
            or_absent(row.certificate.as_deref()),
            if rules.is_empty() {
                "none".to_owned()
            } else {
                rules.join("\n")
            },
        ]
    });
    render(&header, rows)
}
