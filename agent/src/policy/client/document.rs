//! `DestinationRule.spec` as written, and what of it holds.

use std::{collections::BTreeMap, fmt};

use serde::{Deserialize, Serialize, de::IgnoredAny};

use crate::policy::{
    DocumentRef, FieldPath, Invalid, Reason,
    selector::{Labels, WorkloadSelector},
};

/// TLS of a client. SIMPLE and MUTUAL are not here: they need certificates of another mesh.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
pub enum ClientMode {
    Disable,
    IstioMutual,
}

impl fmt::Display for ClientMode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Disable => "DISABLE",
            Self::IstioMutual => "ISTIO_MUTUAL",
        })
    }
}

/// Which hosts a rule is for.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) enum Host {
    Exact(String),
    /// What follows the `*`.
    Suffix(String),
    /// A service's name, in the namespace of the document.
    Short(String),
}

impl Host {
    pub(super) fn matches(&self, host: &str) -> bool {
        match self {
            Self::Exact(exact) => exact == host,
            Self::Suffix(suffix) => host.ends_with(suffix.as_str()),
            Self::Short(_) => false,
        }
    }

    pub(super) fn whole(self, namespace: &str, cluster_domain: &str) -> Self {
        match self {
            Self::Short(name) => Self::Exact(format!("{name}.{namespace}.svc.{cluster_domain}")),
            whole => whole,
        }
    }
}

/// One document that makes sense in itself.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct DestinationRule {
    pub(in crate::policy) document: DocumentRef,
    pub(in crate::policy) created: Option<i64>,
    pub(super) host: Host,
    /// Of the clients that it is for.
    pub(super) labels: Labels,
    /// Not for other namespaces.
    pub(super) private: bool,
    pub(super) mode: Option<ClientMode>,
    /// Of the service's ports.
    pub(super) ports: BTreeMap<u16, ClientMode>,
}

/// `spec`.
#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default, deny_unknown_fields)]
pub struct DestinationRuleSpec {
    host: Option<String>,
    traffic_policy: Option<TrafficPolicy>,
    subsets: Option<Vec<Subset>>,
    export_to: Option<Vec<String>>,
    workload_selector: Option<WorkloadSelector>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default, deny_unknown_fields)]
struct TrafficPolicy {
    tls: Option<Tls>,
    port_level_settings: Option<Vec<PortSettings>>,
    load_balancer: Option<IgnoredAny>,
    connection_pool: Option<IgnoredAny>,
    outlier_detection: Option<IgnoredAny>,
    tunnel: Option<IgnoredAny>,
    proxy_protocol: Option<IgnoredAny>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default, deny_unknown_fields)]
