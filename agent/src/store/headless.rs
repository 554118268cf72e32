//! Services without an address: clients look up the pods and connect to one of them.

use std::{collections::HashMap, net::IpAddr, sync::Arc};

use crate::workload::{Endpoint, Service};

/// By the addresses of their pods.
#[derive(Clone, Debug, Default)]
pub(super) struct Headless(HashMap<IpAddr, Vec<Port>>);

#[derive(Clone, Debug)]
struct Port {
    /// Of the pod.
    own: u16,
    service: Arc<Service>,
    /// Of the service.
    declared: u16,
}

impl Headless {
    /// Of two with one pod and port the earlier counts.
    pub(super) fn add(&mut self, service: &Arc<Service>) {
        for port in &service.ports {
            for endpoint in port.endpoints.iter() {
                let ports = self.0.entry(endpoint.address).or_default();
                if !ports.iter().any(|known| known.own == endpoint.port) {
                    ports.push(Port {
                        own: endpoint.port,
                        service: Arc::clone(service),
                        declared: port.port,
                    });
                }
            }
        }
    }

    /// The service that a client means by a pod's port, and the service's own name for that port.
    pub(super) fn at(&self, endpoint: Endpoint) -> Option<(&Arc<Service>, u16)> {
        let mut ports = self.0.get(&endpoint.address)?.iter();
        let port = ports.find(|port| port.own == endpoint.port)?;
        Some((&port.service, port.declared))
    }

    pub(super) fn knows(&self, address: IpAddr) -> bool {
        self.0.contains_key(&address)
    }
}
