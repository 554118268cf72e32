//! Fields of policy documents that change nothing here, since they are about requests of HTTP or the management of
//! traffic, and documents that are for others to enforce.
//!
//! Nothing of it bears on what must be encrypted or who may connect, so it doesn't keep the rest from counting.

use serde_json::Value;

use super::{kind::Kind, site::Site};
use crate::control::yaml::FieldPath;

/// Fields of one document that are named.
const MAX_NAMED: usize = 5;

/// Of `trafficPolicy` and its `portLevelSettings`
/// (<https://istio.io/latest/docs/reference/config/networking/destination-rule/#TrafficPolicy>).
const TRAFFIC: [&str; 6] = [
    "connectionPool",
    "loadBalancer",
    "outlierDetection",
    "proxyProtocol",
    "retryBudget",
    "tunnel",
];

/// Of `endpoints` of a `ServiceEntry`.
const ENDPOINT: [&str; 5] = ["labels", "locality", "network", "serviceAccount", "weight"];

/// Of routes of a `VirtualService` and their destinations.
const REQUEST: [&str; 10] = [
    "corsPolicy",
    "fault",
    "headers",
    "mirror",
    "mirrorPercent",
    "mirrorPercentage",
    "mirrors",
    "retries",
    "rewrite",
    "timeout",
];

/// What makes it depend on requests where they go.
const BY_REQUEST: [&str; 10] = [
    "authority",
    "delegate",
    "directResponse",
    "headers",
    "method",
    "queryParams",
    "redirect",
    "scheme",
    "uri",
    "withoutHeaders",
];

/// Why a field changes nothing.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Why {
    Traffic,
    Request,
    ByRequest,
}

impl Why {
    fn text(self) -> &'static str {
        match self {
            Self::Traffic => {
                "without effect: it is traffic management, which Sealane leaves to others"
            }
            Self::Request => {
                "without effect: it is about requests of HTTP, and Sealane doesn't look into connections"
            }
            Self::ByRequest => {
                "needs HTTP, or a choice by weight: connections that it is about go where clients ask to go, and are \
                 refused where clients are told to treat the hosts that they may be for differently; in a gateway they \
                 lead nowhere"
            }
        }
    }
}

/// One for each reason, with the place of the first field.
pub(super) fn notes(site: &Site<'_>, kind: Kind) -> Vec<String> {
    let mut found = Vec::new();
    if let Some(spec) = site.node.value.get("spec") {
        look_at(spec, kind, &FieldPath::of("spec"), &["spec"], &mut found);
    }
    let reasons = [Why::Traffic, Why::Request, Why::ByRequest];
    let notes = reasons.into_iter().filter_map(|why| {
        let mut fields = found.iter().filter(|(_, because)| *because == why);
        let (first, _) = fields.clone().next()?;
        let named = fields.by_ref().take(MAX_NAMED);
        let named = named.map(|(field, _)| site.path.clone().then(field).to_string());
        let mut named = named.collect::<Vec<_>>().join(", ");
        let more = fields.count();
        if more > 0 {
            named = format!("{named} and {more} more");
        }
        Some(format!("{}: {named}: {}", site.place(first), why.text()))
    });
    notes.collect()
}

/// Documents are not nested deeper than the parser allows.
fn look_at<'v>(
    value: &'v Value,
    kind: Kind,
    path: &FieldPath,
    keys: &[&'v str],
    found: &mut Vec<(FieldPath, Why)>,
) {
    match value {
        Value::Object(fields) => {
            for (key, value) in fields.iter().filter(|(_, value)| !value.is_null()) {
                let (path, mut keys) = (path.clone().key(key), keys.to_vec());
                keys.push(key);
                match why(kind, &keys) {
                    Some(why) => found.push((path, why)),
                    None => look_at(value, kind, &path, &keys, found),
                }
            }
        }
        Value::Array(items) => {
            if kind == Kind::VirtualService && keys.last() == Some(&"route") && items.len() > 1 {
                found.push((path.clone(), Why::ByRequest));
            }
            for (index, item) in items.iter().enumerate() {
                look_at(item, kind, &path.clone().index(index), keys, found);
            }
        }
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {}
    }
}

