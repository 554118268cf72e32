//! A running pod of the size that real ones have: about 8 KiB of JSON, of which managed fields are a good part.

use std::net::{Ipv4Addr, Ipv6Addr};

use serde_json::{Value, json};

use super::Population;
use crate::objects;

/// Pods of one workload.
pub const REPLICAS: u32 = 25;

pub fn node_name(index: u32) -> String {
    format!("node-{index:04}.cluster.example")
}

/// What a workload, its service account and its service are called.
pub fn app_name(workload: u32) -> String {
    format!("workload-{workload:05}")
}

pub fn namespace_of(workload: u32, of: Population) -> String {
    format!("load-{}", workload % of.namespaces.max(1))
}

/// Of a pod, of both families. Unique below 16 million pods.
pub fn addresses(index: u32) -> (Ipv4Addr, Ipv6Addr) {
    let v4 = Ipv4Addr::from_bits(Ipv4Addr::new(10, 0, 0, 0).to_bits() + index + 1);
    let first = Ipv6Addr::new(0xfd01, 0, 0, 0, 0, 0, 0, 1);
    (v4, Ipv6Addr::from_bits(first.to_bits() + u128::from(index)))
}

/// Names are as those of deployments' pods; each round has others, so that a pod's successor is no namesake.
pub fn name(index: u32, round: u32) -> String {
    let workload = workload(index, round);
    let letters = index.wrapping_mul(40_503).wrapping_add(round * 7) % 100_000;
    format!(
        "{}-{}-{letters:05}{index:x}",
        app_name(workload),
        hash(workload)
    )
}

/// In each round the pod with this number is of another workload.
pub fn workload(index: u32, round: u32) -> u32 {
    index / REPLICAS + round
}

fn hash(workload: u32) -> String {
    format!("{:08x}", workload.wrapping_mul(2_654_435_761))
}

/// The pod with this number, in a round.
pub fn running(index: u32, round: u32, of: Population) -> Value {
    let workload = workload(index, round);
    let (app, hash) = (app_name(workload), hash(workload));
    let now = objects::now();
    let labels = json!({
        "app": app, "app.kubernetes.io/name": app, "app.kubernetes.io/part-of": "shop", "app.kubernetes.io/version": "v1.27.3",
        "pod-template-hash": hash, "version": "v1", "team": format!("team-{}", workload % 40),
    });
    let node = index % of.nodes.max(1);
    json!({
        "apiVersion": "v1", "kind": "Pod",
        "metadata": {
            "name": name(index, round), "generateName": format!("{app}-{hash}-"),
            "namespace": namespace_of(workload, of), "uid": objects::uid(), "creationTimestamp": now, "generation": 1,
            "labels": labels, "annotations": annotations(&addresses(index).0.to_string()),
            "ownerReferences": [{
                "apiVersion": "apps/v1", "kind": "ReplicaSet", "name": format!("{app}-{hash}"), "uid": objects::uid(),
                "controller": true, "blockOwnerDeletion": true,
            }],
            "managedFields": managed(&now),
        },
        "spec": spec(&app, &node_name(node)),
        "status": status(index, node, &now),
    })
}

fn annotations(address: &str) -> Value {
    json!({
        "cni.projectcalico.org/podIP": format!("{address}/32"), "cni.projectcalico.org/podIPs": format!("{address}/32"),
        "prometheus.io/scrape": "true", "prometheus.io/port": "9090", "prometheus.io/path": "/metrics",
        "checksum/config": "6f1ed002ab5595859014ebf0951522d9b4a1f2b0f1d5a9a1c9d0c3b2a1f0e9d8",
    })
}

fn managed(now: &str) -> Value {
    let container = json!({
        ".": {}, "f:image": {}, "f:imagePullPolicy": {}, "f:name": {}, "f:resources": {".": {}, "f:limits": {".": {}, "f:cpu": {}, "f:memory": {}},
        "f:requests": {".": {}, "f:cpu": {}, "f:memory": {}}}, "f:terminationMessagePath": {}, "f:terminationMessagePolicy": {},
        "f:livenessProbe": {".": {}, "f:failureThreshold": {}, "f:httpGet": {".": {}, "f:path": {}, "f:port": {}, "f:scheme": {}}},
        "f:env": {".": {}, "k:{\"name\":\"LOG_LEVEL\"}": {".": {}, "f:name": {}, "f:value": {}}},
        "f:ports": {".": {}, "k:{\"containerPort\":8080,\"protocol\":\"TCP\"}": {".": {}, "f:containerPort": {}, "f:protocol": {}}},
    });
    let condition = json!({".": {}, "f:lastProbeTime": {}, "f:lastTransitionTime": {}, "f:status": {}, "f:type": {}});
    json!([
        {"manager": "kube-controller-manager", "operation": "Update", "apiVersion": "v1", "time": now, "fieldsType": "FieldsV1",
         "fieldsV1": {"f:metadata": {"f:annotations": {".": {}, "f:checksum/config": {}}, "f:generateName": {}, "f:labels": {".": {}, "f:app": {}}},
                      "f:spec": {"f:containers": {"k:{\"name\":\"main\"}": container}, "f:dnsPolicy": {}, "f:restartPolicy": {}}}},
        {"manager": "kubelet", "operation": "Update", "apiVersion": "v1", "time": now, "fieldsType": "FieldsV1", "subresource": "status",
         "fieldsV1": {"f:status": {"f:conditions": {"k:{\"type\":\"ContainersReady\"}": condition, "k:{\"type\":\"Initialized\"}": condition,
                      "k:{\"type\":\"Ready\"}": condition}, "f:containerStatuses": {}, "f:hostIP": {}, "f:phase": {}, "f:podIP": {}}}},
    ])
}

