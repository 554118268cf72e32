//! Who is in the mesh. What a pod says of itself wins over its namespace.

use std::collections::BTreeMap;

use crate::control::objects::PodFacts;

/// Whether a pod is in the mesh, given the labels of its namespace; those with Istio's own proxy only if it
/// `takes_proxied`, or they say so themselves.
pub fn is_enrolled(
    namespace: Option<&BTreeMap<String, String>>,
    pod: &PodFacts,
    takes_proxied: bool,
) -> bool {
    let label = |key: &str| namespace?.get(key).map(String::as_str);
    if let Some(own) = pod.own_enrolment {
        return own;
    }
    if pod.own_proxy && !takes_proxied {
        return false;
    }
    if let Some(inject) = label("sealane.dev/inject") {
        return inject == "true";
    }
    if label("istio.io/dataplane-mode") == Some("ambient") {
        return true;
    }
    is_injected(label("istio-injection"), label("istio.io/rev"), pod.sidecar)
}

/// Where Istio would put a sidecar: not into namespaces that are disabled, whatever their pods say
/// (<https://istio.io/latest/docs/setup/additional-setup/sidecar-injection/#controlling-the-injection-policy>).
fn is_injected(injection: Option<&str>, revision: Option<&str>, sidecar: Option<bool>) -> bool {
    match injection {
        Some("disabled") => false,
        Some("enabled") => sidecar != Some(false),
        _ => sidecar.unwrap_or_else(|| revision.is_some_and(|revision| !revision.is_empty())),
    }
}

/// Whether a pod is prepared for the mesh, and nobody said that it should stay out.
pub fn looks_forgotten(enrolled: bool, pod: &PodFacts) -> bool {
    let said = pod.own_enrolment.or(pod.sidecar);
    !enrolled && said.is_none() && !pod.own_proxy && pod.sandbox().is_some()
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
