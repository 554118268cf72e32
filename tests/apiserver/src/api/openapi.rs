//! As much of OpenAPI v3 as `kubectl` needs to leave validation to the server: which paths take `fieldValidation`.

use serde_json::{Map, Value, json};

use crate::{resources::Resource, server::Cluster};

/// The index, or the document of one group and version.
pub fn document(cluster: &Cluster, parts: &[&str]) -> Option<Value> {
    let resources = cluster.registry.all();
    if parts.is_empty() {
        let mut paths = Map::new();
        for resource in &resources {
            for version in &resource.versions {
                let path = base(resource, version);
                let url = format!("/openapi/v3/{path}");
                paths.insert(path, json!({"serverRelativeURL": url}));
            }
        }
        return Some(json!({"paths": paths}));
    }
    let wanted = parts.join("/");
    let mut paths = Map::new();
    for resource in &resources {
        let version = resource
            .versions
            .iter()
            .find(|version| base(resource, version) == wanted);
        let Some(version) = version else { continue };
        let scope = if resource.is_namespaced {
            "namespaces/{namespace}/"
        } else {
            ""
        };
        let path = format!("/{wanted}/{scope}{}/{{name}}", resource.plural);
        paths.insert(path, operation(resource, version));
    }
    if paths.is_empty() {
        return None;
    }
    let info = json!({"title": "Kubernetes", "version": "v1"});
    Some(json!({"openapi": "3.0.0", "info": info, "paths": paths, "components": {"schemas": {}}}))
}

fn base(resource: &Resource, version: &str) -> String {
    if resource.group.is_empty() {
        format!("api/{version}")
    } else {
        format!("apis/{}/{version}", resource.group)
    }
}

fn operation(resource: &Resource, version: &str) -> Value {
    let kind = json!({"group": resource.group, "version": version, "kind": resource.kind});
    let parameter = |name: &str| json!({"name": name, "in": "query", "schema": {"type": "string", "uniqueItems": true}});
    json!({"patch": {
        "parameters": [parameter("dryRun"), parameter("fieldManager"), parameter("fieldValidation")],
        "responses": {"200": {"description": "OK"}},
        "x-kubernetes-action": "patch", "x-kubernetes-group-version-kind": kind,
    }})
}
