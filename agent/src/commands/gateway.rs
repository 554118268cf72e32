//! `sealane status` of a gateway, for people.

use jiff::{SignedDuration, Timestamp};

use super::{
    status::{self, list},
    table::{ABSENT, duration, instant, or_absent, relative, render},
};
use crate::admin::api;

pub(super) fn table(status: &api::GatewayStatus) -> String {
    let mut text = summary(status);
    list(&mut text, "Not ready", &status.unready);
    let errors = &status.source.errors;
    list(
        &mut text,
        "Errors: the last good state stays in force",
        errors,
    );
    list(&mut text, "Problems", &status.problems);
    list(&mut text, "Warnings", &status.source.warnings);
    let lists = status.trusted.iter();
    let broken = lists.filter_map(|l| Some(format!("{}: {}", l.source, l.error.as_ref()?)));
    list(&mut text, "Revocation lists", &broken.collect::<Vec<_>>());
    for (empty, table) in [
        (status.listeners.is_empty(), listeners(status)),
        (status.servers.is_empty(), servers(status)),
        (status.credentials.is_empty(), credentials(status)),
    ] {
        if !empty {
            text.push('\n');
            text.push_str(&table);
            text.push('\n');
        }
    }
    text
}

fn summary(status: &api::GatewayStatus) -> String {
    let uptime = i64::try_from(status.uptime_seconds).unwrap_or(i64::MAX);
    let yes = |is| if is { "yes" } else { "no" }.to_owned();
    let changed = status.changed_at.map(|at| relative(at, Timestamp::now()));
    let enrolled = match status.enrolled {
        Some(true) => "mutual TLS, by the agent of its node",
        Some(false) => "in clear: its pod is not in the mesh",
        None => ABSENT,
    };
    let rows = [
        (
            "Gateway",
            format!("{} in pod {}", status.version, status.pod),
        ),
        ("Ready", yes(status.ready)),
        ("Up", duration(SignedDuration::from_secs(uptime))),
        ("Source", status::source(&status.source, status.generation)),
        (
            "In force",
            changed.map_or_else(|| ABSENT.to_owned(), |at| format!("since {at}")),
        ),
        ("Behind it", enrolled.to_owned()),
        ("Kernel TLS", status::kernel_tls(&status.kernel_tls)),
        ("Connections", status.connections.to_string()),
    ];
    status::rows(rows)
}

fn listeners(status: &api::GatewayStatus) -> String {
    let rows = status.listeners.iter().map(|listener| {
        vec![
            listener.port.to_string(),
            listener.listen.to_string(),
            listener.protocol.clone(),
            listener.error.clone().unwrap_or_else(|| "open".to_owned()),
        ]
    });
    render(&["PORT", "LISTEN", "PROTOCOL", "STATE"], rows)
}

fn servers(status: &api::GatewayStatus) -> String {
    let rows = status.servers.iter().map(|server| {
        vec![
            server.gateway.clone(),
            server.port.to_string(),
            server.mode.clone(),
            server.hosts.join(","),
            or_absent(server.credential.as_deref()),
        ]
    });
    render(&["GATEWAY", "PORT", "MODE", "HOSTS", "CREDENTIAL"], rows)
}

fn credentials(status: &api::GatewayStatus) -> String {
    let rows = status.credentials.iter().map(|credential| {
        let expiry = credential.not_after;
        let expiry =
            expiry.map(|at| format!("{} ({})", instant(at), relative(at, Timestamp::now())));
        let state = if credential.in_force {
            "in force"
        } else {
            "missing"
        };
        vec![
            credential.name.clone(),
            state.to_owned(),
            or_absent(expiry.as_deref()),
            or_absent(credential.error.as_deref()),
        ]
    });
    render(&["CREDENTIAL", "STATE", "EXPIRES", "ERROR"], rows)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_answer_with_little_in_it() {
        let status: api::GatewayStatus = serde_json::from_str(
            r#"{"role": "gateway", "version": "1", "pod": "edge/ingress", "ready": false, "unready": ["x is missing"],
                "started_at": "2026-01-01T00:00:00Z", "uptime_seconds": 61, "generation": 0, "changed_at": null,
                "enrolled": null, "listeners": [{"port": 443, "listen": 8443, "protocol": "TLS"}], "servers": [],
                "credentials": [{"name": "edge", "in_force": true, "not_after": "2026-01-01T00:00:00Z", "error": "bad"}],
                "source": {"dir": "/objects", "loaded_at": null}, "connections": 2}"#,
        )
        .unwrap();
        let shown = table(&status);
        let lines = [
            "edge/ingress",
            "x is missing",
            "never loaded",
            "8443",
            "2026-01-01T00:00:00Z",
            "bad",
        ];
        for line in lines {
            assert!(shown.contains(line), "{line}: {shown}");
        }
        assert!(!shown.contains("HOSTS"), "{shown}");
    }
}
