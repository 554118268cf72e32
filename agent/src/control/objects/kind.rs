//! What to do with an object, by its `apiVersion` and `kind`.

/// The verdict on a kind.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    Namespace,
    Pod,
    Service,
    ConfigMap,
    EndpointSlice,
    PeerAuthentication,
    /// A list of objects; what its items are called when they don't say.
    List,
    /// A Kubernetes object, or one of a third party, without bearing on the mesh.
    Skipped,
    /// An Istio object that asks for something that Sealane doesn't do.
    NotEnforced,
    Unknown,
}

/// Kinds of the core group without bearing on the mesh.
const CORE: [&str; 14] = [
    "Binding",
    "ComponentStatus",
    "Endpoints",
    "Event",
    "LimitRange",
    "Node",
    "PersistentVolume",
    "PersistentVolumeClaim",
    "PodTemplate",
    "ReplicationController",
    "ResourceQuota",
    "Secret",
    "ServiceAccount",
    "Status",
];

/// Groups of Kubernetes that have no dot in their names.
const BUILT_IN: [&str; 5] = ["apps", "autoscaling", "batch", "extensions", "policy"];

/// Kinds that exist in a group of Istio (<https://istio.io/latest/docs/reference/config/>), and those that
/// older documents use.
const ISTIO: [(&str, &[&str]); 7] = [
    (
        "security.istio.io",
        &["AuthorizationPolicy", "RequestAuthentication"],
    ),
    (
        "networking.istio.io",
        &[
            "DestinationRule",
            "EnvoyFilter",
            "Gateway",
            "ProxyConfig",
            "ServiceEntry",
            "Sidecar",
            "VirtualService",
            "WorkloadEntry",
            "WorkloadGroup",
        ],
    ),
    ("extensions.istio.io", &["WasmPlugin"]),
    ("telemetry.istio.io", &["Telemetry"]),
    ("install.istio.io", &["IstioOperator"]),
    ("authentication.istio.io", &["MeshPolicy", "Policy"]),
    (
        "rbac.istio.io",
        &[
            "ClusterRbacConfig",
            "RbacConfig",
            "ServiceRole",
            "ServiceRoleBinding",
        ],
    ),
];

impl Kind {
    /// As error messages and duplicates name it; empty for kinds that are never kept.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Namespace => "Namespace",
            Self::Pod => "Pod",
            Self::Service => "Service",
            Self::ConfigMap => "ConfigMap",
            Self::EndpointSlice => "EndpointSlice",
            Self::PeerAuthentication => "PeerAuthentication",
            Self::List | Self::Skipped | Self::NotEnforced | Self::Unknown => "",
        }
    }

    #[must_use]
    pub fn of(api_version: &str, kind: &str) -> Self {
        let (group, version) = api_version.split_once('/').unwrap_or(("", api_version));
        if version.is_empty() || kind.is_empty() || (group.is_empty() && api_version.contains('/'))
        {
            return Self::Unknown;
        }
        let of_item = kind.strip_suffix("List").filter(|item| {
            !item.is_empty() && Self::of_object(group, version, item) != Self::Unknown
        });
        match Self::of_object(group, version, kind) {
            // Also catches third-party kinds that end in `List` without being lists: harmless, they are
            // skipped object by object.
            Self::Skipped | Self::Unknown if of_item.is_some() => Self::List,
            _ if (group, version, kind) == ("", "v1", "List") => Self::List,
            verdict => verdict,
        }
    }

    fn of_object(group: &str, version: &str, kind: &str) -> Self {
        match group {
            "" if version == "v1" => Self::core(kind),
            "discovery.k8s.io" if kind == "EndpointSlice" => match version {
                "v1" => Self::EndpointSlice,
                _ => Self::Unknown,
            },
            "security.istio.io" if kind == "PeerAuthentication" => match version {
                "v1" | "v1beta1" => Self::PeerAuthentication,
                _ => Self::Unknown,
            },
            _ if group == "istio.io" || group.ends_with(".istio.io") => Self::istio(group, kind),
            // No other project has a kind of this name: a misspelt group would drop security silently.
            _ if kind == "PeerAuthentication" || kind == "RequestAuthentication" => Self::Unknown,
            _ if BUILT_IN.contains(&group) || group.contains('.') => Self::Skipped,
            _ => Self::Unknown,
        }
    }

    fn core(kind: &str) -> Self {
        match kind {
            "Namespace" => Self::Namespace,
            "Pod" => Self::Pod,
            "Service" => Self::Service,
            "ConfigMap" => Self::ConfigMap,
            _ if CORE.contains(&kind) => Self::Skipped,
            _ => Self::Unknown,
        }
    }

    fn istio(group: &str, kind: &str) -> Self {
        let known = ISTIO
            .iter()
            .any(|(g, kinds)| *g == group && kinds.contains(&kind));
        if known {
            Self::NotEnforced
        } else {
            Self::Unknown
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_kind_has_a_verdict() {
        for (api_version, kind, verdict) in VERDICTS {
            assert_eq!(Kind::of(api_version, kind), verdict, "{api_version} {kind}");
        }
    }

    const VERDICTS: [(&str, &str, Kind); 30] = [
        ("v1", "Pod", Kind::Pod),
        ("v1", "PodList", Kind::List),
        ("v1", "List", Kind::List),
        ("v1", "SecretList", Kind::List),
        ("v1", "Secret", Kind::Skipped),
        ("v1", "Pods", Kind::Unknown),
        ("v2", "Pod", Kind::Unknown),
        ("/v1", "Pod", Kind::Unknown),
        ("", "Pod", Kind::Unknown),
        ("apps/v1", "Deployment", Kind::Skipped),
        ("app/v1", "Deployment", Kind::Unknown),
        ("batch/v1", "CronJob", Kind::Skipped),
        ("policy/v1", "PodDisruptionBudget", Kind::Skipped),
        ("networking.k8s.io/v1", "Ingress", Kind::Skipped),
        ("gateway.networking.k8s.io/v1", "Gateway", Kind::Skipped),
        ("cert-manager.io/v1", "Certificate", Kind::Skipped),
        (
            "policy.linkerd.io/v1alpha1",
            "AuthorizationPolicy",
            Kind::Skipped,
        ),
        ("discovery.k8s.io/v1", "EndpointSlice", Kind::EndpointSlice),
        ("discovery.k8s.io/v1", "EndpointSliceList", Kind::List),
        ("discovery.k8s.io/v1beta1", "EndpointSlice", Kind::Unknown),
        (
            "security.istio.io/v1",
            "PeerAuthentication",
            Kind::PeerAuthentication,
        ),
        (
            "security.istio.io/v1beta1",
            "PeerAuthentication",
            Kind::PeerAuthentication,
        ),
        ("security.istio.io/v1", "PeerAuthenticationList", Kind::List),
        ("security.istio.io/v2", "PeerAuthentication", Kind::Unknown),
        ("security.istio.oi/v1", "PeerAuthentication", Kind::Unknown),
        (
            "security.istio.io/v1",
            "PeerAuthentification",
            Kind::Unknown,
        ),
        (
            "security.istio.io/v1",
            "AuthorizationPolicy",
            Kind::NotEnforced,
        ),
        (
            "networking.istio.io/v1beta1",
            "DestinationRule",
            Kind::NotEnforced,
        ),
        (
            "authentication.istio.io/v1alpha1",
            "Policy",
            Kind::NotEnforced,
        ),
        ("telemetry.istio.io/v1", "Telemetry", Kind::NotEnforced),
    ];
}
