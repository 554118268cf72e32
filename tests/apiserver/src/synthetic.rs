//! Objects in numbers, for measurements, and Istio's custom resource definitions.

mod pod;
mod service;

use std::sync::Arc;

use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use crate::{
    objects::{self, Deletion, Place},
    server::Cluster,
    status::Status,
    store::{Change, key},
};

/// Nodes, and running pods spread over them, with the services of these.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Population {
    pub nodes: u32,
    /// The number of the first pod that is made: those before it are there already.
    #[serde(default)]
    pub first: u32,
    pub pods: u32,
    /// Over which the pods are spread: `load-0` and so on.
    pub namespaces: u32,
}

impl Population {
    /// # Errors
    /// When an object can't be made.
    pub fn make(self, cluster: &Arc<Cluster>) -> Result<(), Status> {
        for index in 0..self.nodes {
            let name = pod::node_name(index);
            let status = json!({"conditions": [{"type": "Ready", "status": "True"}]});
            let labels = json!({"kubernetes.io/hostname": name, "kubernetes.io/os": "linux"});
            make(
                cluster,
                "nodes",
                "",
                json!({"metadata": {"name": name, "labels": labels}, "status": status}),
            )?;
        }
        for index in 0..self.namespaces {
            let labels = json!({"sealane.dev/inject": "true"});
            let name = format!("load-{index}");
            make(
                cluster,
                "namespaces",
                "",
                json!({"metadata": {"name": name, "labels": labels}}),
            )?;
        }
        for index in self.first..self.pods {
            put(cluster, "pods", pod::running(index, 0, self))?;
        }
        let workloads = self.first / pod::REPLICAS..self.pods.div_ceil(pod::REPLICAS);
        for workload in workloads {
            for (id, object) in service::with_slices(workload, self) {
                put(cluster, id, object)?;
            }
        }
        Ok(())
    }

    /// Deletes the pod with this number of the round before; another of another workload has its addresses at once.
    ///
    /// # Errors
    /// When an object can't be made.
    pub fn succeed(self, cluster: &Cluster, index: u32, round: u32) -> Result<(), Status> {
        let before = pod::running(index, round.saturating_sub(1), self);
        remove(cluster, &before)?;
        put(cluster, "pods", pod::running(index, round, self))
    }
}

fn make(cluster: &Arc<Cluster>, id: &str, namespace: &str, object: Value) -> Result<(), Status> {
    let resource = cluster
        .registry
        .by_id(id)
        .ok_or_else(Status::no_such_path)?;
    let place = Place {
        resource: &resource,
        version: "v1",
        namespace,
        name: "",
        is_dry_run: false,
    };
    match objects::create(cluster, place, object) {
        Err(status) if status.reason == "AlreadyExists" => Ok(()),
        made => made.map(|_| ()),
    }
}

/// Stores an object as it is, by its `apiVersion` and `kind`.
///
/// # Errors
/// When there is no such kind.
pub fn replace(cluster: &Cluster, object: Value) -> Result<(), Status> {
    put(cluster, &id_of(cluster, &object)?, object)
}

/// Removes the object that has this one's kind and name.
///
/// # Errors
/// When there is no such kind.
pub fn remove(cluster: &Cluster, object: &Value) -> Result<(), Status> {
    let (id, at) = (id_of(cluster, object)?, key_of(object));
    let removed = cluster.store.change(&id, &at, |_, current| match current {
        Some(_) => Ok(Change::Delete),
        None => Ok(Change::Keep),
    });
    removed.map(|_| ())
}

fn id_of(cluster: &Cluster, object: &Value) -> Result<String, Status> {
    let api_version = object["apiVersion"].as_str().unwrap_or_default();
    let group = api_version.rsplit_once('/').map_or("", |(group, _)| group);
    let all = cluster.registry.all();
    let found = all
        .iter()
        .find(|resource| resource.group == group && object["kind"] == *resource.kind);
    found
        .map(|resource| resource.id())
        .ok_or_else(Status::no_such_path)
}

fn key_of(object: &Value) -> String {
    let text = |key: &str| object["metadata"][key].as_str().unwrap_or_default();
    key(text("namespace"), text("name"))
}

/// Stores an object as it is, with its status.
fn put(cluster: &Cluster, id: &str, object: Value) -> Result<(), Status> {
    let at = key_of(&object);
    cluster
        .store
        .change(id, &at, |_, _| Ok(Change::Put(object)))
        .map(|_| ())
}

/// Group, plural, kind, the versions that are served with the preferred one first.
const ISTIO: [(&str, &str, &str, &[&str]); 7] = [
    (
        "security.istio.io",
        "peerauthentications",
        "PeerAuthentication",
        &["v1", "v1beta1"],
    ),
    (
        "security.istio.io",
        "authorizationpolicies",
        "AuthorizationPolicy",
        &["v1", "v1beta1"],
    ),
    (
        "networking.istio.io",
        "destinationrules",
        "DestinationRule",
        &["v1", "v1beta1", "v1alpha3"],
    ),
    (
        "networking.istio.io",
        "virtualservices",
        "VirtualService",
        &["v1", "v1beta1", "v1alpha3"],
    ),
    (
        "networking.istio.io",
        "serviceentries",
        "ServiceEntry",
        &["v1", "v1beta1", "v1alpha3"],
    ),
    (
        "networking.istio.io",
        "gateways",
        "Gateway",
        &["v1", "v1beta1", "v1alpha3"],
    ),
    (
        "networking.istio.io",
        "sidecars",
        "Sidecar",
        &["v1", "v1beta1", "v1alpha3"],
    ),
];

/// Defines Istio's resources, or removes the definitions with all that they hold.
///
/// # Errors
/// When a definition can't be made or removed.
pub fn istio(cluster: &Arc<Cluster>, on: bool) -> Result<(), Status> {
    let id = "customresourcedefinitions.apiextensions.k8s.io";
    let resource = cluster
        .registry
        .by_id(id)
        .ok_or_else(Status::no_such_path)?;
    for (group, plural, kind, versions) in ISTIO {
        let name = format!("{plural}.{group}");
        if on {
            make(
                cluster,
                id,
                "",
                definition(&name, group, plural, kind, versions),
            )?;
            continue;
        }
        let place = Place {
            resource: &resource,
            version: "v1",
            namespace: "",
            name: &name,
            is_dry_run: false,
        };
        match objects::delete(cluster, place, &Deletion::default()) {
            Err(status) if status.code != 404 => return Err(status),
            _ => {}
        }
    }
    Ok(())
}

fn definition(name: &str, group: &str, plural: &str, kind: &str, versions: &[&str]) -> Value {
    let versions: Vec<Value> = versions
        .iter()
        .enumerate()
        .map(|(index, version)| {
            let schema = json!({"type": "object", "x-kubernetes-preserve-unknown-fields": true});
            json!({
                "name": version, "served": true, "storage": index == 0, "subresources": {"status": {}},
                "schema": {"openAPIV3Schema": schema},
            })
        })
        .collect();
    json!({
        "metadata": {"name": name},
        "spec": {
            "group": group, "scope": "Namespaced", "versions": versions,
            "names": {"plural": plural, "singular": kind.to_lowercase(), "kind": kind, "listKind": format!("{kind}List")},
        },
    })
}
