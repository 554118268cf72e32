//! What to do with an object, by its `apiVersion` and `kind`.

use crate::control::yaml::nearest;

/// The verdict on a kind.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    Namespace,
    Pod,
    Service,
    ConfigMap,
    EndpointSlice,
    PeerAuthentication,
    AuthorizationPolicy,
    DestinationRule,
    ServiceEntry,
    VirtualService,
    Gateway,
    /// What Istio had before `PeerAuthentication`, of a namespace and of the mesh.
    LegacyPolicy,
    MeshPolicy,
    /// Not an object: the mesh's mode in one line.
    Switch,
    /// A list of objects some of which may have a bearing on the mesh.
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

/// Kinds of `security.istio.io` that are enforced.
const SECURITY: [&str; 2] = ["PeerAuthentication", "AuthorizationPolicy"];

/// Kinds that exist in a group of Istio (<https://istio.io/latest/docs/reference/config/>), and those that
/// older documents use.
const ISTIO: [(&str, &[&str]); 6] = [
    ("security.istio.io", &["RequestAuthentication"]),
    (
        "networking.istio.io",
        &[
            "EnvoyFilter",
            "ProxyConfig",
            "Sidecar",
            "WorkloadEntry",
            "WorkloadGroup",
        ],
    ),
    ("extensions.istio.io", &["WasmPlugin"]),
    ("telemetry.istio.io", &["Telemetry"]),
    ("install.istio.io", &["IstioOperator"]),
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

/// Kinds that count, and where they are.
const ENFORCED: [(&str, &str); 13] = [
    ("PeerAuthentication", "security.istio.io/v1"),
    ("AuthorizationPolicy", "security.istio.io/v1"),
    ("DestinationRule", "networking.istio.io/v1"),
    ("ServiceEntry", "networking.istio.io/v1"),
    ("VirtualService", "networking.istio.io/v1"),
    ("Gateway", "networking.istio.io/v1"),
    ("Policy", "authentication.istio.io/v1alpha1"),
    ("MeshPolicy", "authentication.istio.io/v1alpha1"),
    ("Namespace", "v1"),
    ("Pod", "v1"),
    ("Service", "v1"),
    ("ConfigMap", "v1"),
    ("EndpointSlice", "discovery.k8s.io/v1"),
];

/// The `apiVersion` in which a kind counts.
fn home(kind: &str) -> Option<&'static str> {
    let known = ENFORCED.iter().find(|(known, _)| *known == kind);
    known.map(|(_, home)| *home)
}

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
            Self::AuthorizationPolicy => "AuthorizationPolicy",
            Self::DestinationRule => "DestinationRule",
            Self::ServiceEntry => "ServiceEntry",
            Self::VirtualService => "VirtualService",
            Self::Gateway => "Gateway",
            Self::LegacyPolicy => "Policy",
            Self::MeshPolicy => "MeshPolicy",
            Self::Switch => "the mesh-wide switch",
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
        if (group, version, kind) == ("", "v1", "List") {
            return Self::List;
        }
        let of_item = kind
            .strip_suffix("List")
            .filter(|item| !item.is_empty())
            .map_or(Self::Unknown, |item| Self::of_object(group, version, item));
        match (of_item, Self::of_object(group, version, kind)) {
            (Self::Unknown | Self::Skipped, own) if own != Self::Unknown => own,
            (Self::Unknown | Self::Skipped, _) => of_item,
            _ => Self::List,
        }
    }

    /// Whether a kind exists, in another `apiVersion` than the one that was written.
    #[must_use]
    pub fn is_known_elsewhere(kind: &str) -> bool {
        let groups = ISTIO.iter().map(|(group, _)| *group);
        let enforced = ["authentication.istio.io", "discovery.k8s.io"];
        let versions = groups
            .chain(enforced)
            .flat_map(|group| ["v1", "v1alpha1"].map(|version| format!("{group}/{version}")));
        versions
            .chain([String::from("v1")])
            .any(|version| !matches!(Self::of(&version, kind), Self::Unknown | Self::Skipped))
    }

    /// What to write where there is no `apiVersion`, or no `kind`.
    #[must_use]
    pub fn to_write(key: &str, other: &str) -> String {
        let group = other.split('/').next().unwrap_or_default();
        let of_group = |(_, home): &&(&str, &str)| home.split('/').next() == Some(group);
        match key {
            "kind" => {
                let known: Vec<_> = ENFORCED.iter().filter(of_group).collect();
                let known = known.iter().map(|(kind, _)| format!("`kind: {kind}`"));
                let known: Vec<_> = known.collect();
                match known.is_empty() {
                    true => "every object says what it is, such as `kind: PeerAuthentication`".to_owned(),
                    false => format!("write {}", known.join(" or ")),
                }
            }
            _ => match home(other) {
                Some(home) => format!("write `apiVersion: {home}`"),
                None => "every object says of which API it is, such as `apiVersion: security.istio.io/v1`".to_owned(),
            },
        }
    }

    /// What was probably meant by a kind that doesn't exist in its `apiVersion`.
    #[must_use]
    pub fn instead_of(api_version: &str, kind: &str) -> String {
        let kinds: Vec<_> = ENFORCED.iter().map(|(kind, _)| *kind).collect();
        match (home(kind), nearest(kind, &kinds)) {
            (Some(home), _) if home != api_version => {
                format!("write `apiVersion: {home}`")
            }
            (None, Some(kind)) => format!("did you mean `{kind}`?"),
            _ => "a misspelling?".to_owned(),
        }
    }

    fn of_object(group: &str, version: &str, kind: &str) -> Self {
        match group {
            "" if version == "v1" => Self::core(kind),
            "discovery.k8s.io" if kind == "EndpointSlice" => match version {
                "v1" => Self::EndpointSlice,
                _ => Self::Unknown,
            },
            "security.istio.io" if SECURITY.contains(&kind) => match (version, kind) {
                ("v1" | "v1beta1", "PeerAuthentication") => Self::PeerAuthentication,
                ("v1" | "v1beta1", "AuthorizationPolicy") => Self::AuthorizationPolicy,
                _ => Self::Unknown,
            },
            "networking.istio.io" if let Some(networking) = Self::networking(kind) => match version
            {
                "v1" | "v1beta1" | "v1alpha3" => networking,
                _ => Self::Unknown,
            },
            "authentication.istio.io" => match (version, kind) {
                ("v1alpha1", "Policy") => Self::LegacyPolicy,
                ("v1alpha1", "MeshPolicy") => Self::MeshPolicy,
                _ => Self::Unknown,
            },
            _ if group == "istio.io" || group.ends_with(".istio.io") => Self::istio(group, kind),
            // No other project has a kind of this name: a misspelt group would drop security silently.
            // (`AuthorizationPolicy` is Linkerd's too.)
            _ if kind.starts_with("PeerAuthentication")
                || kind.starts_with("RequestAuthentication") =>
            {
                Self::Unknown
            }
            _ if BUILT_IN.contains(&group) || group.contains('.') => Self::Skipped,
            _ => Self::Unknown,
        }
    }

    /// Whether a kind has no place among policy documents.
    #[must_use]
    pub fn is_kubernetes(self) -> bool {
        match self {
            Self::Namespace
            | Self::Pod
            | Self::Service
            | Self::ConfigMap
            | Self::EndpointSlice
            | Self::Skipped => true,
            Self::PeerAuthentication
            | Self::AuthorizationPolicy
            | Self::DestinationRule
            | Self::ServiceEntry
            | Self::VirtualService
            | Self::Gateway
            | Self::LegacyPolicy
            | Self::MeshPolicy
            | Self::Switch
            | Self::List
            | Self::NotEnforced
            | Self::Unknown => false,
        }
    }

    /// Whether it is policy of one namespace.
    #[must_use]
    pub fn is_of_namespace(self) -> bool {
        matches!(
            self,
            Self::PeerAuthentication
                | Self::AuthorizationPolicy
                | Self::DestinationRule
                | Self::ServiceEntry
                | Self::VirtualService
                | Self::Gateway
                | Self::LegacyPolicy
        )
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

    /// Of `networking.istio.io`, what is enforced.
    fn networking(kind: &str) -> Option<Self> {
        match kind {
            "DestinationRule" => Some(Self::DestinationRule),
            "ServiceEntry" => Some(Self::ServiceEntry),
            "VirtualService" => Some(Self::VirtualService),
            "Gateway" => Some(Self::Gateway),
            _ => None,
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

    const VERDICTS: [(&str, &str, Kind); 34] = [
        (
            "security.istio.oi/v1",
            "PeerAuthenticationList",
            Kind::Unknown,
        ),
        ("v1", "Pod", Kind::Pod),
        ("v1", "PodList", Kind::List),
        ("v1", "List", Kind::List),
        ("v1", "SecretList", Kind::Skipped),
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
        ("example.org/v1", "AllowList", Kind::Skipped),
        ("apps/v1", "DeploymentList", Kind::Skipped),
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
            Kind::AuthorizationPolicy,
        ),
        (
            "security.istio.io/v1alpha1",
            "AuthorizationPolicy",
            Kind::Unknown,
        ),
        (
            "networking.istio.io/v1beta1",
            "DestinationRule",
            Kind::DestinationRule,
        ),
        (
            "authentication.istio.io/v1alpha1",
            "Policy",
            Kind::LegacyPolicy,
        ),
        ("telemetry.istio.io/v1", "Telemetry", Kind::NotEnforced),
    ];
}
