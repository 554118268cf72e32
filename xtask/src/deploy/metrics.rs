//! Alerts and dashboard ask for metrics, and values of labels, that the agent has.

use std::{collections::BTreeSet, fs, path::Path};

use anyhow::{Context, Result, ensure};
use serde_json::Value;

use super::{Rendered, directory, list, text};
use crate::workspace;

const FAMILIES: [&str; 5] = [
    "agent/src/telemetry/families.rs",
    "agent/src/telemetry/families/authority.rs",
    "agent/src/telemetry/families/tls.rs",
    "agent/src/telemetry/tcp.rs",
    "agent/src/telemetry/wire.rs",
];
const LABELS: [&str; 4] = [
    "agent/src/telemetry/labels.rs",
    "agent/src/telemetry/families.rs",
    "agent/src/telemetry/families/authority.rs",
    "agent/src/telemetry/authority.rs",
];
/// Functions of families.rs whose first text is a name.
const MAKERS: [&str; 9] = [
    "counter(",
    "counters(",
    "gauge(",
    "gauges(",
    "time(",
    "times(",
    "histogram(",
    "seconds_histogram(",
    "opts(",
];
/// Labels that Prometheus sets, that pods have, or that have the agent's words about others' things.
const FREE_LABELS: [&str; 7] = [
    "job",
    "instance",
    "reporter",
    "connection_security_policy",
    "le",
    "app_kubernetes_io_name",
    "app_kubernetes_io_component",
];

pub(super) fn findings(_: &Rendered) -> Result<Vec<String>> {
    let read = |path: &str| {
        fs::read_to_string(workspace::root().join(path)).with_context(|| path.to_owned())
    };
    let families = FAMILIES.iter().map(|path| Ok(families(&read(path)?)));
    let families: BTreeSet<_> = families
        .collect::<Result<Vec<_>>>()?
        .concat()
        .into_iter()
        .collect();
    ensure!(families.len() > 20, "only {families:?} found in telemetry");
    let words = LABELS
        .iter()
        .map(|path| read(path))
        .collect::<Result<Vec<_>>>()?
        .concat();
    let files = directory().join("chart/files");
    let dashboard = queries(&files.join("dashboard.json"))?;
    let alerts = expressions(&read("deploy/chart/files/alerts.yaml")?);
    let mut findings = Vec::new();
    for (file, query) in dashboard
        .iter()
        .map(|q| ("dashboard.json", q))
        .chain(alerts.iter().map(|q| ("alerts.yaml", q)))
    {
        for name in metrics(query).filter(|name| !is_family(name, &families)) {
            findings.push(format!("{file}: there is no metric {name}"));
        }
        for (label, value) in matched(query) {
            if !FREE_LABELS.contains(&label) && !words.contains(&format!("\"{value}\"")) {
                findings.push(format!("{file}: no {label} is {value:?}"));
            }
        }
    }
    Ok(findings)
}

/// The names that a source of telemetry registers.
fn families(source: &str) -> Vec<String> {
    let named = MAKERS
        .iter()
        .flat_map(|maker| source.split(maker).skip(1))
        .filter_map(|after| {
            let (before, rest) = after.split_once('"')?;
            let is_call = !before.contains([')', ';']);
            is_call.then(|| rest.split('"').next())?
        });
    let own = named.map(|name| format!("sealane_{name}"));
    let whole = source
        .split('"')
        .filter(|text| text.starts_with("istio_") || text.starts_with("sealane_"))
        .map(str::to_owned);
    own.chain(whole).collect()
}

fn is_family(name: &str, families: &BTreeSet<String>) -> bool {
    let parts = ["_bucket", "_sum", "_count"];
    families.contains(name)
        || parts.iter().any(|end| {
            name.strip_suffix(end)
                .is_some_and(|stem| families.contains(stem))
        })
}

/// Every `expr` of a dashboard, and the queries of its variables.
fn queries(path: &Path) -> Result<Vec<String>> {
    let text_of = fs::read_to_string(path).with_context(|| path.display().to_string())?;
    let dashboard: Value =
        serde_json::from_str(&text_of).with_context(|| path.display().to_string())?;
    let panels = list(&dashboard, "/panels").iter();
    let targets = panels.flat_map(|panel| list(panel, "/targets"));
    let variables = list(&dashboard, "/templating/list").iter();
    let asked = targets
        .map(|target| text(target, "/expr"))
        .chain(variables.map(|variable| text(variable, "/definition")));
    Ok(asked
        .filter(|query| !query.is_empty())
        .map(str::to_owned)
        .collect())
}

/// The expressions of a file of rules: what follows `expr:`, in its line or indented below it.
fn expressions(rules: &str) -> Vec<String> {
    let blocks = rules.split("expr:").skip(1);
    blocks
        .map(|block| {
            let end = block.find("\n    for:").unwrap_or(block.len());
            block[..end].to_owned()
        })
        .collect()
}

fn metrics(query: &str) -> impl Iterator<Item = &str> {
    let words = query.split(|c: char| !(c.is_ascii_alphanumeric() || c == '_'));
    words.filter(|word| word.starts_with("sealane_") || word.starts_with("istio_"))
}

/// Each label and value that a query compares; alternatives of a regular expression one by one.
fn matched(query: &str) -> Vec<(&str, &str)> {
    let mut matched = Vec::new();
    for inside in query
        .split('{')
        .skip(1)
        .filter_map(|part| part.split('}').next())
    {
        for matcher in inside.split(", ") {
            let Some(at) = matcher.find(['=', '!']) else {
                continue;
            };
            let (label, value) = matcher.split_at(at);
            let value = value.trim_start_matches(['=', '!', '~']).trim_matches('"');
            matched.extend(value.split('|').map(|value| (label, value)));
        }
    }
    matched
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_those_of_registrations() {
        let source = r#"
            fn counter(registry: &Registry, name: &str) {}
            handshakes: counters(r, "handshakes_total", "Help (x).", &["side"])?,
            healthy: gauge(
                &registry,
                "ca_healthy",
            )?,
            "istio_tcp_sent_bytes_total",
            "sealane_wire_records_total",
        "#;
        let mut names = families(source);
        names.sort();
        assert_eq!(
            names,
            [
                "istio_tcp_sent_bytes_total",
                "sealane_ca_healthy",
                "sealane_handshakes_total",
                "sealane_wire_records_total"
            ]
        );
    }

    #[test]
    fn queries_are_taken_apart() {
        let query = r#"sum(rate(sealane_a_bucket{x="1", y=~"2|3"}[5m])) / istio_b{z!~"4"}"#;
        assert_eq!(
            metrics(query).collect::<Vec<_>>(),
            ["sealane_a_bucket", "istio_b"]
        );
        assert_eq!(
            matched(query),
            [("x", "1"), ("y", "2"), ("y", "3"), ("z", "4")]
        );
        let known = BTreeSet::from(["sealane_a".to_owned()]);
        assert!(is_family("sealane_a_bucket", &known));
        assert!(!is_family("sealane_a_total", &known));
    }
}
