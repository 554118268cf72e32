//! Strategic merge patch: lists whose members have a key are merged by it.
//!
//! Source: "sig-api-machinery/strategic-merge-patch.md" of kubernetes/community; merge keys from the types' tags.

use serde_json::{Map, Value};

/// The keys that may tell members of a list apart, by the list's name; the first that a member has counts.
fn merge_keys(list: &str) -> &'static [&'static str] {
    match list {
        "containers"
        | "initContainers"
        | "ephemeralContainers"
        | "env"
        | "imagePullSecrets"
        | "secrets" => &["name"],
        "volumes" | "resourceClaims" => &["name"],
        "ports" => &["containerPort", "port"],
        "volumeMounts" => &["mountPath"],
        "volumeDevices" => &["devicePath"],
        "conditions" | "addresses" => &["type"],
        "ownerReferences" => &["uid"],
        "hostAliases" | "podIPs" | "hostIPs" => &["ip"],
        "topologySpreadConstraints" => &["topologyKey"],
        _ => &[],
    }
}

/// Lists of texts that are merged as sets.
fn is_set(list: &str) -> bool {
    matches!(list, "finalizers")
}

/// Changes `object` as the patch says.
pub fn apply(object: &mut Value, patch: &Value) {
    let Value::Object(patch) = patch else {
        *object = patch.clone();
        return;
    };
    match patch.get("$patch").and_then(Value::as_str) {
        Some("replace") => {
            *object = Value::Object(without_directives(patch));
            return;
        }
        Some("delete") => {
            *object = Value::Object(Map::new());
            return;
        }
        _ => {}
    }
    if !object.is_object() {
        *object = Value::Object(Map::new());
    }
    let Some(members) = object.as_object_mut() else {
        return;
    };
    if let Some(retained) = patch.get("$retainKeys").and_then(Value::as_array) {
        members.retain(|key, _| retained.iter().any(|kept| kept == key));
    }
    for (key, value) in patch {
        if let Some(list) = key.strip_prefix("$deleteFromPrimitiveList/") {
            remove_from(members, list, value);
        } else if !key.starts_with('$') {
            merge_member(members, key, value);
        }
    }
    for (key, order) in patch {
        if let Some(list) = key.strip_prefix("$setElementOrder/") {
            reorder(members.get_mut(list), merge_keys(list), order);
        }
    }
}

fn merge_member(members: &mut Map<String, Value>, key: &str, value: &Value) {
    match value {
        Value::Null => {
            members.remove(key);
        }
        Value::Object(_) => apply(members.entry(key).or_insert(Value::Null), value),
        Value::Array(patch) if is_set(key) => {
            let list = members
                .entry(key)
                .or_insert_with(|| Value::Array(Vec::new()));
            let Some(list) = list.as_array_mut() else {
                return;
            };
            for value in patch {
                if !list.contains(value) {
                    list.push(value.clone());
                }
            }
        }
        Value::Array(patch)
            if !merge_keys(key).is_empty() && patch.iter().all(Value::is_object) =>
        {
            let list = members
                .entry(key)
                .or_insert_with(|| Value::Array(Vec::new()));
            if let Some(list) = list.as_array_mut() {
                merge_list(list, merge_keys(key), patch);
            }
        }
        _ => {
            members.insert(key.to_owned(), value.clone());
        }
    }
}

fn merge_list(list: &mut Vec<Value>, keys: &[&str], patch: &[Value]) {
    if patch.iter().any(|member| member["$patch"] == "replace") {
        list.clear();
    }
    for member in patch {
        let Some(key) = keys.iter().find(|key| !member[**key].is_null()) else {
            continue;
        };
        let found = list.iter().position(|known| known[*key] == member[*key]);
        match (found, member["$patch"] == "delete") {
            (Some(at), true) => {
                list.remove(at);
            }
            (Some(at), false) => apply(&mut list[at], member),
            (None, true) => {}
            (None, false) => {
                let mut made = Value::Null;
                apply(&mut made, member);
                list.push(made);
            }
        }
    }
}

fn remove_from(members: &mut Map<String, Value>, list: &str, values: &Value) {
    let removed = values.as_array().map_or(&[][..], Vec::as_slice);
    if let Some(list) = members.get_mut(list).and_then(Value::as_array_mut) {
        list.retain(|value| !removed.contains(value));
    }
}

/// Members that the order names come in that order; the others follow.
fn reorder(list: Option<&mut Value>, keys: &[&str], order: &Value) {
    let (Some(list), Some(order)) = (list.and_then(Value::as_array_mut), order.as_array()) else {
        return;
    };
    list.sort_by_key(|member| {
        let is_named = |named: &Value| {
            let is_same_key = |key: &&str| !named[*key].is_null() && named[*key] == member[*key];
            named == member || keys.iter().any(is_same_key)
        };
        order.iter().position(is_named).unwrap_or(usize::MAX)
    });
}

fn without_directives(patch: &Map<String, Value>) -> Map<String, Value> {
    let kept = patch.iter().filter(|(key, _)| !key.starts_with('$'));
    kept.map(|(key, value)| (key.clone(), value.clone()))
        .collect()
}

#[cfg(test)]
mod tests;