struct PortSettings {
    port: Option<Port>,
    tls: Option<Tls>,
    load_balancer: Option<IgnoredAny>,
    connection_pool: Option<IgnoredAny>,
    outlier_detection: Option<IgnoredAny>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Port {
    number: i64,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct Tls {
    #[serde(default)]
    mode: WrittenMode,
    client_certificate: Option<String>,
    private_key: Option<String>,
    ca_certificates: Option<String>,
    ca_crl: Option<String>,
    credential_name: Option<String>,
    subject_alt_names: Option<Vec<String>>,
    sni: Option<String>,
    insecure_skip_verify: Option<bool>,
}

/// `mode`. Absent means DISABLE, as in Istio, where it is the enumeration's first.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
enum WrittenMode {
    #[default]
    Disable,
    Simple,
    Mutual,
    IstioMutual,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct Subset {
    name: Option<String>,
    #[serde(rename = "labels")]
    _labels: Option<Labels>,
    traffic_policy: Option<TrafficPolicy>,
}

impl DestinationRule {
    /// # Errors
    /// Every field that makes no sense, or asks for what Sealane doesn't do.
    pub fn new(
        document: DocumentRef,
        created: Option<i64>,
        spec: DestinationRuleSpec,
    ) -> Result<Self, Vec<Invalid>> {
        let mut errors = Vec::new();
        let host = host(spec.host.as_deref());
        if host.is_none() {
            let written = spec.host.unwrap_or_default();
            errors.push(Invalid::new(
                FieldPath::of("spec.host"),
                Reason::Host(written),
            ));
        }
        let labels = spec.workload_selector.unwrap_or_default().match_labels;
        let at = FieldPath::of("spec.trafficPolicy");
        let policy = spec.traffic_policy.unwrap_or_default();
        let (mode, ports) = traffic_policy(&policy, &at, &mut errors);
        subsets(spec.subsets.as_deref().unwrap_or_default(), &mut errors);
        let exported = spec.export_to.unwrap_or_default();
        for (index, namespace) in exported.iter().enumerate() {
            if !matches!(namespace.as_str(), "." | "*") {
                let field = FieldPath::of("spec.exportTo").index(index);
                errors.push(Invalid::new(field, Reason::ExportTo));
            }
        }
        match host {
            Some(host) if errors.is_empty() => Ok(Self {
                document,
                created,
                host,
                labels,
                private: !exported.is_empty() && !exported.iter().any(|n| n == "*"),
                mode,
                ports,
            }),
            _ => Err(errors),
        }
    }

    /// The higher, the more a rule is for this host and these clients alone.
    pub(super) fn specificity(&self) -> (bool, bool, usize) {
        let (exact, length) = match &self.host {
            Host::Exact(host) => (true, host.len()),
            Host::Suffix(suffix) => (false, suffix.len()),
            Host::Short(name) => (true, name.len()),
        };
        (!self.labels.is_empty(), exact, length)
    }
}

/// A name without dots is of the document's namespace; all others are whole (Istio: `ResolveShortnameToFQDN`).
fn host(written: Option<&str>) -> Option<Host> {
    let written = written.filter(|host| !host.is_empty())?;
    match written.strip_prefix('*') {
        Some(suffix) if suffix.contains('*') => None,
        Some(suffix) => {
            (suffix.is_empty() || suffix.starts_with('.')).then(|| Host::Suffix(suffix.to_owned()))
        }
        None if written.contains('*') => None,
        None if written.contains('.') => Some(Host::Exact(written.to_owned())),
        None => Some(Host::Short(written.to_owned())),
    }
}

fn traffic_policy(
    policy: &TrafficPolicy,
    at: &FieldPath,
    errors: &mut Vec<Invalid>,
) -> (Option<ClientMode>, BTreeMap<u16, ClientMode>) {
    refuse(
        at,
        &[
            ("loadBalancer", policy.load_balancer.is_some()),
            ("connectionPool", policy.connection_pool.is_some()),
            ("outlierDetection", policy.outlier_detection.is_some()),
            ("tunnel", policy.tunnel.is_some()),
            ("proxyProtocol", policy.proxy_protocol.is_some()),
        ],
        errors,
    );
    let mode = policy.tls.as_ref();
    let mode = mode.and_then(|tls| client_mode(tls, &at.clone().key("tls"), errors));
    let mut ports = BTreeMap::new();
    for (index, settings) in policy.port_level_settings.iter().flatten().enumerate() {
        let at = at.clone().key("portLevelSettings").index(index);
        refuse(
            &at,
            &[
                ("loadBalancer", settings.load_balancer.is_some()),
                ("connectionPool", settings.connection_pool.is_some()),
                ("outlierDetection", settings.outlier_detection.is_some()),
            ],
            errors,
        );
        let number = settings.port.as_ref().map_or(0, |port| port.number);
        let port = u16::try_from(number).ok().filter(|port| *port > 0);
        let tls = settings.tls.as_ref();
        let mode = tls.and_then(|tls| client_mode(tls, &at.clone().key("tls"), errors));
        match (port, mode) {
            (None, _) => {
                let field = at.key("port").key("number");
                errors.push(Invalid::new(field, Reason::Port(number.to_string())));
            }
            (Some(port), Some(mode)) => {
                ports.insert(port, mode);
            }
            (Some(_), None) => {}
        }
    }
    (mode, ports)
}

fn refuse(at: &FieldPath, fields: &[(&str, bool)], errors: &mut Vec<Invalid>) {
    for (key, _) in fields.iter().filter(|(_, is_set)| *is_set) {
        errors.push(Invalid::new(at.clone().key(key), Reason::TrafficManagement));
    }
}

fn client_mode(tls: &Tls, at: &FieldPath, errors: &mut Vec<Invalid>) -> Option<ClientMode> {
    let mode = match tls.mode {
        WrittenMode::Disable => ClientMode::Disable,
        WrittenMode::IstioMutual => ClientMode::IstioMutual,
        WrittenMode::Simple | WrittenMode::Mutual => {
            errors.push(Invalid::new(at.clone().key("mode"), Reason::TlsOrigination));
            return None;
        }
    };
    let written = [
        ("clientCertificate", tls.client_certificate.is_some()),
        ("privateKey", tls.private_key.is_some()),
        ("caCertificates", tls.ca_certificates.is_some()),
        ("caCrl", tls.ca_crl.is_some()),
        ("credentialName", tls.credential_name.is_some()),
        ("subjectAltNames", tls.subject_alt_names.is_some()),
        ("sni", tls.sni.is_some()),
        ("insecureSkipVerify", tls.insecure_skip_verify.is_some()),
    ];
    for (key, _) in written.iter().filter(|(_, is_set)| *is_set) {
        errors.push(Invalid::new(at.clone().key(key), Reason::OnlyOrigination));
    }
    Some(mode)
}

/// Without a `VirtualService` no connection goes to a subset; its TLS must not be passed over all the same.
fn subsets(subsets: &[Subset], errors: &mut Vec<Invalid>) {
    for (index, subset) in subsets.iter().enumerate() {
        let at = FieldPath::of("spec.subsets").index(index);
        if subset.name.as_deref().is_none_or(str::is_empty) {
            errors.push(Invalid::new(at.clone().key("name"), Reason::Empty));
        }
        if let Some(policy) = &subset.traffic_policy {
            traffic_policy(policy, &at.key("trafficPolicy"), errors);
        }
    }
}
