//! The chart with its default values makes the same objects as the base: nobody maintains one and forgets the other.

use std::collections::BTreeMap;

use anyhow::Result;
use serde_json::{Map, Value};

use super::{Rendered, text};

pub(super) fn findings(rendered: &Rendered) -> Result<Vec<String>> {
    Ok(compare(rendered.of("base")?, rendered.of("chart")?))
}

fn compare(base: &[Value], chart: &[Value]) -> Vec<String> {
    let (base, chart) = (by_name(base), by_name(chart));
    let mut findings = Vec::new();
    for (name, object) in &base {
        match chart.get(name) {
            None => findings.push(format!("{name} is in the base only")),
            Some(other) => differences(name, object, other, &mut findings),
        }
    }
    let alone = chart.keys().filter(|name| !base.contains_key(*name));
    findings.extend(alone.map(|name| format!("{name} is in the chart only")));
    findings
}

/// Without the namespace: a chart's is made by `helm install --create-namespace`.
fn by_name(objects: &[Value]) -> BTreeMap<String, Value> {
    let counted = objects
        .iter()
        .filter(|object| text(object, "/kind") != "Namespace");
    counted
        .map(|object| {
            let [kind, namespace, name] =
                ["/kind", "/metadata/namespace", "/metadata/name"].map(|field| text(object, field));
            (format!("{kind} {namespace}/{name}"), without_helm(object))
        })
        .collect()
}

/// Without what Helm adds to know its own.
fn without_helm(object: &Value) -> Value {
    let mut object = object.clone();
    for field in ["labels", "annotations"] {
        let Some(metadata) = object.get_mut("metadata").and_then(Value::as_object_mut) else {
            continue;
        };
        let Some(marks) = metadata.get_mut(field).and_then(Value::as_object_mut) else {
            continue;
        };
        marks.retain(|name, _| {
            !name.starts_with("helm.sh/") && name != "app.kubernetes.io/managed-by"
        });
        if marks.is_empty() {
            metadata.remove(field);
        }
    }
    object
}

/// The deepest places where two values differ.
fn differences(place: &str, base: &Value, chart: &Value, findings: &mut Vec<String>) {
    match (base, chart) {
        (Value::Object(a), Value::Object(b)) => fields(place, a, b, findings),
        (Value::Array(a), Value::Array(b)) if a.len() == b.len() => {
            for (index, (a, b)) in a.iter().zip(b).enumerate() {
                differences(&format!("{place}[{index}]"), a, b, findings);
            }
        }
        (a, b) if a == b => {}
        (a, b) => findings.push(format!("{place}: {a} in the base, {b} in the chart")),
    }
}

fn fields(
    place: &str,
    base: &Map<String, Value>,
    chart: &Map<String, Value>,
    findings: &mut Vec<String>,
) {
    for (name, value) in base {
        let place = format!("{place}.{name}");
        let other = chart.get(name).unwrap_or(&Value::Null);
        differences(&place, value, other, findings);
    }
    for (name, value) in chart.iter().filter(|(name, _)| !base.contains_key(*name)) {
        differences(&format!("{place}.{name}"), &Value::Null, value, findings);
    }
}

#[cfg(test)]
mod tests {
    use std::slice::from_ref;

    use serde_json::json;

    use super::*;

    #[test]
    fn what_helm_adds_is_no_difference_and_all_else_is() {
        let base = json!({"kind": "ConfigMap", "metadata": {"name": "a"}, "data": {"k": "1"}});
        let same = json!({"kind": "ConfigMap", "data": {"k": "1"}, "metadata": {
            "name": "a",
            "labels": {"app.kubernetes.io/managed-by": "Helm"},
            "annotations": {"helm.sh/resource-policy": "keep"},
        }});
        assert!(compare(from_ref(&base), &[same]).is_empty());
        let other =
            json!({"kind": "ConfigMap", "metadata": {"name": "a"}, "data": {"k": "2", "l": "3"}});
        assert_eq!(
            compare(from_ref(&base), &[other]),
            [
                "ConfigMap /a.data.k: \"1\" in the base, \"2\" in the chart",
                "ConfigMap /a.data.l: null in the base, \"3\" in the chart",
            ]
        );
        assert_eq!(compare(&[base], &[]), ["ConfigMap /a is in the base only"]);
    }
}
