//! `DestinationRule.spec` as written, and what of it holds.

use std::collections::BTreeMap;

use serde::{Deserialize, de::IgnoredAny};

use super::origination::{ClientTls, Tls};
use crate::policy::{
    DocumentRef, FieldPath, Invalid, Reason,
    export::visibility,
    host::Host,
    selector::{Labels, WorkloadSelector},
};
use crate::workload::Visibility;

/// One document that makes sense in itself.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct DestinationRule {
    pub(in crate::policy) document: DocumentRef,
    pub(in crate::policy) created: Option<i64>,
    pub(super) host: Host,
    /// Of the clients that it is for.
    pub(super) labels: Labels,
    pub(super) visibility: Visibility,
    /// `None`: it has no traffic policy.
    pub(super) all: Option<TlsRules>,
    pub(super) subsets: BTreeMap<String, SubsetRules>,
}

/// What is said of TLS.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub(super) struct TlsRules {
    any: Option<ClientTls>,
    /// Of the service's ports. Settings of a port stand in the place of all that is said above them, also if they say
    /// nothing of TLS.
    ports: BTreeMap<u16, Option<ClientTls>>,
}

/// Of the connections that a `VirtualService` sends to a subset.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) struct SubsetRules {
    /// Of the pods that it consists of.
    pub(super) labels: Labels,
    pub(super) tls: TlsRules,
}

impl TlsRules {
    /// `None`: nothing is said; what is said may be that nothing counts which is said elsewhere.
    pub(super) fn of(&self, port: u16) -> Option<Option<&ClientTls>> {
        let any = || self.any.as_ref().map(Some);
        self.ports.get(&port).map(Option::as_ref).or_else(any)
    }

    /// In no particular order.
    pub(super) fn each(&self) -> impl Iterator<Item = &ClientTls> {
        self.any.iter().chain(self.ports.values().flatten())
    }
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
    retry_budget: Option<IgnoredAny>,
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
struct Subset {
    name: Option<String>,
    labels: Option<Labels>,
    traffic_policy: Option<TrafficPolicy>,
}

impl DestinationRule {
    /// Whether it is for clients of its own namespace alone.
    pub(super) fn is_private(&self) -> bool {
        is_private(&self.visibility, &self.document.namespace)
    }

    /// # Errors
    /// Every field that makes no sense.
    pub fn new(
        document: DocumentRef,
        created: Option<i64>,
        spec: DestinationRuleSpec,
    ) -> Result<Self, Vec<Invalid>> {
        let mut errors = Vec::new();
        let host = Host::required(spec.host, FieldPath::of("spec.host"), &mut errors);
        let exported = spec.export_to.as_ref().is_some_and(|to| !to.is_empty());
        let selects = spec.workload_selector.is_some() && exported;
        let labels =
            WorkloadSelector::checked(spec.workload_selector, "spec.workloadSelector", &mut errors);
        let at = FieldPath::of("spec.trafficPolicy");
        let policy = spec.traffic_policy.as_ref();
        let all = policy.map(|policy| traffic_policy(policy, &at, &mut errors));
        let subsets = subsets(spec.subsets.unwrap_or_default(), &mut errors);
        let visibility = visibility(spec.export_to, &document.namespace, &mut errors);
        if selects && !is_private(&visibility, &document.namespace) {
            let field = FieldPath::of("spec.exportTo");
            errors.push(Invalid::new(field, Reason::ExportSelected));
        }
        match host {
            Some(host) if errors.is_empty() => Ok(Self {
                document,
                created,
                host,
                labels,
                visibility,
                all,
                subsets,
            }),
            _ => Err(errors),
        }
    }

    /// As it is written.
    pub(in crate::policy) fn host(&self) -> &Host {
        &self.host
    }

    /// Of services, with settings of their own.
    pub(in crate::policy) fn ports(&self) -> impl Iterator<Item = u16> {
        let of_subsets = self.subsets.values().map(|subset| &subset.tls);
        let rules = self.all.iter().chain(of_subsets);
        rules.flat_map(|rules| rules.ports.keys().copied())
    }

