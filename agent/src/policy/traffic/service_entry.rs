//! `ServiceEntry` (<https://istio.io/latest/docs/reference/config/networking/service-entry/>): hosts that are no
//! Kubernetes services, as [`Service`]s.

use std::{collections::BTreeMap, net::IpAddr};

use ipnet::IpNet;
use serde::{Deserialize, de::IgnoredAny};

use super::virtual_service::port;
use crate::{
    policy::{
        DocumentRef, FieldPath, Invalid, Reason, alternative_name, export, field::refuse,
        host::Host,
    },
    workload::{Endpoint, ObjectName, Outside, Protocol, Service, ServicePort},
};

/// What name servers say of hosts.
pub type Addresses = BTreeMap<String, HostAddresses>;

/// Of one host.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct HostAddresses {
    /// In the last answer.
    pub current: Vec<IpAddr>,
    /// In those of the last minutes: clients may still have them.
    pub recent: Vec<IpAddr>,
}

/// One document that makes sense in itself.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct ServiceEntry {
    pub(in crate::policy) document: DocumentRef,
    pub(in crate::policy) created: Option<i64>,
    hosts: Vec<String>,
    addresses: Vec<IpAddr>,
    ports: Vec<Port>,
    resolution: Resolution,
    endpoints: Vec<Target>,
    outside: Outside,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
struct Port {
    name: String,
    number: u16,
    target: u16,
    protocol: Protocol,
}

/// Where connections go.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
struct Target {
    address: String,
    /// By the names of ports, where they differ.
    ports: BTreeMap<String, u16>,
}

/// How the endpoints' addresses are found.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Deserialize)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
enum Resolution {
    /// Wherever the client connects to.
    #[default]
    None,
    Static,
    Dns,
    DnsRoundRobin,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
enum Location {
    MeshExternal,
    MeshInternal,
}

/// `spec`.
#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default, deny_unknown_fields)]
pub struct ServiceEntrySpec {
    hosts: Option<Vec<String>>,
    addresses: Option<Vec<String>>,
    ports: Option<Vec<WrittenPort>>,
    #[serde(rename = "location")]
    _location: Option<Location>,
    resolution: Option<Resolution>,
    endpoints: Option<Vec<WrittenEndpoint>>,
    workload_selector: Option<IgnoredAny>,
    export_to: Option<Vec<String>>,
    subject_alt_names: Option<Vec<String>>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default, deny_unknown_fields)]
struct WrittenPort {
    number: i64,
    name: Option<String>,
    protocol: Option<String>,
    target_port: Option<i64>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default, deny_unknown_fields)]
struct WrittenEndpoint {
    address: Option<String>,
    ports: Option<BTreeMap<String, i64>>,
    #[serde(rename = "labels")]
    _labels: Option<IgnoredAny>,
    #[serde(rename = "network")]
    _network: Option<IgnoredAny>,
    #[serde(rename = "locality")]
    _locality: Option<IgnoredAny>,
    #[serde(rename = "weight")]
    _weight: Option<IgnoredAny>,
    #[serde(rename = "serviceAccount")]
    _service_account: Option<IgnoredAny>,
}

impl ServiceEntry {
    /// # Errors
    /// Every field that makes no sense, or asks for what Sealane doesn't do.
    pub fn new(
        document: DocumentRef,
        created: Option<i64>,
        spec: ServiceEntrySpec,
    ) -> Result<Self, Vec<Invalid>> {
        let mut errors = Vec::new();
        let selects = [("workloadSelector", spec.workload_selector.is_some())];
        let instead = Reason::Instead("write a Service with the selector");
        refuse(&FieldPath::of("spec"), &selects, &instead, &mut errors);
        let resolution = spec.resolution.unwrap_or_default();
        let visibility = export::of_host(spec.export_to, &document.namespace, &mut errors);
        let names = spec.subject_alt_names.unwrap_or_default();
        alternative_name::check(&names, &FieldPath::of("spec"), &mut errors);
        let entry = Self {
            document,
            created,
            hosts: hosts(spec.hosts.unwrap_or_default(), resolution, &mut errors),
            addresses: addresses(spec.addresses.unwrap_or_default(), &mut errors),
            ports: ports(spec.ports.unwrap_or_default(), &mut errors),
            resolution,
            endpoints: endpoints(spec.endpoints.unwrap_or_default(), resolution, &mut errors),
            outside: Outside { names, visibility },
        };
        entry.check_port_names(&mut errors);
        if errors.is_empty() {
            Ok(entry)
        } else {
            Err(errors)
        }
    }

