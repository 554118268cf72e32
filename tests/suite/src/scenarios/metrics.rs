//! What Prometheus and a graph of the mesh see.

use std::{collections::BTreeSet, fs::File, time::Duration};

use anyhow::{Context, Result, bail, ensure};
use sealane_harness::{Agent, NodeName, Process, apps, enter};

use crate::stage::{GREETING, Shop, Stage};

/// Istio's standard labels of TCP metrics
/// (<https://istio.io/latest/docs/reference/config/metrics/#labels>).
const LABELS: [&str; 23] = [
    "reporter",
    "source_workload",
    "source_workload_namespace",
    "source_principal",
    "source_app",
    "source_version",
    "source_canonical_service",
    "source_canonical_revision",
    "source_cluster",
    "destination_workload",
    "destination_workload_namespace",
    "destination_principal",
    "destination_app",
    "destination_version",
    "destination_service",
    "destination_service_name",
    "destination_service_namespace",
    "destination_canonical_service",
    "destination_canonical_revision",
    "destination_cluster",
    "request_protocol",
    "response_flags",
    "connection_security_policy",
];

/// `istio_tcp_*` with Istio's labels and `mutual_tls` at both ends, in a text that promtool finds no fault in.
pub fn metrics_lock(stage: &Stage<'_>) -> Result<()> {
    let shop = stage.shop("STRICT")?;
    let _nginx = shop.nginx()?;
    for _ in 0..3 {
        shop.get(&shop.customer)?.expect_ok(GREETING)?;
    }
    for (node, reporter) in [(NodeName::A, "source"), (NodeName::B, "destination")] {
        let labels = [
            ("reporter", reporter),
            ("source_workload", "customer"),
            ("destination_workload", "web"),
            ("connection_security_policy", "mutual_tls"),
        ];
        for (family, least) in [
            ("istio_tcp_connections_opened_total", 3.0),
            ("istio_tcp_connections_closed_total", 3.0),
            ("istio_tcp_sent_bytes_total", 3.0 * 100.0),
            ("istio_tcp_received_bytes_total", 3.0 * 60.0),
        ] {
            shop.metric(node, family, &labels, least)?;
        }
        expect_labels(shop.agents.on(node))?;
        promtool(&shop, shop.agents.on(node))?;
    }
    Ok(())
}

fn expect_labels(agent: &Agent) -> Result<()> {
    let metrics = agent.metrics()?;
    let expected: BTreeSet<_> = LABELS.into_iter().collect();
    for sample in &metrics.samples {
        if !sample.name.starts_with("istio_tcp_") {
            continue;
        }
        let labels: BTreeSet<_> = sample.labels.keys().map(String::as_str).collect();
        ensure!(labels == expected, "labels: {sample:?}");
        ensure!(sample.labels["request_protocol"] == "tcp", "{sample:?}");
    }
    Ok(())
}

fn promtool(shop: &Shop<'_>, agent: &Agent) -> Result<()> {
    apps::require("promtool")?;
    let file = shop.world().scratch("metrics")?.join("metrics.txt");
    std::fs::write(&file, agent.metrics_text()?)?;
    let mut command = enter::command(None, None, "promtool")?;
    command.args(["check", "metrics"]);
    command.stdin(File::open(&file)?);
    let output = Process::spawn("promtool", &shop.world().logs, command)?
        .wait(Duration::from_secs(20))
        .context("promtool")?;
    if output.code() != Some(0) || !output.stderr.trim().is_empty() {
        bail!("promtool: {}", output.describe());
    }
    Ok(())
}
