//! To apply the manifests once more, or a newer version of them, takes back no policy that somebody has put in force since.

use anyhow::Result;
use serde_json::Value;

use super::{Rendered, text};

const MODE: &str = "/data/mtls-mode";
/// What is applied without a word about policy. `kubectl apply` and Helm put back every key that they have.
const SILENT: [&str; 3] = ["base", "overlays/leave", "chart"];
/// What says a mode, and which.
const SAYING: [(&str, &str); 3] = [
    ("overlays/permissive", "PERMISSIVE"),
    ("overlays/strict", "STRICT"),
    ("chart/ci/strict-monitoring-values.yaml", "STRICT"),
];

pub(super) fn findings(rendered: &Rendered) -> Result<Vec<String>> {
    let mut findings = Vec::new();
    for name in SILENT {
        let objects = rendered.of(name)?.iter().filter(|object| is_policy(object));
        findings.extend(objects.map(|object| {
            let config_map = text(object, "/metadata/name");
            format!(
                "{name}: the ConfigMap {config_map} would take policy back that users have changed"
            )
        }));
    }
    for (name, mode) in SAYING {
        let mut said = rendered.of(name)?.iter().filter_map(|object| said(object));
        if said.next() != Some(mode) || said.next().is_some() {
            findings.push(format!("{name}: no ConfigMap says {mode}, or several do"));
        }
    }
    for (name, objects) in &rendered.objects {
        findings.extend(objects.iter().flat_map(|object| astray(name, object)));
    }
    Ok(findings)
}

fn is_policy(object: &Value) -> bool {
    text(object, "/metadata/labels/sealane.dev~1policy") == "true"
}

fn said(object: &Value) -> Option<&str> {
    let mode = text(object, MODE);
    (!mode.is_empty() && is_policy(object)).then_some(mode)
}

/// Two that say a mode are an error of the policy: all have one name. Helm removes what is in nobody's values any more.
fn astray(name: &str, object: &Value) -> Vec<String> {
    let mut findings = Vec::new();
    if said(object).is_none() {
        return findings;
    }
    let config_map = text(object, "/metadata/name");
    if config_map != "sealane-mode" {
        findings.push(format!(
            "{name}: {config_map} says a mode beside sealane-mode"
        ));
    }
    let keep = text(object, "/metadata/annotations/helm.sh~1resource-policy");
    if name.starts_with("chart") && keep != "keep" {
        findings.push(format!(
            "{name}: an upgrade without policy.mode would end the mode of {config_map}"
        ));
    }
    findings
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use serde_json::json;

    use super::*;

    fn config_map(mode: &str) -> Value {
        json!({"kind": "ConfigMap", "data": {"mtls-mode": mode}, "metadata": {
            "name": "sealane-mode", "labels": {"sealane.dev/policy": "true"},
            "annotations": {"helm.sh/resource-policy": "keep"}}})
    }

    fn rendered() -> Rendered {
        let silent = SILENT.map(|name| (name.to_owned(), Vec::new()));
        let saying = SAYING.map(|(name, mode)| (name.to_owned(), vec![config_map(mode)]));
        Rendered {
            objects: silent.into_iter().chain(saying).collect::<BTreeMap<_, _>>(),
            findings: Vec::new(),
        }
    }

    #[test]
    fn what_takes_policy_back_is_found() {
        assert!(findings(&rendered()).unwrap().is_empty());
        for name in SILENT {
            let mut with_mode = rendered();
            with_mode
                .objects
                .insert(name.to_owned(), vec![config_map("PERMISSIVE")]);
            assert_eq!(findings(&with_mode).unwrap().len(), 1, "{name}");
        }
        let mut without_mode = rendered();
        without_mode
            .objects
            .insert("overlays/strict".to_owned(), Vec::new());
        assert_eq!(findings(&without_mode).unwrap().len(), 1);
        let mut removable = config_map("STRICT");
        removable["metadata"]["annotations"] = json!({});
        removable["metadata"]["name"] = json!("other");
        assert_eq!(astray("overlays/strict", &removable).len(), 1);
        assert_eq!(astray("chart", &removable).len(), 2);
    }
}