fn container(name: &str, app: &str, port: u16) -> Value {
    let probe = |path: &str| {
        json!({
            "httpGet": {"path": path, "port": port, "scheme": "HTTP"}, "initialDelaySeconds": 5, "timeoutSeconds": 1,
            "periodSeconds": 10, "successThreshold": 1, "failureThreshold": 3,
        })
    };
    let from_field = |name: &str, path: &str| json!({"name": name, "valueFrom": {"fieldRef": {"apiVersion": "v1", "fieldPath": path}}});
    json!({
        "name": name, "image": format!("registry.example.com/shop/{app}:v1.27.3"),
        "args": ["--config=/etc/app/config.yaml", "--listen=:8080", "--metrics=:9090"],
        "ports": [{"name": "http", "containerPort": port, "protocol": "TCP"}],
        "env": [
            {"name": "LOG_LEVEL", "value": "info"}, {"name": "UPSTREAM", "value": "http://upstream.shop.svc.cluster.local:8080"},
            from_field("POD_NAME", "metadata.name"), from_field("POD_NAMESPACE", "metadata.namespace"),
            from_field("POD_IP", "status.podIP"), from_field("NODE_NAME", "spec.nodeName"),
        ],
        "resources": {"limits": {"cpu": "500m", "memory": "512Mi"}, "requests": {"cpu": "100m", "memory": "128Mi"}},
        "volumeMounts": [
            {"name": "config", "readOnly": true, "mountPath": "/etc/app"},
            {"name": "kube-api-access", "readOnly": true, "mountPath": "/var/run/secrets/kubernetes.io/serviceaccount"},
        ],
        "livenessProbe": probe("/healthz"), "readinessProbe": probe("/readyz"),
        "terminationMessagePath": "/dev/termination-log", "terminationMessagePolicy": "File", "imagePullPolicy": "IfNotPresent",
        "securityContext": {"allowPrivilegeEscalation": false, "readOnlyRootFilesystem": true, "runAsNonRoot": true,
                            "capabilities": {"drop": ["ALL"]}},
    })
}

fn spec(app: &str, node: &str) -> Value {
    let token = json!({"serviceAccountToken": {"expirationSeconds": 3607, "path": "token"}});
    let roots = json!({"configMap": {"name": "kube-root-ca.crt", "items": [{"key": "ca.crt", "path": "ca.crt"}]}});
    json!({
        "volumes": [
            {"name": "config", "configMap": {"name": app, "defaultMode": 420}},
            {"name": "kube-api-access", "projected": {"sources": [token, roots], "defaultMode": 420}},
        ],
        "containers": [container("main", app, 8080), container("metrics", app, 9090)],
        "restartPolicy": "Always", "terminationGracePeriodSeconds": 30, "dnsPolicy": "ClusterFirst",
        "serviceAccountName": app, "serviceAccount": app, "nodeName": node, "securityContext": {"fsGroup": 1000},
        "affinity": {"podAntiAffinity": {"preferredDuringSchedulingIgnoredDuringExecution": [
            {"weight": 100, "podAffinityTerm": {"labelSelector": {"matchLabels": {"app": app}}, "topologyKey": "kubernetes.io/hostname"}}]}},
        "schedulerName": "default-scheduler", "priority": 0, "enableServiceLinks": true, "preemptionPolicy": "PreemptLowerPriority",
        "tolerations": [
            {"key": "node.kubernetes.io/not-ready", "operator": "Exists", "effect": "NoExecute", "tolerationSeconds": 300},
            {"key": "node.kubernetes.io/unreachable", "operator": "Exists", "effect": "NoExecute", "tolerationSeconds": 300},
        ],
    })
}

fn status(index: u32, node: u32, now: &str) -> Value {
    let (v4, v6) = addresses(index);
    let host = Ipv4Addr::from_bits(Ipv4Addr::new(192, 168, 0, 1).to_bits() + node);
    let conditions = [
        "PodReadyToStartContainers",
        "Initialized",
        "Ready",
        "ContainersReady",
        "PodScheduled",
    ];
    let conditions = conditions.map(|kind| {
        json!({"type": kind, "status": "True", "lastProbeTime": null, "lastTransitionTime": now, "observedGeneration": 1})
    });
    let containers = ["main", "metrics"].map(|name| {
        let digest = format!("{:032x}{:032x}", fastrand::u128(..), fastrand::u128(..));
        json!({
            "name": name, "state": {"running": {"startedAt": now}}, "lastState": {}, "ready": true, "restartCount": 0,
            "image": "registry.example.com/shop/app:v1.27.3", "imageID": format!("registry.example.com/shop/app@sha256:{digest}"),
            "containerID": format!("containerd://{digest}"), "started": true,
        })
    });
    json!({
        "phase": "Running", "conditions": conditions, "hostIP": host, "hostIPs": [{"ip": host}],
        "podIP": v4, "podIPs": [{"ip": v4}, {"ip": v6}], "startTime": now, "containerStatuses": containers, "qosClass": "Burstable",
    })
}
