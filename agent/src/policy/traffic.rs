//! Where connections go: Istio's `VirtualService`, as far as it is about ports and hosts, `ServiceEntry` for hosts
//! outside of the mesh, `Gateway` for those that come in from there.

mod gateway;
mod service_entry;
mod virtual_service;

use std::{collections::BTreeMap, net::IpAddr};

pub use gateway::{Gateway, GatewaySpec};
pub use service_entry::{Addresses, HostAddresses, ServiceEntry, ServiceEntrySpec};
use virtual_service::{Protocols, Route};
pub use virtual_service::{VirtualService, VirtualServiceSpec};

use super::{DocumentRef, Ignored, host::Host};
use crate::workload::{Protocol, Service, Workload};

/// Compiled routes of a whole mesh.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct Routes {
    /// Those for connections of pods, oldest first.
    services: Vec<VirtualService>,
    /// Which of them are for a host.
    hosts: BTreeMap<Host, Vec<usize>>,
}

/// Where else a connection goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Routed<'p> {
    pub host: &'p str,
    pub subset: Option<&'p str>,
    /// `None`: the host's only port.
    pub port: Option<u16>,
    pub document: &'p DocumentRef,
}

impl Routes {
    /// Documents without effect are added to `ignored`.
    pub(super) fn compile(
        cluster_domain: &str,
        mut services: Vec<VirtualService>,
        gateways: &[Gateway],
        ignored: &mut Vec<Ignored>,
    ) -> Self {
        ignored.extend(gateways.iter().map(|gateway| Ignored::NoGateway {
            document: gateway.document.clone(),
        }));
        services.sort_by(|a, b| {
            let older = a.document.precedence(a.created);
            older.cmp(&b.document.precedence(b.created))
        });
        let mut of_pods = Vec::new();
        for service in services {
            if service.is_for_pods() {
                of_pods.push(service.whole(cluster_domain));
            } else {
                ignored.push(Ignored::NoGateway {
                    document: service.document,
                });
            }
        }
        let mut hosts = BTreeMap::<_, Vec<_>>::new();
        for (index, service) in of_pods.iter().enumerate() {
            for host in service.hosts() {
                hosts.entry(host.clone()).or_default().push(index);
            }
        }
        Self {
            services: of_pods,
            hosts,
        }
    }

    /// What is said of connections of `client` to a port of a service, if anything is. `address` is where the client
    /// connects to, if that is known.
    #[must_use]
    pub fn of(
        &self,
        client: &Workload,
        service: &Service,
        port: u16,
        address: Option<IpAddr>,
    ) -> Option<Routed<'_>> {
        // The most specific host comes first, and of those for it the oldest.
        let routes = self.about(&service.host);
        let mut visible = routes.filter(|routes| routes.visibility.reaches(client.namespace()));
        let routes = visible.next()?;
        let protocol = service.port(port).map_or(Protocol::Unknown, |p| p.protocol);
        let Route { destination, .. } = routes.routes.iter().find(|route| {
            route.protocols.take(protocol) && route.matches(client, service, port, address)
        })?;
        Some(Routed {
            host: destination.host(),
            subset: destination.subset.as_deref(),
            port: destination.port,
            document: &routes.document,
        })
    }

    /// Ports that something is said of for a host, which its service need not have.
    pub fn ports(&self, host: &str) -> impl Iterator<Item = u16> {
        let about = self.about(host);
        about.flat_map(|service| service.routes.iter().flat_map(Route::ports))
    }

    /// Where connections to a host may be sent.
    pub fn leading<'p>(&'p self, host: &str) -> impl Iterator<Item = &'p str> {
        let routes = self.about(host).flat_map(|service| &service.routes);
        routes.map(|route| route.destination.host())
    }

    fn about<'p>(&'p self, host: &str) -> impl Iterator<Item = &'p VirtualService> {
        let anybody = (!self.hosts.is_empty()).then_some(host);
        let meanings = anybody.into_iter().flat_map(Host::meaning);
        let indices = meanings.filter_map(|host| self.hosts.get(&host));
        indices
            .flatten()
            .filter_map(|index| self.services.get(*index))
    }

    /// Hosts that connections are sent to, each with who says so.
    pub fn destinations(&self) -> impl Iterator<Item = (&str, &DocumentRef)> {
        self.services.iter().flat_map(|service| {
            let routes = service.routes.iter();
            routes.map(move |route| (route.destination.host(), &service.document))
        })
    }
}

impl Protocols {
    fn take(self, protocol: Protocol) -> bool {
        match self {
            Self::Http => matches!(protocol, Protocol::Http | Protocol::Unknown),
            Self::Tls => matches!(protocol, Protocol::Tls | Protocol::Unknown),
            Self::Tcp => protocol != Protocol::Http,
        }
    }
}

#[cfg(test)]
mod tests;
