//! What a cluster's controllers do, at once: what every namespace has, the end of namespaces, custom resources that
//! are defined, and a kubelet that ends pods, if one is played.

use std::{sync::Arc, time::Duration};

use serde_json::{Value, json};

use super::{Deletion, Place, create, delete};
use crate::{
    resources::Resource,
    server::Cluster,
    status::Status,
    store::{Change, Stored},
};

/// After a creation.
pub fn created(
    cluster: &Arc<Cluster>,
    resource: &Resource,
    made: &Arc<Stored>,
) -> Result<(), Status> {
    match resource.id().as_str() {
        "namespaces" => furnish(cluster, &made.name),
        "customresourcedefinitions.apiextensions.k8s.io" => changed(cluster, resource, made),
        _ => Ok(()),
    }
}

/// What controllers put into every namespace.
fn furnish(cluster: &Arc<Cluster>, namespace: &str) -> Result<(), Status> {
    let roots = json!({"metadata": {"name": "kube-root-ca.crt"}, "data": {"ca.crt": cluster.authority.root_pem()}});
    let account = json!({"metadata": {"name": "default"}});
    for (id, object) in [("serviceaccounts", account), ("configmaps", roots)] {
        let Some(resource) = cluster.registry.by_id(id) else {
            continue;
        };
        let place = Place {
            resource: &resource,
            version: "v1",
            namespace,
            name: "",
            is_dry_run: false,
        };
        create(cluster, place, object)?;
    }
    Ok(())
}

/// After a change.
pub fn changed(cluster: &Cluster, resource: &Resource, object: &Stored) -> Result<(), Status> {
    if resource.id() == "customresourcedefinitions.apiextensions.k8s.io"
        && let Some(defined) = Resource::defined_by(&object.value()?)
    {
        cluster.registry.define(defined);
    }
    Ok(())
}

/// After a deletion.
pub fn gone(cluster: &Cluster, resource: &Resource, object: &Stored) -> Result<(), Status> {
    if resource.id() == "customresourcedefinitions.apiextensions.k8s.io"
        && let Some(defined) = Resource::defined_by(&object.value()?)
    {
        cluster.registry.undefine(&defined.id());
        cluster.store.drop_table(&defined.id());
    }
    Ok(())
}

/// When something got a deletion timestamp: a namespace is emptied, and a kubelet, if one is played, ends pods.
pub fn leaving(cluster: &Arc<Cluster>, resource: &Resource, object: &Arc<Stored>) {
    let (cluster, object) = (Arc::clone(cluster), Arc::clone(object));
    match (resource.id().as_str(), cluster.options.kubelet) {
        ("namespaces", _) => {
            tokio::spawn(empty(cluster, object.name.to_string()));
        }
        ("pods", Some(delay)) => {
            tokio::spawn(end(cluster, object, delay));
        }
        _ => {}
    }
}

async fn end(cluster: Arc<Cluster>, pod: Arc<Stored>, delay: Duration) {
    tokio::time::sleep(delay).await;
    let Some(pods) = cluster.registry.by_id("pods") else {
        return;
    };
    let metadata = pod.metadata().unwrap_or_default();
    let uid = metadata
        .get("uid")
        .and_then(Value::as_str)
        .map(str::to_owned);
    let deletion = Deletion {
        grace: Some(0),
        uid,
        version: None,
    };
    let place = Place {
        resource: &pods,
        version: "v1",
        namespace: &pod.namespace,
        name: &pod.name,
        is_dry_run: false,
    };
    let _ = delete(&cluster, place, &deletion);
}

/// Deletes what a namespace holds, then the namespace.
async fn empty(cluster: Arc<Cluster>, namespace: String) {
    let deletion = Deletion {
        grace: Some(0),
        ..Deletion::default()
    };
    loop {
        let mut left = 0;
        for resource in cluster
            .registry
            .all()
            .iter()
            .filter(|resource| resource.is_namespaced)
        {
            let held: Vec<_> = {
                let state = cluster.store.read();
                let table = state.table(&resource.id());
                table.map_or_else(Vec::new, |table| {
                    table
                        .at(state.version, &namespace, "")
                        .into_iter()
                        .cloned()
                        .collect()
                })
            };
            left += held.len();
            for object in held {
                let version = resource.versions.first().map_or("v1", String::as_str);
                let place = Place {
                    resource,
                    version,
                    namespace: &namespace,
                    name: &object.name,
                    is_dry_run: false,
                };
                let _ = delete(&cluster, place, &deletion);
            }
        }
        if left == 0 {
            break;
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    let _ = cluster
        .store
        .change("namespaces", &namespace, |_, _| Ok(Change::Delete));
}