    /// The labels of a subset's pods.
    pub(in crate::policy) fn subset(&self, name: &str) -> Option<&Labels> {
        self.subsets.get(name).map(|subset| &subset.labels)
    }

    /// Of the clients that it is for; empty: all.
    pub(in crate::policy) fn labels(&self) -> &Labels {
        &self.labels
    }
}

/// What a rule for some clients may be exported to (Istio: `validateExportTo`).
fn is_private(visibility: &Visibility, own: &str) -> bool {
    match visibility {
        Visibility::Everywhere => false,
        Visibility::Namespaces(namespaces) => namespaces.iter().all(|name| name == own),
    }
}

fn traffic_policy(policy: &TrafficPolicy, at: &FieldPath, errors: &mut Vec<Invalid>) -> TlsRules {
    // Traffic management: of no account here.
    let others = [
        &policy.load_balancer,
        &policy.connection_pool,
        &policy.outlier_detection,
        &policy.tunnel,
        &policy.proxy_protocol,
        &policy.retry_budget,
    ];
    let settings = policy.port_level_settings.as_ref();
    let says_nothing = policy.tls.is_none() && settings.is_none_or(Vec::is_empty);
    if says_nothing && others.iter().all(|other| other.is_none()) {
        errors.push(Invalid::new(at.clone(), Reason::Empty));
    }
    let tls = policy.tls.as_ref();
    let any = tls.and_then(|tls| tls.checked(&at.clone().key("tls"), errors));
    let mut ports = BTreeMap::new();
    for (index, settings) in policy.port_level_settings.iter().flatten().enumerate() {
        let at = at.clone().key("portLevelSettings").index(index);
        if let Some((port, tls)) = port_settings(settings, &at, errors)
            && ports.insert(port, tls).is_some()
        {
            let field = at.key("port").key("number");
            errors.push(Invalid::new(field, Reason::Twice(port.to_string())));
        }
    }
    TlsRules { any, ports }
}

fn port_settings(
    settings: &PortSettings,
    at: &FieldPath,
    errors: &mut Vec<Invalid>,
) -> Option<(u16, Option<ClientTls>)> {
    let others = [
        &settings.load_balancer,
        &settings.connection_pool,
        &settings.outlier_detection,
    ];
    if settings.tls.is_none() && others.iter().all(|other| other.is_none()) {
        errors.push(Invalid::new(at.clone(), Reason::Empty));
    }
    let Some(Port { number }) = settings.port else {
        errors.push(Invalid::new(at.clone().key("port"), Reason::Mandatory));
        return None;
    };
    let port = u16::try_from(number).ok().filter(|port| *port > 0);
    if port.is_none() {
        let field = at.clone().key("port").key("number");
        errors.push(Invalid::new(field, Reason::Port(number.to_string())));
    }
    let tls = settings.tls.as_ref();
    let tls = tls.and_then(|tls| tls.checked(&at.clone().key("tls"), errors));
    port.map(|port| (port, tls))
}

fn subsets(subsets: Vec<Subset>, errors: &mut Vec<Invalid>) -> BTreeMap<String, SubsetRules> {
    let mut read = BTreeMap::new();
    for (index, subset) in subsets.into_iter().enumerate() {
        let at = FieldPath::of("spec.subsets").index(index);
        let name = subset.name.unwrap_or_default();
        let at_policy = at.clone().key("trafficPolicy");
        let tls = subset.traffic_policy.as_ref();
        let rules = SubsetRules {
            labels: subset.labels.unwrap_or_default(),
            tls: tls.map_or_else(TlsRules::default, |tls| {
                traffic_policy(tls, &at_policy, errors)
            }),
        };
        if name.is_empty() {
            errors.push(Invalid::new(at.key("name"), Reason::Mandatory));
        } else if read.insert(name.clone(), rules).is_some() {
            errors.push(Invalid::new(at.key("name"), Reason::Twice(name)));
        }
    }
    read
}
