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
    list(
        &mut text,
        "Namespaces held back",
        &held_back(&status.source.held_back),
    );
    list(
        &mut text,
        "Pods of this node that are not found, and not captured",
        &not_found(&status.source.not_found),
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

fn held_back(namespaces: &[api::HeldBack]) -> Vec<String> {
    let line = |held: &api::HeldBack| {
        let what = match held.closed {
            true => "closed: connections to its workloads are refused",
            false => "what its documents said last is in force",
        };
        let mesh = if held.mesh_wide { " (mesh-wide)" } else { "" };
        format!("{}{mesh}: {what}: {}", held.namespace, held.error)
    };
    namespaces.iter().map(line).collect()
}

fn not_found(pods: &[api::NotFound]) -> Vec<String> {
    let line = |missing: &api::NotFound| {
        let since = instant(missing.since);
        format!("{} since {since}: {}", missing.pod, missing.reason)
    };
    pods.iter().map(line).collect()
}

fn summary(status: &api::Status) -> String {
    let uptime = i64::try_from(status.uptime_seconds).unwrap_or(i64::MAX);
    rows([
        (
            "Agent",
            format!("{} on node {}", status.version, status.node),
        ),
        ("Ready", if status.ready { "yes" } else { "no" }.to_owned()),
        ("Up", duration(SignedDuration::from_secs(uptime))),
        ("Trust domain", status.trust_domain.clone()),
        ("Source", source(&status.source, status.generation)),
        ("CA", authority(&status.ca)),
        ("Trust", trusted(&status.trusted)),
        ("Capture", capture(&status.capture)),
        ("Attestation", attestation(&status.capture.attestation)),
        ("Kernel TLS", kernel_tls(&status.kernel_tls)),
        ("Kubelet", kubelet(&status.kubelet)),
    ])
}

/// One line for each, with what it is of.
pub(super) fn rows<const N: usize>(rows: [(&str, String); N]) -> String {
    let rows = rows.into_iter();
    rows.map(|(name, value)| format!("{:<14}{value}\n", format!("{name}:")))
        .collect()
}

pub(super) fn source(source: &api::Source, generation: u64) -> String {
    let dir = &source.dir;
    source.loaded_at.map_or_else(
        || format!("{dir} (never loaded)"),
        |at| {
            let loaded = relative(at, Timestamp::now());
            format!("{dir} (generation {generation}, loaded {loaded})")
        },
    )
}

fn kubelet(kubelet: &api::Kubelet) -> String {
    match (&kubelet.cgroup, &kubelet.error) {
        (Some(cgroup), _) => format!("in {cgroup}"),
        (None, Some(error)) => format!("not known: {error}"),
        (None, None) => "not known".to_owned(),
    }
}

fn trusted(sources: &[api::Trusted]) -> String {
    let of = |source: &api::Trusted| {
        let error = source.error.as_ref().map(|error| format!(": {error}"));
        let api::Trusted {
            what,
            source,
            entries,
            ..
        } = source;
        format!(
            "{what} from {source} ({entries}){}",
            error.unwrap_or_default()
        )
    };
    match sources {
        [] => "the own CA's roots".to_owned(),
        _ => sources.iter().map(of).collect::<Vec<_>>().join("; "),
    }
}

fn authority(ca: &api::Authority) -> String {
    let health = match (ca.healthy, &ca.error) {
        (true, _) => "healthy".to_owned(),
        (false, Some(error)) => format!("failing: {error}"),
        (false, None) => "failing".to_owned(),
    };
    let whose = match &ca.address {
        Some(address) => format!("{address} "),
        None => String::new(),
    };
    match ca.root_not_after {
        Some(end) => format!("{whose}{health}, expires {}", instant(end)),
        None => format!("{whose}{health}"),
    }
}

fn capture(capture: &api::Capture) -> String {
    match (capture.attached, capture.programs.as_slice()) {
        (false, _) => "not attached".to_owned(),
        (true, []) => "attached".to_owned(),
        (true, programs) => format!("attached: {}", programs.join(", ")),
    }
}

fn attestation(attestation: &api::Attestation) -> String {
    let api::Attestation {
        watched,
        methods,
        unwatched,
    } = attestation;
    let on = match methods.as_slice() {
        [] => "off".to_owned(),
        methods => format!("on for {watched} pods ({})", methods.join(", ")),
    };
    let off = unwatched.iter();
    off.fold(on, |text, pod| {
        format!("{text}; off for {}: {}", pod.workload, pod.why)
    })
}

pub(super) fn kernel_tls(tls: &api::KernelTls) -> String {
    let Some(fastest) = tls.ciphers.first() else {
        return match (tls.mode.as_str(), tls.missing.first()) {
            ("off", _) => "off: TLS is done in the agent".to_owned(),
            (_, Some(why)) => format!("none ({why}): TLS is done in the agent"),
            (_, None) => "none: TLS is done in the agent".to_owned(),
        };
    };
    let yes = |present| if present { "yes" } else { "no" };
    let driver = tls.aes_driver.as_deref().unwrap_or("none");
    format!(
        "{}, {} of 3 suites, {} first (AES: {driver}); splice: {}, rekey: {}",
        tls.mode,
        tls.ciphers.len(),
        fastest.suite,
        yes(tls.splice),
        yes(tls.rekey)
    )
}

pub(super) fn list(text: &mut String, title: &str, lines: &[String]) {
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
        let probes: Vec<_> = w.probes.iter().map(ToString::to_string).collect();
        vec![
            w.name.clone(),
            w.state.as_str().to_owned(),
            w.mode.clone(),
            listed(&ports),
            listed(&probes),
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
        "PROBES",
        "POLICY",
        "CONNECTIONS",
        "ADDRESSES",
        "IDENTITY",
        "ERROR",
    ];
    render(&header, rows)
}

fn listed(texts: &[String]) -> String {
    match texts {
        [] => ABSENT.to_owned(),
        texts => texts.join(","),
    }
}
