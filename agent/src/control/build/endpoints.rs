//! The endpoints of services: from their slices, or from their selectors when nobody wrote slices.

use std::{collections::HashMap, sync::Arc};

use super::Settings;
use crate::{
    control::objects::{
        EndpointSliceFacts, Located, PodFacts, ServiceFacts, ServicePortFacts, TargetPort,
    },
    workload::{Endpoint, ObjectName, Service, ServicePort},
};

/// Services in the order of their names.
pub fn resolve(
    services: Vec<ServiceFacts>,
    slices: Vec<EndpointSliceFacts>,
    pods: &[Arc<Located<PodFacts>>],
    settings: &Settings,
) -> Vec<Service> {
    let mut slices_of: HashMap<ObjectName, Vec<EndpointSliceFacts>> = HashMap::new();
    for mut slice in slices {
        if let Some(service) = slice.service.take() {
            slices_of.entry(service).or_default().push(slice);
        }
    }
    let index = PodIndex::new(pods);
    let mut resolved: Vec<_> = services
        .into_iter()
        .map(|service| {
            let slices = slices_of.get(&service.name).map(Vec::as_slice);
            with_endpoints(service, slices, &index, settings)
        })
        .collect();
    resolved.sort_by(|a, b| a.name.cmp(&b.name));
    resolved
}

fn with_endpoints(
    service: ServiceFacts,
    slices: Option<&[EndpointSliceFacts]>,
    index: &PodIndex<'_>,
    settings: &Settings,
) -> Service {
    let endpoints = |port| match slices {
        Some(slices) => from_slices(slices, &service, port),
        None => from_selector(index, &service, port),
    };
    let ports = service.ports.iter().map(|port| ServicePort {
        name: port.name.clone(),
        port: port.port,
        protocol: port.protocol,
        endpoints: in_order(endpoints(port)),
    });
    let ports = ports.collect();
    let ObjectName { namespace, name } = &service.name;
    Service {
        host: format!("{name}.{namespace}.svc.{}", settings.cluster_domain),
        virtual_addresses: service.virtual_addresses,
        ports,
        outside: None,
        name: service.name,
    }
}

fn in_order(mut endpoints: Vec<Endpoint>) -> Vec<Endpoint> {
    endpoints.sort_unstable();
    endpoints.dedup();
    endpoints
}

fn from_slices(
    slices: &[EndpointSliceFacts],
    service: &ServiceFacts,
    port: &ServicePortFacts,
) -> Vec<Endpoint> {
    let mut found = Vec::new();
    for slice in slices {
        let Some(target) = slice.ports.iter().find(|p| p.name == port.name) else {
            continue;
        };
        let usable = |ready: bool| ready || service.publish_not_ready;
        let ready = slice.endpoints.iter().filter(|e| usable(e.ready));
        found.extend(ready.map(|endpoint| Endpoint {
            address: endpoint.address,
            port: target.port,
        }));
    }
    found
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
struct PodIndex<'a> {
    by_label: HashMap<(&'a str, &'a str, &'a str), Vec<&'a PodFacts>>,
}

impl<'a> PodIndex<'a> {
    fn new(pods: &'a [Arc<Located<PodFacts>>]) -> Self {
        let mut by_label: HashMap<_, Vec<_>> = HashMap::new();
        for pod in pods.iter().map(|pod| &pod.facts) {
            for (key, value) in &pod.labels {
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
