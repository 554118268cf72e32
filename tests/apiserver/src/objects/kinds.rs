//! What single resources add to the common rules: defaults, and what is wrong with them.

use base64::{Engine as _, prelude::BASE64_STANDARD};
use serde_json::{Value, json};

use crate::{resources::Resource, server::Cluster};

/// `terminationGracePeriodSeconds` of a pod that doesn't say.
const GRACE: u64 = 30;

/// Fills in what the real server's defaults and admission would.
pub fn default(cluster: &Cluster, resource: &Resource, object: &mut Value) {
    let id = resource.id();
    if resource.has_status
        && !matches!(
            id.as_str(),
            "nodes" | "customresourcedefinitions.apiextensions.k8s.io"
        )
    {
        object
            .as_object_mut()
            .map(|members| members.remove("status"));
    }
    match id.as_str() {
        "pods" => default_pod(object),
        "services" => default_service(cluster, object),
        "namespaces" => {
            let name = object["metadata"]["name"].clone();
            object["metadata"]["labels"]["kubernetes.io/metadata.name"] = name;
            object["spec"]["finalizers"] = json!(["kubernetes"]);
            object["status"]["phase"] = json!("Active");
        }
        "secrets" => set(object, "type", json!("Opaque")),
        "customresourcedefinitions.apiextensions.k8s.io" => {
            object["status"] = json!({
                "conditions": [
                    {"type": "NamesAccepted", "status": "True", "reason": "NoConflicts", "message": "no conflicts found"},
                    {"type": "Established", "status": "True", "reason": "InitialNamesAccepted", "message": ""},
                ],
                "acceptedNames": object["spec"]["names"],
            });
        }
        _ => {}
    }
}

fn set(object: &mut Value, key: &str, value: Value) {
    if object[key].is_null() {
        object[key] = value;
    }
}

fn default_pod(pod: &mut Value) {
    let spec = &mut pod["spec"];
    let account = spec["serviceAccountName"]
        .as_str()
        .unwrap_or("default")
        .to_owned();
    set(spec, "serviceAccountName", json!(account));
    set(spec, "serviceAccount", json!(account));
    set(spec, "restartPolicy", json!("Always"));
    set(spec, "dnsPolicy", json!("ClusterFirst"));
    set(spec, "schedulerName", json!("default-scheduler"));
    set(spec, "terminationGracePeriodSeconds", json!(GRACE));
    set(spec, "securityContext", json!({}));
    set(spec, "enableServiceLinks", json!(true));
    for containers in ["initContainers", "containers"] {
        for container in spec[containers]
            .as_array_mut()
            .into_iter()
            .flatten()
            .filter(|one| one.is_object())
        {
            set(container, "imagePullPolicy", json!("IfNotPresent"));
            set(container, "resources", json!({}));
            set(
                container,
                "terminationMessagePath",
                json!("/dev/termination-log"),
            );
            set(container, "terminationMessagePolicy", json!("File"));
            default_protocols(&mut container["ports"]);
        }
    }
    pod["status"] = json!({"phase": "Pending", "qosClass": "BestEffort"});
}

fn default_protocols(ports: &mut Value) {
    for port in ports
        .as_array_mut()
        .into_iter()
        .flatten()
        .filter(|port| port.is_object())
    {
        set(port, "protocol", json!("TCP"));
    }
}

fn default_service(cluster: &Cluster, service: &mut Value) {
    let spec = &mut service["spec"];
    set(spec, "type", json!("ClusterIP"));
    set(spec, "sessionAffinity", json!("None"));
    default_protocols(&mut spec["ports"]);
    for port in spec["ports"]
        .as_array_mut()
        .into_iter()
        .flatten()
        .filter(|port| port.is_object())
    {
        let number = port["port"].clone();
        set(port, "targetPort", number);
    }
    if spec["type"] != "ExternalName" {
        if spec["clusterIP"].as_str().is_none_or(str::is_empty) {
            spec["clusterIP"] = json!(cluster.next_service_address().to_string());
        }
        let address = spec["clusterIP"].clone();
        set(spec, "clusterIPs", json!([address]));
        set(spec, "ipFamilies", json!(["IPv4"]));
        set(spec, "ipFamilyPolicy", json!("SingleStack"));
        set(spec, "internalTrafficPolicy", json!("Cluster"));
    }
    service["status"] = json!({"loadBalancer": {}});
}

