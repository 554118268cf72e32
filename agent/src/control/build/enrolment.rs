//! Who is in the mesh. What a pod says of itself wins over its namespace.

use std::collections::BTreeMap;

use crate::control::objects::PodFacts;

/// Whether a pod is in the mesh, given the labels of its namespace.
pub fn is_enrolled(namespace: Option<&BTreeMap<String, String>>, pod: &PodFacts) -> bool {
    pod.own_enrolment
        .unwrap_or_else(|| namespace.is_some_and(namespace_is_enrolled))
}

fn namespace_is_enrolled(labels: &BTreeMap<String, String>) -> bool {
    let label = |key: &str| labels.get(key).map(String::as_str);
    match label("sealane.dev/inject") {
        Some(inject) => inject == "true",
        None => {
            label("istio.io/dataplane-mode") == Some("ambient")
                || label("istio-injection") == Some("enabled")
        }
    }
}

/// The warning for a pod that is prepared for the mesh but isn't in it.
pub fn missing_label(pod: &PodFacts) -> String {
    let name = &pod.name;
    let namespace = &name.namespace;
    format!(
        "Pod {name} has the annotation sealane.dev/netns but is not in the mesh: neither namespace \
         {namespace} nor the pod has the label sealane.dev/inject: \"true\""
    )
}
