//! A service and its endpoint slices, as the controllers write them: about 1 KiB, and 300 bytes for each endpoint.

use std::net::IpAddr;

use serde_json::{Value, json};

use super::{Population, pod};
use crate::objects;

/// The service of a workload, and a slice for each family. All pods of the first round are its endpoints.
pub fn with_slices(workload: u32, of: Population) -> Vec<(&'static str, Value)> {
    let (app, namespace) = (pod::app_name(workload), pod::namespace_of(workload, of));
    let uid = objects::uid();
    let mut made = vec![("services", service(workload, &namespace, &uid))];
    let first = workload * pod::REPLICAS;
    let pods = first..of.pods.min(first + pod::REPLICAS);
    for family in ["IPv4", "IPv6"] {
        let endpoints = pods.clone().map(|index| {
            let (v4, v6) = pod::addresses(index);
            let address = if family == "IPv4" {
                IpAddr::V4(v4)
            } else {
                v6.into()
            };
            endpoint(index, &address, &namespace, of)
        });
        let endpoints: Vec<_> = endpoints.collect();
        let owner = json!([{
            "apiVersion": "v1", "kind": "Service", "name": app, "uid": uid, "controller": true, "blockOwnerDeletion": true,
        }]);
        let suffix = family.to_lowercase();
        let mut metadata = metadata(&format!("{app}-{suffix}"), &namespace, &objects::uid());
        metadata["generateName"] = json!(format!("{app}-"));
        metadata["ownerReferences"] = owner;
        metadata["labels"] = json!({
            "kubernetes.io/service-name": app, "app": app,
            "endpointslice.kubernetes.io/managed-by": "endpointslice-controller.k8s.io",
        });
        made.push((
            "endpointslices.discovery.k8s.io",
            json!({
                "metadata": metadata, "addressType": family, "endpoints": endpoints,
                "ports": [{"name": "http", "port": 8080, "protocol": "TCP"}, {"name": "metrics", "port": 9090, "protocol": "TCP"}],
            }),
        ));
    }
    made
}

fn endpoint(index: u32, address: &IpAddr, namespace: &str, of: Population) -> Value {
    json!({
        "addresses": [address], "nodeName": pod::node_name(index % of.nodes.max(1)), "zone": format!("zone-{}", index % 3),
        "conditions": {"ready": true, "serving": true, "terminating": false},
        "targetRef": {"kind": "Pod", "namespace": namespace, "name": pod::name(index, 0), "uid": objects::uid()},
    })
}

fn service(workload: u32, namespace: &str, uid: &str) -> Value {
    let app = pod::app_name(workload);
    let v4 = std::net::Ipv4Addr::from_bits(
        std::net::Ipv4Addr::new(10, 96, 0, 0).to_bits() + workload + 10,
    );
    let v6 = format!("fd96::{:x}", workload + 10);
    let mut metadata = metadata(&app, namespace, uid);
    metadata["labels"] = json!({"app": app, "app.kubernetes.io/part-of": "shop"});
    json!({
        "metadata": metadata,
        "spec": {
            "ports": [
                {"name": "http", "protocol": "TCP", "port": 80, "targetPort": "http"},
                {"name": "metrics", "protocol": "TCP", "port": 9090, "targetPort": 9090},
            ],
            "selector": {"app": app}, "clusterIP": v4, "clusterIPs": [v4, v6], "type": "ClusterIP", "sessionAffinity": "None",
            "ipFamilies": ["IPv4", "IPv6"], "ipFamilyPolicy": "PreferDualStack", "internalTrafficPolicy": "Cluster",
        },
        "status": {"loadBalancer": {}},
    })
}

fn metadata(name: &str, namespace: &str, uid: &str) -> Value {
    let now = objects::now();
    json!({
        "name": name, "namespace": namespace, "uid": uid, "creationTimestamp": now,
        "managedFields": [{
            "manager": "kube-controller-manager", "operation": "Update", "apiVersion": "v1", "time": now, "fieldsType": "FieldsV1",
            "fieldsV1": {"f:metadata": {"f:labels": {".": {}, "f:app": {}}}, "f:spec": {"f:ports": {}, "f:selector": {}}},
        }],
    })
}
