//! Objects as rows of tables: what `kubectl get` prints. Only the columns that people look at.

use jiff::{SignedDuration, Timestamp};
use serde_json::{Value, json};

use super::accept::Included;
use crate::{resources::Resource, status::Status, store::Stored};

/// Name, type, priority (0 is always shown) of columns between the name and the age.
type Column = (&'static str, &'static str, u8);

fn middle(resource: &Resource) -> &'static [Column] {
    match resource.id().as_str() {
        "pods" => &[
            ("Ready", "string", 0),
            ("Status", "string", 0),
            ("Restarts", "string", 0),
        ],
        "services" => &[
            ("Type", "string", 0),
            ("Cluster-IP", "string", 0),
            ("External-IP", "string", 0),
            ("Port(s)", "string", 0),
        ],
        "namespaces" => &[("Status", "string", 0)],
        "nodes" => &[("Status", "string", 0)],
        "configmaps" | "secrets" => &[("Data", "string", 0)],
        "endpointslices.discovery.k8s.io" => {
            &[("AddressType", "string", 0), ("Endpoints", "string", 0)]
        }
        _ => &[],
    }
}

fn trailing(resource: &Resource) -> &'static [Column] {
    match resource.id().as_str() {
        "pods" => &[("IP", "string", 1), ("Node", "string", 1)],
        _ => &[],
    }
}

/// The definitions of a table's columns.
pub fn columns(resource: &Resource) -> Value {
    let name = [("Name", "string", 0)];
    let age = [("Age", "string", 0)];
    let columns = name
        .iter()
        .chain(middle(resource))
        .chain(&age)
        .chain(trailing(resource));
    let columns = columns.map(|(name, kind, priority)| {
        let format = if *name == "Name" { "name" } else { "" };
        json!({"name": name, "type": kind, "format": format, "description": "", "priority": priority})
    });
    columns.collect()
}

/// A whole table.
pub fn document(resource: &Resource, metadata: &Value, rows: &[Value]) -> Value {
    json!({
        "kind": "Table", "apiVersion": "meta.k8s.io/v1", "metadata": metadata,
        "columnDefinitions": columns(resource), "rows": rows,
    })
}

/// An object's row.
pub fn row(
    resource: &Resource,
    version: &str,
    stored: &Stored,
    included: Included,
) -> Result<Value, Status> {
    let object = stored.value()?;
    let text = |pointer: &str| {
        let found = object.pointer(pointer).and_then(Value::as_str);
        json!(found.filter(|text| !text.is_empty()).unwrap_or("<none>"))
    };
    let mut cells = vec![text("/metadata/name")];
    match resource.id().as_str() {
        "pods" => cells.extend(pod(&object)),
        "services" => {
            cells.extend([
                text("/spec/type"),
                text("/spec/clusterIP"),
                text("/spec/externalName"),
                ports(&object),
            ]);
        }
        "namespaces" => cells.push(text("/status/phase")),
        "nodes" => cells.push(json!(if is_ready(&object) {
            "Ready"
        } else {
            "NotReady"
        })),
        "configmaps" | "secrets" => cells.push(json!(members(&object["data"]).to_string())),
        "endpointslices.discovery.k8s.io" => {
            cells.extend([text("/addressType"), addresses(&object)])
        }
        _ => {}
    }
    cells.push(age(&object));
    if resource.id() == "pods" {
        cells.extend([text("/status/podIP"), text("/spec/nodeName")]);
    }
    let mut row = json!({"cells": cells});
    match included {
        Included::Nothing => {}
        Included::Metadata => {
            row["object"] = json!({
                "kind": "PartialObjectMetadata", "apiVersion": "meta.k8s.io/v1", "metadata": object["metadata"],
            });
        }
        Included::Object => row["object"] = stored.typed(resource, version)?,
    }
    Ok(row)
}

fn pod(pod: &Value) -> [Value; 3] {
    let statuses = pod["status"]["containerStatuses"].as_array();
    let statuses = statuses.map_or(&[][..], Vec::as_slice);
    let ready = statuses
        .iter()
        .filter(|status| status["ready"] == true)
        .count();
    let all = pod["spec"]["containers"].as_array().map_or(0, Vec::len);
    let restarts: u64 = statuses
        .iter()
        .filter_map(|status| status["restartCount"].as_u64())
        .sum();
    let phase = pod["status"]["phase"].as_str().unwrap_or("Unknown");
    let is_leaving = pod["metadata"]["deletionTimestamp"].is_string();
    let phase = if is_leaving { "Terminating" } else { phase };
    [
        json!(format!("{ready}/{all}")),
        json!(phase),
        json!(restarts.to_string()),
    ]
}

fn ports(service: &Value) -> Value {
    let ports = service["spec"]["ports"].as_array().into_iter().flatten();
    let shown = ports.map(|port| {
        let protocol = port["protocol"].as_str().unwrap_or("TCP");
        format!("{}/{protocol}", port["port"])
    });
    json!(shown.collect::<Vec<_>>().join(","))
}

fn is_ready(node: &Value) -> bool {
    let conditions = node["status"]["conditions"]
        .as_array()
        .into_iter()
        .flatten();
    conditions
        .into_iter()
        .any(|condition| condition["type"] == "Ready" && condition["status"] == "True")
}

fn addresses(slice: &Value) -> Value {
    let endpoints = slice["endpoints"].as_array().into_iter().flatten();
    let addresses = endpoints.filter_map(|endpoint| endpoint["addresses"][0].as_str());
    json!(addresses.collect::<Vec<_>>().join(","))
}

fn members(value: &Value) -> usize {
    value.as_object().map_or(0, serde_json::Map::len)
}

/// As `kubectl` shows spans of time: one unit, the largest that fits.
fn age(object: &Value) -> Value {
    let made = object["metadata"]["creationTimestamp"].as_str();
    let made = made.and_then(|text| text.parse::<Timestamp>().ok());
    let age = made.map_or(SignedDuration::ZERO, |made| {
        Timestamp::now().duration_since(made)
    });
    let seconds = age.as_secs().max(0);
    json!(match seconds {
        0..120 => format!("{seconds}s"),
        120..7200 => format!("{}m", seconds / 60),
        7200..172_800 => format!("{}h", seconds / 3600),
        _ => format!("{}d", seconds / 86_400),
    })
}
