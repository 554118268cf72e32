//! The endpoints of services: from their slices, or from their selectors when nobody wrote slices.

use std::{
    collections::{HashMap, HashSet},
    sync::Arc,
};

use super::Settings;
use crate::{
    control::objects::{
        Condition, EndpointSliceFacts, LocatedPod, PodFacts, ServiceFacts, ServicePortFacts,
        TargetPort,
    },
    store::Snapshot,
    workload::{Endpoint, Endpoints, ObjectName, Service, ServicePort},
};

/// Services in the order of their names; those that are as they are in `previous` are shared with it.
pub fn resolve(
    services: &[Arc<ServiceFacts>],
    slices: &[Arc<EndpointSliceFacts>],
    pods: &[LocatedPod],
    settings: &Settings,
    previous: &Snapshot,
) -> Vec<Arc<Service>> {
    let mut slices_of: HashMap<&ObjectName, Vec<&EndpointSliceFacts>> = HashMap::new();
    for slice in slices {
        if let Some(service) = &slice.service {
            slices_of.entry(service).or_default().push(slice);
        }
    }
    let by_selector = services
        .iter()
        .filter(|service| !(service.selector.is_empty() || slices_of.contains_key(&service.name)));
    let namespaces: HashSet<_> = by_selector.map(|s| &*s.name.namespace).collect();
    let index = if namespaces.is_empty() {
        PodIndex::default()
    } else {
        PodIndex::new(pods, &namespaces)
    };
    let with_endpoints = |service: &Arc<ServiceFacts>| {
        let slices = slices_of.get(&service.name).map(Vec::as_slice);
        let service = with_endpoints(service, slices, &index, settings);
        let known = previous.service(&service.name);
        let known = known.filter(|known| ***known == service);
        known.map_or_else(|| Arc::new(service), Arc::clone)
    };
    let mut resolved: Vec<_> = services.iter().map(with_endpoints).collect();
    resolved.sort_by(|a, b| a.name.cmp(&b.name));
    resolved
}

fn with_endpoints(
    service: &ServiceFacts,
    slices: Option<&[&EndpointSliceFacts]>,
    index: &PodIndex<'_>,
    settings: &Settings,
) -> Service {
    let endpoints = |port| match slices {
        Some(slices) => from_slices(slices, service, port),
        None => from_selector(index, service, port),
    };
    let mut ports = Vec::<ServicePort>::with_capacity(service.ports.len());
    for port in &service.ports {
        let mut endpoints = Endpoints::from_iter(endpoints(port));
        for other in &ports {
            endpoints.share(&other.endpoints);
        }
        ports.push(ServicePort {
            name: port.name.clone(),
            port: port.port,
            protocol: port.protocol,
            endpoints,
        });
    }
    let ObjectName { namespace, name } = &service.name;
    Service {
        host: format!("{name}.{namespace}.svc.{}", settings.cluster_domain),
        virtual_addresses: service.virtual_addresses.clone(),
        ports,
        outside: None,
        name: service.name.clone(),
    }
}

fn from_slices(
    slices: &[&EndpointSliceFacts],
    service: &ServiceFacts,
    port: &ServicePortFacts,
) -> Vec<Endpoint> {
    let (mut ready, mut lingering) = (Vec::new(), Vec::new());
    for slice in slices {
        let Some(target) = slice.ports.iter().find(|p| p.name == port.name) else {
            continue;
        };
        for of_slice in &slice.endpoints {
            let endpoint = Endpoint {
                address: of_slice.address,
                port: target.port,
            };
            match of_slice.condition {
                Condition::Ready => ready.push(endpoint),
                _ if service.publish_not_ready => ready.push(endpoint),
                Condition::Lingering => lingering.push(endpoint),
                Condition::Unready => {}
            }
        }
    }
    // As kube-proxy does (KEP-1669): those that are ending serve while there is nobody else.
    if ready.is_empty() { lingering } else { ready }
}

fn from_selector(
    index: &PodIndex<'_>,
    service: &ServiceFacts,
    port: &ServicePortFacts,
) -> Vec<Endpoint> {
    let mut found = Vec::new();
    for pod in index.selected(service) {
        if !(pod.ready || service.publish_not_ready) {
            continue;
        }
        let Some(target) = target(&port.target, pod) else {
            continue;
        };
        found.extend(pod.addresses.iter().map(|address| Endpoint {
            address: *address,
            port: target,
        }));
    }
    found
}

fn target(target: &TargetPort, pod: &PodFacts) -> Option<u16> {
    match target {
        TargetPort::Number(port) => Some(*port),
        TargetPort::Name(name) => {
            let port = pod.container_ports.iter().find(|port| port.name == *name)?;
            Some(port.port)
        }
    }
}

/// Pods by namespace and label, so that a service looks at few of them.
#[derive(Default)]
struct PodIndex<'a> {
    by_label: HashMap<(&'a str, &'a str, &'a str), Vec<&'a PodFacts>>,
}

impl<'a> PodIndex<'a> {
    /// Of the namespaces for which it is asked.
    fn new(pods: &'a [LocatedPod], namespaces: &HashSet<&str>) -> Self {
        let mut by_label: HashMap<_, Vec<_>> = HashMap::new();
        let pods = pods.iter().map(|pod| &*pod.facts);
        for pod in pods.filter(|pod| namespaces.contains(&*pod.name.namespace)) {
            for (key, value) in &*pod.labels {
                let label = (&*pod.name.namespace, key.as_str(), value.as_str());
                by_label.entry(label).or_default().push(pod);
            }
        }
        Self { by_label }
    }

    /// Nothing for a service without selector.
    fn selected<'s>(&'s self, service: &'s ServiceFacts) -> impl Iterator<Item = &'a PodFacts> {
        let selector = &service.selector;
        let mut fewest: Option<&'s [&'a PodFacts]> = None;
        for (key, value) in selector {
            let label = (&*service.name.namespace, key.as_str(), value.as_str());
            let candidates = self.by_label.get(&label).map_or(&[][..], Vec::as_slice);
            if fewest.is_none_or(|fewest| candidates.len() < fewest.len()) {
                fewest = Some(candidates);
            }
        }
        let selects = |pod: &&PodFacts| {
            selector
                .iter()
                .all(|(key, value)| pod.labels.get(key) == Some(value))
        };
        fewest.unwrap_or_default().iter().copied().filter(selects)
    }
}
