//! The names that Istio's standard metrics give a workload
//! (<https://istio.io/latest/docs/reference/config/metrics/>).

use std::collections::BTreeMap;

use super::api::OwnerReference;
use crate::workload::{ObjectName, TelemetryNames};

const UNKNOWN: &str = "unknown";

/// Of a pod, by its labels and its controller.
pub fn names(
    pod: &ObjectName,
    labels: &BTreeMap<String, String>,
    owner: Option<&OwnerReference>,
) -> TelemetryNames {
    let first = |keys: &[&str]| {
        keys.iter()
            .find_map(|key| labels.get(*key).filter(|value| !value.is_empty()))
            .cloned()
    };
    let workload = first(&["service.istio.io/workload-name"])
        .unwrap_or_else(|| owner_name(pod, labels, owner));
    TelemetryNames {
        canonical_service: first(&[
            "service.istio.io/canonical-name",
            "app.kubernetes.io/name",
            "app",
        ])
        .unwrap_or_else(|| workload.clone()),
        canonical_revision: first(&[
            "service.istio.io/canonical-revision",
            "app.kubernetes.io/version",
            "version",
        ])
        .unwrap_or_else(|| "latest".to_owned()),
        app: first(&["app"]).unwrap_or_else(|| UNKNOWN.to_owned()),
        version: first(&["version"]).unwrap_or_else(|| UNKNOWN.to_owned()),
        workload,
    }
}

/// A deployment's replica sets are called `DEPLOYMENT-HASH`, and their pods carry the hash as a label.
fn owner_name(
    pod: &ObjectName,
    labels: &BTreeMap<String, String>,
    owner: Option<&OwnerReference>,
) -> String {
    let Some(OwnerReference { kind, name, .. }) = owner else {
        return pod.name.to_string();
    };
    let hash = labels.get("pod-template-hash");
    let deployment = hash
        .filter(|hash| kind == "ReplicaSet" && !hash.is_empty())
        .and_then(|hash| name.strip_suffix(hash.as_str())?.strip_suffix('-'));
    deployment.unwrap_or(name).to_owned()
}