    #[must_use]
    pub fn document(&self) -> &DocumentRef {
        &self.document
    }

    pub fn hosts(&self) -> impl Iterator<Item = &str> {
        self.hosts.iter().map(String::as_str)
    }

    /// Orders entries that compete for a host: the older comes first.
    #[must_use]
    pub fn precedence(&self) -> (i64, &DocumentRef) {
        self.document.precedence(self.created)
    }

    /// Names whose addresses must be asked for: none if nobody may know them.
    pub fn unresolved(&self) -> impl Iterator<Item = &str> {
        let wanted = !self.outside.visibility.is_nobody();
        let own = self.hosts.iter().filter(|_| self.asks_for_hosts());
        let targets = self.endpoints.iter().map(|endpoint| &endpoint.address);
        let targets = targets.filter(|address| address.parse::<IpAddr>().is_err());
        let all = own.chain(targets).map(String::as_str);
        all.filter(move |_| wanted)
    }

    /// Whether it is for a host of which name servers must be asked something.
    #[must_use]
    pub fn asks_for(&self, host: &str) -> bool {
        self.hosts.iter().any(|own| own == host) && self.unresolved().next().is_some()
    }

    /// Clients connect to what name servers tell them.
    fn asks_for_hosts(&self) -> bool {
        let is_dns = matches!(self.resolution, Resolution::Dns | Resolution::DnsRoundRobin);
        is_dns && self.addresses.is_empty()
    }

    /// One service for each host; none if nobody may know it, as if it were not there.
    pub fn services(&self, known: &Addresses) -> impl Iterator<Item = Service> {
        let wanted = !self.outside.visibility.is_nobody();
        let hosts = self.hosts.iter().filter(move |_| wanted);
        hosts.map(move |host| Service {
            name: ObjectName::new(&self.document.namespace, host),
            host: host.clone(),
            virtual_addresses: self.virtual_addresses(host, known),
            ports: self.service_ports(host, known),
            outside: Some(Box::new(self.outside.clone())),
        })
    }

    fn virtual_addresses(&self, host: &str, known: &Addresses) -> Vec<IpAddr> {
        if self.asks_for_hosts() {
            return known.get(host).map_or_else(Vec::new, |a| a.recent.clone());
        }
        if self.addresses.is_empty() && self.resolution == Resolution::Static {
            let parsed = self.endpoints.iter().filter_map(|e| e.address.parse().ok());
            return parsed.collect();
        }
        self.addresses.clone()
    }

    fn service_ports(&self, host: &str, known: &Addresses) -> Vec<ServicePort> {
        let current = |name: &str| known.get(name).map_or(&[][..], |a| &a.current);
        let ports = self.ports.iter().map(|port| {
            let to = |address: &IpAddr, port| Endpoint {
                address: *address,
                port,
            };
            let mut endpoints = Vec::new();
            for target in &self.endpoints {
                let number = target.ports.get(&port.name).copied();
                let number = number.unwrap_or(port.target);
                match target.address.parse::<IpAddr>() {
                    Ok(address) => endpoints.push(to(&address.to_canonical(), number)),
                    Err(_) => {
                        endpoints.extend(current(&target.address).iter().map(|a| to(a, number)))
                    }
                }
            }
            if self.endpoints.is_empty() {
                let own = match self.resolution {
                    Resolution::Dns | Resolution::DnsRoundRobin => current(host),
                    Resolution::None | Resolution::Static => &self.addresses,
                };
                endpoints.extend(own.iter().map(|a| to(a, port.target)));
            }
            ServicePort {
                name: port.name.clone(),
                port: port.number,
                protocol: port.protocol,
                endpoints: endpoints.into_iter().collect(),
            }
        });
        ports.collect()
    }
}

fn hosts(written: Vec<String>, resolution: Resolution, errors: &mut Vec<Invalid>) -> Vec<String> {
    let at = FieldPath::of("spec.hosts");
    if written.is_empty() {
        errors.push(Invalid::new(at.clone(), Reason::Mandatory));
    }
    let mut hosts = Vec::new();
    for (index, written) in written.into_iter().enumerate() {
        match Host::parse(&written) {
            Some(Host::Exact(host)) => hosts.push(host),
            Some(Host::Suffix(suffix)) if resolution == Resolution::None && !suffix.is_empty() => {
                hosts.push(format!("*{suffix}"));
            }
            Some(Host::Suffix(_) | Host::Short(_)) | None => {
                let field = at.clone().index(index);
                errors.push(Invalid::new(field, Reason::OutsideHost(written)));
            }
        }
    }
    hosts
}

