//! Objects as an API server has them.

use std::net::IpAddr;

use jiff::Timestamp;
use serde_json::{Value, json};

use crate::pod::PodSpec;

pub(super) fn object(spec: &PodSpec, uid: &str, addresses: &[IpAddr]) -> Value {
    let PodSpec {
        namespace,
        name,
        node,
        app,
        ..
    } = spec;
    let ports = spec.ports.iter();
    let ports: Vec<_> = ports
        .map(|(name, port)| json!({"name": name, "containerPort": port}))
        .collect();
    let mut container = json!({"name": "main", "image": "example/main", "ports": ports});
    for (field, value) in &spec.container {
        container[field] = value.clone();
    }
    let mut object = json!({
        "apiVersion": "v1", "kind": "Pod",
        "metadata": metadata(namespace, name, uid, &json!({"app": app})),
        "spec": {
            "nodeName": node.name(), "serviceAccountName": app,
            "containers": [container],
        },
        "status": {"phase": "Pending"},
    });
    if let Some(inject) = spec.inject {
        object["metadata"]["annotations"] = json!({"sealane.dev/inject": inject.to_string()});
    }
    if let Some(first) = addresses.first() {
        let all: Vec<_> = addresses.iter().map(|ip| json!({"ip": ip})).collect();
        object["status"] = json!({
            "phase": "Running", "podIP": first, "podIPs": all,
            "conditions": [{"type": "Ready", "status": "True"}],
        });
    }
    object
}

pub(super) fn metadata(namespace: &str, name: &str, uid: &str, labels: &Value) -> Value {
    let mut metadata = json!({
        "name": name, "uid": uid, "labels": labels,
        "creationTimestamp": Timestamp::now().strftime("%Y-%m-%dT%H:%M:%SZ").to_string(),
    });
    if !namespace.is_empty() {
        metadata["namespace"] = json!(namespace);
    }
    metadata
}