/// `keys` without the numbers of items.
fn why(kind: Kind, keys: &[&str]) -> Option<Why> {
    let is = |known: &[&str], key: &&str| known.contains(key);
    match (kind, keys) {
        (Kind::DestinationRule, [.., "trafficPolicy" | "portLevelSettings", key]) => {
            is(&TRAFFIC, key).then_some(Why::Traffic)
        }
        (Kind::ServiceEntry, ["spec", "endpoints", key]) => {
            is(&ENDPOINT, key).then_some(Why::Traffic)
        }
        (Kind::VirtualService, ["spec", _, "match", key]) => {
            is(&BY_REQUEST, key).then_some(Why::ByRequest)
        }
        (Kind::VirtualService, ["spec", _, key] | ["spec", _, "route", key]) => {
            let of_request = is(&REQUEST, key).then_some(Why::Request);
            of_request.or_else(|| is(&BY_REQUEST, key).then_some(Why::ByRequest))
        }
        _ => None,
    }
}

/// What to say of an `AuthorizationPolicy` that gateways or waypoints have to enforce. As with Istio without such a
/// proxy pods take no notice of it
/// (<https://istio.io/latest/docs/reference/config/type/workload-selector/#PolicyTargetReference>).
pub(super) fn elsewhere(site: &Site<'_>, kind: Kind) -> Option<String> {
    let spec = (site.node.value.get("spec")).filter(|_| kind == Kind::AuthorizationPolicy)?;
    let several = spec.get("targetRefs").and_then(Value::as_array);
    let mut targets = spec
        .get("targetRef")
        .into_iter()
        .chain(several.into_iter().flatten())
        .filter(|target| !target.is_null())
        .peekable();
    targets.peek()?;
    let selects = spec.get("selector").is_some_and(|s| !s.is_null());
    let is_proxy = |target: &Value| {
        let text = |key| target.get(key).and_then(Value::as_str);
        text("group") == Some("gateway.networking.k8s.io")
            && matches!(text("kind"), Some("Gateway" | "GatewayClass"))
    };
    if selects || !targets.all(is_proxy) {
        return None;
    }
    let key = if several.is_some() {
        "targetRefs"
    } else {
        "targetRef"
    };
    let field = FieldPath::of("spec").key(key);
    let place = site.place(&field);
    Some(format!(
        "{place}: {}: the policy is left out: it is for a gateway or a waypoint, and whoever runs that enforces it",
        site.path.clone().then(&field)
    ))
}

/// Whether what an object that can't be used says could matter to what is encrypted, or who may connect: if so nobody
/// can tell what its namespace asks for.
pub(super) fn is_vital(site: &Site<'_>, kind: Kind) -> bool {
    match kind {
        // Of what comes from outside of the mesh: without it nothing comes.
        Kind::Gateway => false,
        // Whatever can't be read of it may have been about TLS.
        Kind::DestinationRule => {
            let spec = site.node.value.get("spec");
            spec.is_some_and(|spec| !is_without_tls(spec))
        }
        _ => true,
    }
}

/// Of a `DestinationRule`: all that could be said of TLS has another name.
fn is_without_tls(spec: &Value) -> bool {
    const KNOWN: [&str; 5] = [
        "exportTo",
        "host",
        "subsets",
        "trafficPolicy",
        "workloadSelector",
    ];
    let policy_knows =
        |key: &str| TRAFFIC.contains(&key) || key == "portLevelSettings" || key == "port";
    let is_policy = |policy: &Value| {
        let Some(fields) = policy.as_object() else {
            return false;
        };
        fields.keys().all(|key| policy_knows(key))
    };
    let Some(fields) = spec.as_object() else {
        return false;
    };
    let subsets = spec.get("subsets").and_then(Value::as_array);
    let of_subsets = subsets
        .into_iter()
        .flatten()
        .filter_map(|s| s.get("trafficPolicy"));
    let mut policies: Vec<_> = spec
        .get("trafficPolicy")
        .into_iter()
        .chain(of_subsets)
        .collect();
    let settings = policies
        .iter()
        .filter_map(|policy| policy.get("portLevelSettings")?.as_array());
    let settings: Vec<_> = settings.flatten().collect();
    policies.extend(settings);
    fields.keys().all(|key| KNOWN.contains(&key.as_str())) && policies.into_iter().all(is_policy)
}
