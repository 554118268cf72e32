//! `sealane status` for people.

use std::fmt::Write;

use jiff::{SignedDuration, Timestamp};

use super::table::{ABSENT, duration, instant, or_absent, relative, render};
use crate::admin::api;

pub(super) fn table(status: &api::Status) -> String {
    let mut text = summary(status);
    list(&mut text, "Not ready", &status.unready);
    list(
        &mut text,
        "Errors: the last good state stays in force",
        &status.source.errors,
    );
    list(&mut text, "Warnings", &status.source.warnings);
    list(&mut text, "Conflicts", &status.conflicts);
    let used: Vec<_> = status
        .limits
        .iter()
        .map(|l| format!("{}: {} of {}", l.name, l.used, l.limit))
        .collect();
    list(&mut text, "Limits", &used);
    text.push('\n');
    if status.workloads.is_empty() {
        text.push_str("No pod of this node belongs to the mesh.\n");
    } else {
        text.push_str(&workloads(&status.workloads));
        text.push('\n');
    }
    text
}

fn summary(status: &api::Status) -> String {
    let now = Timestamp::now();
    let uptime = i64::try_from(status.uptime_seconds).unwrap_or(i64::MAX);
    let loaded = status.source.loaded_at.map_or_else(
        || "never loaded".to_owned(),
        |at| {
            format!(
                "generation {}, loaded {}",
                status.generation,
                relative(at, now)
            )
        },
    );
    let expiry = status
        .ca
        .root_not_after
        .map_or_else(String::new, |at| format!(", expires {}", instant(at)));
    let ca = match (&status.ca.error, status.ca.healthy) {
        (_, true) => format!("healthy{expiry}"),
        (Some(error), false) => format!("failing: {error}{expiry}"),
        (None, false) => format!("failing{expiry}"),
    };
    let capture = match (status.capture.attached, status.capture.programs.as_slice()) {
        (false, _) => "not attached".to_owned(),
        (true, []) => "attached".to_owned(),
        (true, programs) => format!("attached: {}", programs.join(", ")),
    };
    [
        (
            "Agent",
            format!("{} on node {}", status.version, status.node),
        ),
        ("Ready", if status.ready { "yes" } else { "no" }.to_owned()),
        ("Up", duration(SignedDuration::from_secs(uptime))),
        ("Trust domain", status.trust_domain.clone()),
        ("Source", format!("{} ({loaded})", status.source.dir)),
        ("CA", ca),
        ("Capture", capture),
    ]
    .into_iter()
    .map(|(name, value)| format!("{:<14}{value}\n", format!("{name}:")))
    .collect()
}

fn list(text: &mut String, title: &str, lines: &[String]) {
    if lines.is_empty() {
        return;
    }
    // Writing to a String can't fail.
    let _ = writeln!(text, "\n{title}:");
    for line in lines {
        let _ = writeln!(text, "  {}", line.replace('\n', "\n  "));
    }
}

fn workloads(workloads: &[api::Workload]) -> String {
    let rows = workloads.iter().map(|w| {
        let addresses: Vec<_> = w.addresses.iter().map(ToString::to_string).collect();
        let ports: Vec<_> = w
            .ports
            .iter()
            .map(|(port, mode)| format!("{port}={mode}"))
            .collect();
        let ports = if ports.is_empty() {
            ABSENT.to_owned()
        } else {
            ports.join(",")
        };
        vec![
            w.name.clone(),
            w.state.as_str().to_owned(),
            w.mode.clone(),
            ports,
            or_absent(w.policy.as_deref()),
            w.connections.to_string(),
            addresses.join(","),
            w.identity.clone(),
            or_absent(w.error.as_deref()),
        ]
    });
    let header = [
        "WORKLOAD",
        "STATE",
        "MODE",
        "PORTS",
        "POLICY",
        "CONNECTIONS",
        "ADDRESSES",
        "IDENTITY",
        "ERROR",
    ];
    render(&header, rows)
}
