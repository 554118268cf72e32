//! Where connections go: Istio's `VirtualService`, as far as it is about ports and hosts, `ServiceEntry` for hosts
//! outside of the mesh, `Gateway` for those that come in from there.

mod gateway;
mod gateways;
mod service_entry;
mod virtual_service;

use std::{collections::BTreeMap, net::IpAddr};

pub use gateway::{
    Clients, Credential, Family, Gateway, GatewaySpec, Server, ServerTls, TlsVersion, Work,
};
pub use gateways::{Caller, Gateways, NoRoute, Served};
pub use service_entry::{Addresses, HostAddresses, ServiceEntry, ServiceEntrySpec};
use virtual_service::{Asked, MESH, Protocols};
pub use virtual_service::{VirtualService, VirtualServiceSpec};

use super::{DocumentRef, Ignored};
use crate::workload::{Protocol, Service, Workload};

/// Compiled routes of a whole mesh.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct Routes {
    /// Those for connections of pods, oldest first.
    services: Vec<VirtualService>,
    /// Which of them are for a host.
    by_host: BTreeMap<String, Vec<usize>>,
    /// Which of them are for hosts that end alike.
    by_suffix: Vec<usize>,
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
        Self::indexed(services, gateways)
    }

    fn indexed(services: Vec<VirtualService>, gateways: Gateways) -> Self {
        let mut by_host: BTreeMap<String, Vec<usize>> = BTreeMap::new();
        let mut by_suffix = Vec::new();
        for (index, service) in services.iter().enumerate() {
            for host in service.exact_hosts() {
                by_host.entry(host.to_owned()).or_default().push(index);
            }
            if service.has_suffixes() {
                by_suffix.push(index);
            }
        }
        Self {
            services,
            by_host,
            by_suffix,
            gateways,
        }
    }

    /// What comes in from outside of the mesh.
    #[must_use]
    pub fn gateways(&self) -> &Gateways {
        &self.gateways
    }

    /// All that are for a host, in their order among those that name it and among those that mean it, too.
    fn about(&self, host: &str) -> impl Iterator<Item = &VirtualService> {
        let exact = self.by_host.get(host).into_iter().flatten();
        let candidates = exact.chain(&self.by_suffix);
        candidates.filter_map(|index| self.services.get(*index))
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
        let applying = self.about(&service.host).filter_map(|routes| {
            let visible = routes.is_visible_in(client.namespace());
            Some((
                routes.specificity(&service.host).filter(|_| visible)?,
                routes,
            ))
        });
        // Of equals the oldest, which comes first.
        let (_, routes) = applying.reduce(|best, next| match next.0 > best.0 {
            true => next,
            false => best,
        })?;
        let protocol = service.port(port).map_or(Protocol::Unknown, |p| p.protocol);
        let asked = Asked {
            client,
            through: MESH,
            // The client asks for the name of the host that it connects to.
            name: Some(&service.host),
            port,
            address,
        };
        let mut of_list = routes.routes.iter().filter(|r| r.protocols.take(protocol));
        let route = of_list.find(|route| route.matches(&asked))?;
        Some(route.routed(&routes.document))
    }

    /// Where connections to a host may be sent.
    pub fn leading<'p>(&'p self, host: &str) -> impl Iterator<Item = &'p str> {
        let about = self
            .about(host)
            .filter(move |routes| routes.specificity(host).is_some());
        about.flat_map(|service| service.routes.iter().map(|route| route.destination.host()))
    }

    /// Hosts that connections are sent to, each with who says so.
    pub fn destinations(&self) -> impl Iterator<Item = (&str, &DocumentRef)> {
        let services = self.services.iter();
        let of_pods = services.flat_map(VirtualService::destinations);
        of_pods.chain(self.gateways.destinations())
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
