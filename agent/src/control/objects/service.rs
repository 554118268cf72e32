//! `v1/Service`.

use std::{collections::BTreeMap, net::IpAddr};

use super::{
    BadField, FromObject,
    api::{IntOrString, Service, ServicePort, ServiceSpec, ServiceStatus},
    metadata,
};
use crate::{
    control::yaml::FieldPath,
    workload::{ObjectName, Outward, Protocol},
};

/// What the mesh needs to know of a service.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ServiceFacts {
    pub name: ObjectName,
    /// Empty for headless services and those without an address yet.
    pub virtual_addresses: Vec<IpAddr>,
    /// Empty: the service selects no pods.
    pub selector: BTreeMap<String, String>,
    /// TCP only.
    pub ports: Vec<ServicePortFacts>,
    /// Whether pods that aren't ready are endpoints too.
    pub publish_not_ready: bool,
    pub outward: Outward,
}

/// A TCP port of a service.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ServicePortFacts {
    /// Empty if it has none.
    pub name: String,
    pub port: u16,
    pub protocol: Protocol,
    pub target: TargetPort,
}

/// Where a service port leads to in a pod.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum TargetPort {
    Number(u16),
    /// Of a port of one of the pod's containers.
    Name(String),
}

impl FromObject for ServiceFacts {
    type Object = Service;

    fn from_object(name: &ObjectName, service: Service) -> Result<Self, Vec<BadField>> {
        let spec = service.spec.unwrap_or_default();
        let outward = outward(&spec, service.status.unwrap_or_default());
        let mut bad = Vec::new();
        let virtual_addresses = virtual_addresses(&spec, &mut bad);
        let mut ports = Vec::new();
        for (index, port) in spec.ports.iter().flatten().enumerate() {
            if metadata::is_tcp(port.protocol.as_deref()) {
                let path = FieldPath::of("spec.ports").index(index);
                metadata::sort_out(service_port(port, &path), &mut ports, &mut bad);
            }
        }
        if !bad.is_empty() {
            return Err(bad);
        }
        Ok(Self {
            name: name.clone(),
            virtual_addresses,
            selector: spec.selector.unwrap_or_default(),
            ports,
            publish_not_ready: spec.publish_not_ready_addresses == Some(true),
            outward,
        })
    }
}

fn virtual_addresses(spec: &ServiceSpec, bad: &mut Vec<BadField>) -> Vec<IpAddr> {
    let is_address = |text: &&String| !text.is_empty() && *text != "None";
    let mut found = Vec::new();
    let listed = spec.cluster_ips.as_deref().unwrap_or_default();
    for (index, text) in listed.iter().enumerate().filter(|(_, t)| is_address(t)) {
        let field = FieldPath::of("spec.clusterIPs").index(index);
        metadata::sort_out(metadata::address(text, &field), &mut found, bad);
    }
    if listed.is_empty()
        && let Some(text) = spec.cluster_ip.as_ref().filter(is_address)
    {
        let field = FieldPath::of("spec.clusterIP");
        metadata::sort_out(metadata::address(text, &field), &mut found, bad);
    }
    found
}

/// What can't be read is left out: nothing follows from it.
fn outward(spec: &ServiceSpec, status: ServiceStatus) -> Outward {
    let ingress = status.load_balancer.and_then(|balancer| balancer.ingress);
    let balanced = ingress.into_iter().flatten().filter_map(|point| point.ip);
    let external = spec.external_ips.iter().flatten().cloned();
    let addresses = external.chain(balanced).filter_map(|ip| ip.parse().ok());
    let ports = spec.ports.iter().flatten();
    let ports = ports.filter(|port| metadata::is_tcp(port.protocol.as_deref()));
    let node_ports = ports.filter_map(|port| {
        let of_node = u16::try_from(port.node_port?).ok().filter(|p| *p > 0)?;
        Some((of_node, u16::try_from(port.port).ok()?))
    });
    let is_alias = spec.type_.as_deref() == Some("ExternalName");
    let alias = spec.external_name.clone().filter(|_| is_alias);
    Outward {
        alias: alias.map(|host| host.trim_end_matches('.').to_ascii_lowercase()),
        addresses: addresses.map(|ip: IpAddr| ip.to_canonical()).collect(),
        node_ports: node_ports.collect(),
    }
}

fn service_port(entry: &ServicePort, path: &FieldPath) -> Result<ServicePortFacts, BadField> {
    let port = metadata::port(entry.port, &path.clone().key("port"))?;
    let target = match &entry.target_port {
        // Zero is how older API servers print "the same".
        None | Some(IntOrString::Int(0)) => TargetPort::Number(port),
        Some(IntOrString::Int(number)) => {
            TargetPort::Number(metadata::port(*number, &path.clone().key("targetPort"))?)
        }
        Some(IntOrString::String(name)) => TargetPort::Name(name.clone()),
    };
    let name = entry.name.clone().unwrap_or_default();
    Ok(ServicePortFacts {
        protocol: Protocol::of_port(entry.app_protocol.as_deref(), &name),
        name,
        port,
        target,
    })
}