/// What is written in one way and read in another: texts of secrets.
pub fn settle(resource: &Resource, object: &mut Value) {
    if resource.id() != "secrets" {
        return;
    }
    let texts = object
        .as_object_mut()
        .and_then(|members| members.remove("stringData"));
    for (key, text) in texts
        .as_ref()
        .and_then(Value::as_object)
        .into_iter()
        .flatten()
    {
        let text = text.as_str().unwrap_or_default();
        object["data"][key] = json!(BASE64_STANDARD.encode(text));
    }
}

/// Fields that are wrong, and why. Only what tests are likely to get wrong: not the whole validation.
pub fn wrong(resource: &Resource, object: &Value) -> Vec<(String, String)> {
    let mut errors = Vec::new();
    let mut require = |field: &str, is_there: bool| {
        if !is_there {
            errors.push((field.to_owned(), "Required value".to_owned()));
        }
    };
    let is_list = |pointer: &str| {
        object
            .pointer(pointer)
            .and_then(Value::as_array)
            .is_some_and(|list| !list.is_empty())
    };
    match resource.id().as_str() {
        "pods" => {
            require("spec.containers", is_list("/spec/containers"));
            for (index, container) in object["spec"]["containers"]
                .as_array()
                .into_iter()
                .flatten()
                .enumerate()
            {
                require(
                    &format!("spec.containers[{index}].name"),
                    container["name"].is_string(),
                );
                require(
                    &format!("spec.containers[{index}].image"),
                    container["image"].is_string(),
                );
            }
        }
        "customresourcedefinitions.apiextensions.k8s.io" => {
            require("spec", Resource::defined_by(object).is_some());
        }
        "endpointslices.discovery.k8s.io" => {
            require("addressType", object["addressType"].is_string())
        }
        _ => {}
    }
    errors.extend(wrong_labels(object));
    errors
}

fn wrong_labels(object: &Value) -> Vec<(String, String)> {
    let mut errors = Vec::new();
    for (key, value) in object["metadata"]["labels"]
        .as_object()
        .into_iter()
        .flatten()
    {
        if value.as_str().is_none_or(|value| value.len() > 63) {
            let what = format!(
                "Invalid value: {value}: must be a string of no more than 63 characters (key {key})"
            );
            errors.push(("metadata.labels".into(), what));
        }
    }
    errors
}

/// Changes that a resource doesn't allow.
pub fn wrong_change(resource: &Resource, before: &Value, after: &Value) -> Vec<(String, String)> {
    let forbidden = |field: &str, why: &str| vec![(field.to_owned(), format!("Forbidden: {why}"))];
    match resource.id().as_str() {
        "pods" if comparable(before) != comparable(after) => forbidden(
            "spec",
            "pod updates may not change fields other than `spec.containers[*].image`,`spec.initContainers[*].image`,`spec.activeDeadlineSeconds`,`spec.tolerations` (only additions to existing tolerations),`spec.terminationGracePeriodSeconds` (allow it to be set to 1 if it was previously negative)",
        ),
        "configmaps" | "secrets"
            if before["immutable"] == true && before["data"] != after["data"] =>
        {
            forbidden("data", "field is immutable when `immutable` is set")
        }
        "services"
            if before["spec"]["clusterIP"] != after["spec"]["clusterIP"]
                && after["spec"]["type"] == before["spec"]["type"] =>
        {
            vec![(
                "spec.clusterIPs[0]".into(),
                "Invalid value: may not change once set".into(),
            )]
        }
        _ => Vec::new(),
    }
}

/// A pod's spec without what may change.
fn comparable(pod: &Value) -> Value {
    let mut spec = pod["spec"].clone();
    for containers in ["initContainers", "containers"] {
        for container in spec[containers].as_array_mut().into_iter().flatten() {
            container
                .as_object_mut()
                .map(|members| members.remove("image"));
        }
    }
    if let Some(members) = spec.as_object_mut() {
        for mutable in [
            "activeDeadlineSeconds",
            "tolerations",
            "terminationGracePeriodSeconds",
        ] {
            members.remove(mutable);
        }
    }
    spec
}

/// Seconds that an object still has: pods that run on a node, CheckGracefulDelete in pkg/registry/core/pod/strategy.go.
pub fn grace(resource: &Resource, object: &Value, asked: Option<u64>) -> u64 {
    let phase = object["status"]["phase"].as_str().unwrap_or_default();
    let runs = object["spec"]["nodeName"]
        .as_str()
        .is_some_and(|node| !node.is_empty());
    if resource.id() != "pods" || !runs || matches!(phase, "Failed" | "Succeeded") {
        return 0;
    }
    let own = object["spec"]["terminationGracePeriodSeconds"]
        .as_u64()
        .unwrap_or(GRACE);
    asked.unwrap_or(own)
}