fn addresses(written: Vec<String>, errors: &mut Vec<Invalid>) -> Vec<IpAddr> {
    let mut addresses = Vec::new();
    for (index, written) in written.into_iter().enumerate() {
        let single = written.parse::<IpNet>().ok();
        let single = single.filter(|net| net.prefix_len() == net.max_prefix_len());
        match written.parse().ok().or(single.map(|net| net.addr())) {
            Some(address) => addresses.push(IpAddr::to_canonical(&address)),
            None => {
                let field = FieldPath::of("spec.addresses").index(index);
                errors.push(Invalid::new(field, Reason::Address(written)));
            }
        }
    }
    addresses
}

fn ports(written: Vec<WrittenPort>, errors: &mut Vec<Invalid>) -> Vec<Port> {
    let mut ports: Vec<Port> = Vec::new();
    for (index, written) in written.into_iter().enumerate() {
        let at = FieldPath::of("spec.ports").index(index);
        let number = port(written.number, &at.clone().key("number"), errors);
        let target = match written.target_port {
            None | Some(0) => number,
            Some(target) => port(target, &at.clone().key("targetPort"), errors),
        };
        let name = written.name.unwrap_or_default();
        if name.is_empty() {
            errors.push(Invalid::new(at.clone().key("name"), Reason::Mandatory));
        }
        if ports
            .iter()
            .any(|port| port.name == name || Some(port.number) == number)
        {
            let known = ports.iter().any(|port| port.name == name);
            let (field, value) = match known {
                true => ("name", name.clone()),
                false => ("number", written.number.to_string()),
            };
            errors.push(Invalid::new(at.clone().key(field), Reason::Twice(value)));
        }
        let said = written.protocol.as_deref().unwrap_or("TCP");
        let protocol = Protocol::named(said);
        if protocol.is_none() {
            let reason = Reason::Unknown {
                value: said.to_owned(),
                known: "HTTP, HTTPS, HTTP2, GRPC, GRPC-WEB, TCP, TLS, MONGO, MYSQL, REDIS",
            };
            errors.push(Invalid::new(at.key("protocol"), reason));
        }
        if let (Some(number), Some(target), Some(protocol)) = (number, target, protocol) {
            ports.push(Port {
                name,
                number,
                target,
                protocol,
            });
        }
    }
    if ports.is_empty() && errors.is_empty() {
        errors.push(Invalid::new(FieldPath::of("spec.ports"), Reason::Mandatory));
    }
    ports
}

impl ServiceEntry {
    /// As Istio's validation: `endpoint port %v is not defined by the service entry`.
    fn check_port_names(&self, errors: &mut Vec<Invalid>) {
        let known = |name: &String| self.ports.iter().any(|port| port.name == *name);
        for (index, endpoint) in self.endpoints.iter().enumerate() {
            for name in endpoint.ports.keys().filter(|name| !known(name)) {
                let field = FieldPath::of("spec.endpoints").index(index);
                let reason = Reason::Unknown {
                    value: name.clone(),
                    known: "the names in spec.ports",
                };
                errors.push(Invalid::new(field.key("ports").key(name), reason));
            }
        }
    }
}

fn endpoints(
    written: Vec<WrittenEndpoint>,
    resolution: Resolution,
    errors: &mut Vec<Invalid>,
) -> Vec<Target> {
    let all = FieldPath::of("spec.endpoints");
    if resolution == Resolution::None && !written.is_empty() {
        errors.push(Invalid::new(
            all,
            Reason::Instead("with resolution NONE connections go where clients connect to"),
        ));
        return Vec::new();
    }
    let mut targets = Vec::new();
    for (index, written) in written.into_iter().enumerate() {
        let at = all.clone().index(index);
        let address = written.address.unwrap_or_default();
        let is_name = resolution != Resolution::Static
            && matches!(Host::parse(&address), Some(Host::Exact(_) | Host::Short(_)));
        if address.parse::<IpAddr>().is_err() && !is_name {
            let reason = Reason::Address(address.clone());
            errors.push(Invalid::new(at.clone().key("address"), reason));
        }
        let mut ports = BTreeMap::new();
        for (name, number) in written.ports.into_iter().flatten() {
            let number = port(number, &at.clone().key("ports").key(&name), errors);
            ports.extend(number.map(|number| (name, number)));
        }
        targets.push(Target { address, ports });
    }
    targets
}
