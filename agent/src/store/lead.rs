//! Where a client's connection leads, and what the client is told to speak there: what proxy and review have in
//! common.

use std::{
    net::{IpAddr, SocketAddr},
    sync::Arc,
};

use super::Snapshot;
use crate::{
    policy::{DocumentRef, Labels, Routed, Ruled},
    workload::{Endpoint, ObjectName, Service, Workload},
};

/// Where a connection leads.
#[derive(Clone, Copy, Debug)]
pub struct Lead<'s> {
    /// Whose the host is; `None`: no service's.
    pub service: Option<&'s Arc<Service>>,
    /// Of the service.
    pub port: u16,
    /// What has sent it elsewhere than the client asked for.
    pub routed: Option<Routed<'s>>,
    /// What the client is told to speak, if anything.
    pub ruled: Option<Ruled<'s>>,
    /// Of the pods that may be chosen; `None`: of any.
    labels: Option<&'s Labels>,
}

/// A `VirtualService` leads nowhere.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum LeadError {
    #[error("{document} leads to {host}, and neither a service nor a ServiceEntry has that host")]
    NoHost { document: DocumentRef, host: String },
    #[error("{document} leads to {host}, which has several ports, and says none")]
    NoPort { document: DocumentRef, host: String },
    #[error("{document} leads to subset {subset} of {host}, which no DestinationRule defines")]
    NoSubset {
        document: DocumentRef,
        host: String,
        subset: String,
    },
}

impl LeadError {
    /// Which one.
    #[must_use]
    pub fn document(&self) -> &DocumentRef {
        match self {
            Self::NoHost { document, .. }
            | Self::NoPort { document, .. }
            | Self::NoSubset { document, .. } => document,
        }
    }
}

impl<'s> Lead<'s> {
    /// Of a client whom no policy is for.
    #[must_use]
    pub fn direct(service: Option<&'s Arc<Service>>, port: u16) -> Self {
        Self {
            service,
            port,
            routed: None,
            ruled: None,
            labels: None,
        }
    }
}

impl Snapshot {
    /// The service of a host: `NAME.NAMESPACE.svc.CLUSTER-DOMAIN`, else one outside.
    #[must_use]
    pub fn service_named(&self, host: &str) -> Option<&Arc<Service>> {
        let mut parts = host.split('.');
        let name = parts.next().zip(parts.next());
        let service = name.and_then(|(name, namespace)| {
            let name = ObjectName::new(namespace, name);
            self.services.get(&name)
        });
        let service = service.filter(|service| service.host == host);
        service.or_else(|| self.outside_by_host.get(host))
    }

    /// The service that a connection to an address asks for. A pod of the mesh is itself, rather than a host outside
    /// that has had its address and doesn't lead there now.
    #[must_use]
    pub fn asked_at(&self, address: IpAddr) -> Option<&Arc<Service>> {
        let service = self.service_at(address)?;
        let pod = self.workload_at(address).filter(|w| w.enrolled);
        let mut endpoints = service.ports.iter().flat_map(|port| &port.endpoints);
        let stale = service.outside.is_some()
            && pod.is_some()
            && !endpoints.any(|endpoint| endpoint.address == address);
        (!stale).then_some(service)
    }

    /// [`lead`](Self::lead) of a connection to an address.
    ///
    /// # Errors
    /// As that.
    pub fn lead_to(&self, client: &Workload, to: SocketAddr) -> Result<Lead<'_>, LeadError> {
        let (address, port) = (to.ip(), to.port());
        self.lead(client, self.asked_at(address), port, Some(address))
    }

    /// Where a connection of `client` to a port of `service` leads. `address` is where the client connects to, if that
    /// is known.
    ///
    /// # Errors
    /// When a document sends it to where nobody is.
    pub fn lead<'s>(
        &'s self,
        client: &Workload,
        service: Option<&'s Arc<Service>>,
        port: u16,
        address: Option<IpAddr>,
    ) -> Result<Lead<'s>, LeadError> {
        let service = service.filter(|service| service.is_known_in(client.namespace()));
        let routes = self.policy.routes();
        let routed = service.and_then(|service| routes.of(client, service, port, address));
        let (service, port) = match routed {
            Some(routed) => {
                let (service, port) = self.routed(client, routed, port)?;
                (Some(service), port)
            }
            None => (service, port),
        };
        let clients = self.policy.clients();
        let subset = routed.and_then(|routed| routed.subset);
        let labels = match (service, subset, routed) {
            (Some(service), Some(subset), Some(routed)) => {
                let labels = clients.subset(client, service, subset);
                Some(labels.ok_or_else(|| LeadError::NoSubset {
                    document: routed.document.clone(),
                    host: routed.host.to_owned(),
                    subset: subset.to_owned(),
                })?)
            }
            _ => None,
        };
        let declared = service.filter(|service| service.port(port).is_some());
        Ok(Lead {
            ruled: declared.and_then(|service| clients.of(client, service, port, subset)),
            service,
            port,
            routed,
            labels: labels.filter(|labels| !labels.is_empty()),
        })
    }

    fn routed<'s>(
        &'s self,
        client: &Workload,
        routed: Routed<'s>,
        asked: u16,
    ) -> Result<(&'s Arc<Service>, u16), LeadError> {
        let known = self.service_named(routed.host);
        let known = known.filter(|service| service.is_known_in(client.namespace()));
        let service = known.ok_or_else(|| LeadError::NoHost {
            document: routed.document.clone(),
            host: routed.host.to_owned(),
        })?;
        let port = match (routed.port, &service.ports[..]) {
            (Some(port), _) => port,
            (None, [only]) => only.port,
            (None, _) if service.port(asked).is_some() => asked,
            (None, _) => {
                return Err(LeadError::NoPort {
                    document: routed.document.clone(),
                    host: routed.host.to_owned(),
                });
            }
        };
        Ok((service, port))
    }

    /// What to dial, in this order, for a client that has connected to `address`. Empty: there is nobody.
    #[must_use]
    pub fn candidates(&self, lead: &Lead<'_>, address: IpAddr, random: usize) -> Vec<Endpoint> {
        let port = lead.port;
        let itself = || vec![Endpoint { address, port }];
        let Some(service) = lead.service else {
            return itself();
        };
        let Some(port) = service.port(port) else {
            // What a ServiceEntry doesn't speak of goes on untouched.
            let untouched = service.outside.is_some() && lead.routed.is_none();
            return if untouched { itself() } else { Vec::new() };
        };
        let candidates = port.candidates(address, random);
        candidates.filter(|e| self.is_wanted(lead, *e)).collect()
    }

    /// All that a port may lead to, of both families.
    pub fn endpoints<'a>(&'a self, lead: &'a Lead<'_>) -> impl Iterator<Item = Endpoint> + 'a {
        let port = lead.service.and_then(|service| service.port(lead.port));
        let all = port.map_or(&[][..], |port| &port.endpoints).iter().copied();
        all.filter(|endpoint| self.is_wanted(lead, *endpoint))
    }

    /// Whether an endpoint is of the subset.
    fn is_wanted(&self, lead: &Lead<'_>, endpoint: Endpoint) -> bool {
        lead.labels.is_none_or(|asked| {
            let pod = self.workload_at(endpoint.address);
            pod.is_some_and(|pod| asked.iter().all(|(k, v)| pod.labels.get(k) == Some(v)))
        })
    }
}
