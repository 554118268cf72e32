//! The names that Istio's standard metrics give a workload
//! (<https://istio.io/latest/docs/reference/config/metrics/>).

use crate::{
    control::objects::{Owner, PodFacts},
    workload::TelemetryNames,
};

const UNKNOWN: &str = "unknown";

pub fn names(pod: &PodFacts) -> TelemetryNames {
    let first = |keys: &[&str]| {
        keys.iter()
            .find_map(|key| pod.labels.get(*key).filter(|value| !value.is_empty()))
            .cloned()
    };
    let workload = first(&["service.istio.io/workload-name"]).unwrap_or_else(|| owner_name(pod));
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
fn owner_name(pod: &PodFacts) -> String {
    let Some(Owner { kind, name }) = &pod.owner else {
        return pod.name.name.to_string();
    };
    let hash = pod.labels.get("pod-template-hash");
    let deployment = hash
        .filter(|hash| kind == "ReplicaSet" && !hash.is_empty())
        .and_then(|hash| name.strip_suffix(hash.as_str())?.strip_suffix('-'));
    deployment.unwrap_or(name).to_owned()
}
