//! Lists where mappings belong. The deserializer takes the items of a list for the fields of a structure, in order:
//! `mtls: [STRICT]` would be STRICT, and `selector: []` a whole namespace.

use serde_json::Value;

use super::site::Site;
use crate::control::{
    error::{LoadError, Problem},
    yaml::FieldPath,
};

/// Fields of policy documents that hold fields.
const MAPPINGS: [&str; 12] = [
    "metadata",
    "spec",
    "selector",
    "workloadSelector",
    "destination",
    "labels",
    "mtls",
    "source",
    "operation",
    "provider",
    "trafficPolicy",
    "tls",
];
/// Whose values do, whatever their keys.
const OF_MAPPINGS: &str = "portLevelMtls";

/// Refuses a policy document with a list in the place of a mapping.
pub(super) fn check(site: &Site<'_>) -> Result<(), LoadError> {
    match misplaced(site.node.value, &FieldPath::default(), false) {
        None => Ok(()),
        Some(field) => {
            let problem = Problem::Schema("expected a mapping, not a list".to_owned());
            Err(site.error(&field, problem))
        }
    }
}

/// Depth is limited by the YAML reader.
fn misplaced(value: &Value, at: &FieldPath, all: bool) -> Option<FieldPath> {
    match value {
        Value::Object(fields) => fields.iter().find_map(|(key, value)| {
            let field = at.clone().key(key);
            // A `VirtualService` has a list of routes under this name.
            let routes = key == "tls" && *at == FieldPath::of("spec");
            let mapping = all || MAPPINGS.contains(&key.as_str()) && !routes;
            match value {
                Value::Array(_) if mapping => Some(field),
                _ => misplaced(value, &field, key == OF_MAPPINGS),
            }
        }),
        Value::Array(items) => items.iter().enumerate().find_map(|(index, item)| {
            let item_at = at.clone().index(index);
            match item {
                Value::Array(_) => Some(item_at),
                _ => misplaced(item, &item_at, false),
            }
        }),
        _ => None,
    }
}
