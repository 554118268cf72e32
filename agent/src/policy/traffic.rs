//! Where connections go: Istio's `VirtualService`, as far as it is about ports and hosts, `ServiceEntry` for hosts
//! outside of the mesh, `Gateway` for those that come in from there.

mod gateway;
mod gateways;
mod service_entry;
mod virtual_service;

use std::{collections::BTreeMap, net::IpAddr};

use ipnet::IpNet;

pub use gateway::{
    Clients, Credential, Family, Gateway, GatewaySpec, Server, ServerTls, TlsVersion, Work,
};
pub use gateways::{Caller, Gateways, NoRoute, Served, Taken};
pub use service_entry::{Addresses, HostAddresses, ServiceEntry, ServiceEntrySpec};
use virtual_service::{Asked, Holds, MESH, Protocols, Route};
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
    gateways: Gateways,
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

/// What documents say of a connection.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Course<'p> {
    /// Nothing: it goes where the client has asked to go.
    Direct,
    To(Routed<'p>),
    /// Its requests decide, and nobody looks into them.
    Unclear {
        document: &'p DocumentRef,
        /// Where they may be meant to go.
        ends: Vec<Routed<'p>>,
        /// Another document has more of them.
        delegates: bool,
    },
}

impl Routes {
    /// Documents without effect are added to `ignored`.
    pub(super) fn compile(
        cluster_domain: &str,
        mut services: Vec<VirtualService>,
        gateways: Vec<Gateway>,
        ignored: &mut Vec<Ignored>,
    ) -> Self {
        services.sort_by(|a, b| {
            let older = a.document.precedence(a.created);
            older.cmp(&b.document.precedence(b.created))
        });
        let whole = services.into_iter().map(|s| s.whole(cluster_domain));
        let mut services: Vec<_> = whole.collect();
        let gateways = Gateways::compile(cluster_domain, gateways, &services, ignored);
        services.retain(VirtualService::is_for_pods);
        let mut hosts = BTreeMap::<_, Vec<_>>::new();
        for (index, service) in services.iter().enumerate() {
            for host in service.hosts() {
                hosts.entry(host.clone()).or_default().push(index);
            }
        }
        Self {
            services,
            hosts,
            gateways,
        }
    }

    /// What comes in from outside of the mesh.
    #[must_use]
    pub fn gateways(&self) -> &Gateways {
        &self.gateways
    }

    /// What is said of connections of `client` to a port of a service. `address` is where the client connects to, if
    /// that is known.
    #[must_use]
    pub fn of(
        &self,
        client: &Workload,
        service: &Service,
        port: u16,
        address: Option<IpAddr>,
    ) -> Course<'_> {
        // The most specific host comes first, and of those for it the oldest.
        let routes = self.about(&service.host);
        let mut visible = routes.filter(|routes| routes.visibility.reaches(client.namespace()));
        let Some(routes) = visible.next() else {
            return Course::Direct;
        };
        let protocol = service.port(port).map_or(Protocol::Unknown, |p| p.protocol);
        let asked = Asked {
            client,
            through: MESH,
            // The client asks for the name of the host that it connects to.
            name: Some(&service.host),
            port,
            address,
        };
        let of_list = routes.routes.iter().filter(|r| r.protocols.take(protocol));
        Course::along(of_list.map(|route| (route, route.holds(&asked))), routes)
    }

    /// Ports that something is said of for a host, which its service need not have.
    pub fn ports(&self, host: &str) -> impl Iterator<Item = u16> {
        let about = self.about(host);
        about.flat_map(|service| service.routes.iter().flat_map(Route::ports))
    }

    /// Blocks of addresses that make a difference, each as often as it is named.
    pub fn subnets(&self) -> impl Iterator<Item = &IpNet> {
        let routes = self.services.iter().flat_map(|service| &service.routes);
        routes.flat_map(Route::subnets)
    }

    /// Keys of the labels that clients are chosen by, each as often as it is named.
    pub fn labels(&self) -> impl Iterator<Item = &str> {
        let routes = self.services.iter().flat_map(|service| &service.routes);
        routes.flat_map(Route::labels)
    }

    /// Where connections to a host may be sent.
    pub fn leading<'p>(&'p self, host: &str) -> impl Iterator<Item = &'p str> {
        let routes = self.about(host).flat_map(|service| &service.routes);
        let destinations = routes.flat_map(|route| &route.destinations);
        destinations.map(|destination| destination.host())
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
        let services = self.services.iter();
        let of_pods = services.flat_map(VirtualService::destinations);
        of_pods.chain(self.gateways.destinations())
    }
}

impl<'p> Course<'p> {
    /// Along routes of a document until one is surely for the connection.
    fn along(routes: impl Iterator<Item = (&'p Route, Holds)>, of: &'p VirtualService) -> Self {
        let (mut ends, mut delegates, mut is_sure) = (Vec::new(), false, false);
        for (route, holds) in routes.filter(|(_, holds)| *holds != Holds::No) {
            delegates |= route.delegates;
            for end in route.routed(&of.document) {
                if !ends.contains(&end) {
                    ends.push(end);
                }
            }
            is_sure = holds == Holds::Yes;
            if is_sure {
                break;
            }
        }
        match ends[..] {
            [] if !delegates => Self::Direct,
            [only] if is_sure && !delegates => Self::To(only),
            _ => Self::Unclear {
                document: &of.document,
                ends,
                delegates,
            },
        }
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
