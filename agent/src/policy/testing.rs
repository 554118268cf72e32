//! What the tests of policy have in common.

use std::sync::Arc;

use super::Labels;
use crate::workload::{ObjectName, TelemetryNames, Workload};

/// From `KEY=VALUE,…`.
pub(crate) fn labels(text: &str) -> Labels {
    text.split(',')
        .filter_map(|pair| pair.split_once('='))
        .map(|(key, value)| (key.to_owned(), value.to_owned()))
        .collect()
}

pub(crate) fn workload(namespace: &str, own: &str) -> Workload {
    let unknown = String::from("unknown");
    Workload {
        name: ObjectName::new(namespace, "pod"),
        identity: format!("spiffe://cluster.local/ns/{namespace}/sa/default")
            .parse()
            .unwrap(),
        node: "a".into(),
        addresses: ["10.0.0.1".parse().unwrap()].into(),
        labels: Arc::new(labels(own)),
        container_ports: [].into(),
        probe_ports: [].into(),
        enrolled: true,
        sandbox: None,
        uid: None,
        telemetry: Arc::new(TelemetryNames {
            workload: unknown.clone(),
            canonical_service: unknown.clone(),
            canonical_revision: unknown.clone(),
            app: unknown.clone(),
            version: unknown,
        }),
    }
}
