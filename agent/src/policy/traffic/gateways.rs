//! All gateways, and what is routed through them: which server takes a connection, and where it goes.

mod attached;
mod inside;
mod no_route;
mod unnamed;

use std::{
    collections::{BTreeMap, BTreeSet},
    net::IpAddr,
};

use attached::Attached;
pub use no_route::NoRoute;
use unnamed::only;

use super::{
    Routed,
    gateway::{Family, Gateway, Server, Work},
    virtual_service::{Asked, Holds, Route, VirtualService},
};
use crate::{
    policy::{DocumentRef, Ignored, Labels, host::Host},
    workload::Workload,
};

/// Compiled.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct Gateways {
    /// Oldest first.
    gateways: Vec<Gateway>,
    /// What is routed through one of them.
    services: Attached,
}

/// A server, and whose it is.
#[derive(Clone, Copy, Debug)]
pub struct Served<'p> {
    pub gateway: &'p DocumentRef,
    pub server: &'p Server,
    through: &'p Gateway,
}

/// Who has taken a connection, and where it goes.
#[derive(Clone, Copy, Debug)]
pub struct Taken<'p> {
    pub served: Served<'p>,
    /// `None`: the client is told to come with TLS.
    pub routed: Option<Routed<'p>>,
}

/// Who asks for a route.
#[derive(Clone, Copy, Debug)]
pub struct Caller<'a> {
    /// The gateway's own pod: its labels and its namespace count.
    pub gateway: &'a Workload,
    /// That the client asks for, if it says so in time.
    pub name: Option<&'a str>,
    /// Where the client has connected to.
    pub address: IpAddr,
}

impl Gateways {
    /// Documents without effect are added to `ignored`.
    pub(super) fn compile(
        cluster_domain: &str,
        gateways: Vec<Gateway>,
        services: &[VirtualService],
        ignored: &mut Vec<Ignored>,
    ) -> Self {
        let mut gateways: Vec<_> = gateways
            .into_iter()
            .map(|gateway| gateway.whole(cluster_domain))
            .collect();
        gateways.sort_by(|a, b| {
            let older = a.document.precedence(a.created);
            older.cmp(&b.document.precedence(b.created))
        });
        let services = services.iter().filter(|s| s.is_for_gateways()).cloned();
        let compiled = Self {
            gateways,
            services: Attached::new(services.collect()),
        };
        let names: BTreeSet<_> = compiled.gateways.iter().map(Gateway::name).collect();
        for service in compiled.services.all() {
            let unknown = service.through().filter(|name| !names.contains(name));
            ignored.extend(unknown.map(|name| Ignored::NoGateway {
                document: service.document.clone(),
                gateway: name.to_owned(),
            }));
        }
        compiled.find_unclear(ignored);
        compiled
    }

    /// Ports on which hosts of HTTP lead to several places: all servers count that pods may have together.
    fn find_unclear(&self, ignored: &mut Vec<Ignored>) {
        for (index, through) in self.gateways.iter().enumerate() {
            let ports: BTreeSet<_> = through.clear_http().collect();
            for port in ports {
                let older = self.gateways.iter().take(index);
                let older = older.filter(|older| older.may_share_pods(through));
                let servers = std::iter::once(through).chain(older).flat_map(Gateway::all);
                let servers = servers.filter(|s| s.server.port == port);
                let leading = servers.filter(|s| s.server.work == Work::Http);
                let leading = leading.flat_map(|served| {
                    let attached = self.attached(served);
                    attached.filter_map(move |routes| Some((served, routes, routes.http()?)))
                });
                if let Err(NoRoute::Ambiguous { first, second, .. }) = only(leading) {
                    ignored.push(Ignored::NeedsHttp {
                        document: through.document.clone(),
                        port,
                        first: *first,
                        second: *second,
                    });
                }
            }
        }
    }

    /// All servers of the pods with these labels.
    pub fn of<'p>(&'p self, labels: &Labels) -> impl Iterator<Item = Served<'p>> {
        let selected = self.gateways.iter().filter(|gateway| gateway.is_of(labels));
        selected.flat_map(Gateway::all)
    }

    /// What is spoken on each port of such pods. Of gateways that don't agree the oldest counts.
    #[must_use]
    pub fn ports(&self, labels: &Labels) -> BTreeMap<u16, Family> {
        let mut ports = BTreeMap::new();
        for served in self.of(labels) {
            let family = served.server.work.family();
            ports.entry(served.server.port).or_insert(family);
        }
        ports
    }

    /// Those that have no effect, since an older one has their port for another protocol.
    pub fn shadowed<'p>(&'p self, labels: &Labels) -> impl Iterator<Item = Served<'p>> {
        let ports = self.ports(labels);
        self.of(labels).filter(move |served| {
            ports.get(&served.server.port) != Some(&served.server.work.family())
        })
    }

    /// Who takes a connection to a port, and where it goes.
    ///
    /// # Errors
    /// When no document says so, or several do.
    pub fn take<'p>(&'p self, port: u16, caller: Caller<'_>) -> Result<Taken<'p>, NoRoute> {
        match (self.family(port, caller), caller.name) {
            (Some(Family::Http), Some(name)) => self.requested(port, name, caller),
            (Some(Family::Http), None) => self.unnamed(port, caller),
            (family, name) => {
                let mut servers = self.servers(port, caller);
                let served = match (family, name) {
                    // Nobody says a name there.
                    (Some(Family::Tcp), _) => servers.next(),
                    _ => best(servers.filter_map(|s| Some((s.server.specificity(name)?, s)))),
                };
                self.route(
                    served.ok_or_else(|| NoRoute::no_server(port, name))?,
                    caller,
                )
            }
        }
    }

    /// Those that count, the oldest first.
    fn servers<'p>(&'p self, port: u16, caller: Caller<'_>) -> impl Iterator<Item = Served<'p>> {
        let labels = &caller.gateway.labels;
        let family = self.family(port, caller);
        let of_port = self.of(labels).filter(move |s| s.server.port == port);
        of_port.filter(move |s| Some(s.server.work.family()) == family)
    }

    /// Of a port; see [`ports`](Self::ports).
    fn family(&self, port: u16, caller: Caller<'_>) -> Option<Family> {
        let mut servers = self.of(&caller.gateway.labels);
        let first = servers.find(|served| served.server.port == port)?;
        Some(first.server.work.family())
    }

    /// Where a request for a host goes. As with Istio (`buildGatewayHTTPRouteConfig`) there is one virtual host for each
    /// host that a server has in common with a `VirtualService`, and for each that a server redirects; the most specific
    /// counts (Envoy: `Domain search order`), and it redirects if one of its servers does.
    fn requested<'p>(
        &'p self,
        port: u16,
        name: &str,
        caller: Caller<'_>,
    ) -> Result<Taken<'p>, NoRoute> {
        let mut hosts = Vec::new();
        for served in self.servers(port, caller) {
            let of_server = served.server.specificity(Some(name));
            hosts.extend(of_server.map(|specificity| (specificity, served, None)));
            for routes in self.with_hosts(served, Host::meaning(name), caller) {
                let common = served.server.specificity_with(name, routes);
                hosts.extend(common.map(|specificity| (specificity, served, Some(routes))));
            }
        }
        // A host without routes is nobody's, unless it redirects.
        let counts = |(_, served, routes): &&(_, Served<'_>, Option<&VirtualService>)| {
            routes.is_some() || served.server.work == Work::Redirect
        };
        let most = hosts.iter().filter(counts).map(|host| host.0).max();
        let Some(most) = most else {
            let known = hosts.first().map(|(_, served, _)| served);
            return Err(known.map_or_else(
                || NoRoute::no_server(port, Some(name)),
                |served| NoRoute::nobody(*served, Some(name)),
            ));
        };
        let mut best = hosts.iter().filter(|h| h.0 == most).filter(counts);
        if let Some((_, served, _)) = best.clone().find(|h| h.1.server.work == Work::Redirect) {
            return Ok(served.redirecting());
        }
        let first = best.clone().next().map(|(_, served, _)| *served);
        let found = best.find_map(|(_, served, routes)| {
            let routes = (*routes)?;
            Some(served.to(routes, served.matching(routes, caller)?))
        });
        found.ok_or_else(|| {
            first.map_or_else(
                || NoRoute::no_server(port, Some(name)),
                |s| NoRoute::nobody(s, Some(name)),
            )
        })
    }

    /// Where a connection goes that a server has taken which isn't for HTTP in clear.
    fn route<'p>(&'p self, served: Served<'p>, caller: Caller<'_>) -> Result<Taken<'p>, NoRoute> {
        let matching =
            |routes: &'p VirtualService| Some((routes, served.matching(routes, caller)?));
        let found = match (caller.name, served.server.work.family()) {
            (Some(name), Family::Tls) => {
                // Hosts may be for the routes of one namespace only.
                let of_both =
                    |s: &&VirtualService| served.server.specificity_with(name, s).is_some();
                let named = self.with_hosts(served, Host::meaning(name), caller);
                let named = named.filter(of_both);
                best(named.filter_map(|s| Some((s.specificity(name)?, s)))).and_then(matching)
            }
            (None, Family::Tls) => {
                let found = self.visible(served, caller);
                let found = found.filter_map(|r| Some((served, r, matching(r)?.1)));
                only(found)?.map(|(_, routes, route)| (routes, route))
            }
            // As with Istio the first one counts: there is no name to choose by.
            _ => self.visible(served, caller).find_map(matching),
        };
        let (routes, route) = found.ok_or_else(|| NoRoute::nobody(served, caller.name))?;
        Ok(served.to(routes, route))
    }

    /// What is routed through a server, as far as its pod may know of it.
    fn visible<'p>(
        &'p self,
        served: Served<'p>,
        caller: Caller<'_>,
    ) -> impl Iterator<Item = &'p VirtualService> {
        let namespace = caller.gateway.namespace();
        self.attached(served)
            .filter(move |s| s.is_visible_in(namespace))
    }

    /// What of it has one of these hosts, word for word.
    fn with_hosts<'p>(
        &'p self,
        served: Served<'p>,
        hosts: impl Iterator<Item = Host>,
        caller: Caller<'_>,
    ) -> impl Iterator<Item = &'p VirtualService> {
        let namespace = caller.gateway.namespace();
        let found = self.services.with_hosts(served.through.name(), hosts);
        found.filter(move |s| served.routes(s) && s.is_visible_in(namespace))
    }

    /// What is routed through a server.
    fn attached<'p>(&'p self, served: Served<'p>) -> impl Iterator<Item = &'p VirtualService> + 'p {
        let through = self.services.through(served.through.name());
        through.filter(move |routes| served.routes(routes))
    }

    /// Hosts that connections are sent to, each with who says so.
    pub(super) fn destinations(&self) -> impl Iterator<Item = (&str, &DocumentRef)> {
        self.services.all().flat_map(VirtualService::destinations)
    }
}

impl<'p> Served<'p> {
    /// Whether it takes what is routed through its gateway.
    fn routes(self, routes: &VirtualService) -> bool {
        let protocols = self.server.work.routes();
        self.server.takes(routes) && routes.routes.iter().any(|r| r.protocols == protocols)
    }

    fn matching(self, routes: &'p VirtualService, caller: Caller<'_>) -> Option<&'p Route> {
        let asked = Asked {
            client: caller.gateway,
            through: self.through.name(),
            name: caller.name,
            port: self.server.port,
            address: Some(caller.address),
        };
        let protocols = self.server.work.routes();
        let mut of_list = routes.routes.iter().filter(|r| r.protocols == protocols);
        // Where requests decide nobody knows: it leads nowhere.
        let first = of_list.find(|route| route.holds(&asked) != Holds::No)?;
        let decides = first.holds(&asked) == Holds::Yes && !first.delegates;
        first.destination().filter(|_| decides)?;
        Some(first)
    }

    fn to(self, routes: &'p VirtualService, route: &'p Route) -> Taken<'p> {
        Taken {
            served: self,
            routed: route.routed(&routes.document).next(),
        }
    }

    fn redirecting(self) -> Taken<'p> {
        Taken {
            served: self,
            routed: None,
        }
    }
}

impl Gateway {
    fn all(&self) -> impl Iterator<Item = Served<'_>> {
        self.servers.iter().map(|server| Served {
            gateway: &self.document,
            server,
            through: self,
        })
    }

    /// Ports on which HTTP goes on in clear.
    fn clear_http(&self) -> impl Iterator<Item = u16> {
        let http = self.servers.iter().filter(|s| s.work == Work::Http);
        http.map(|server| server.port)
    }
}

/// The most specific; of several the oldest.
fn best<K: Ord, T>(found: impl Iterator<Item = (K, T)>) -> Option<T> {
    let best = found.reduce(|best, next| if next.0 > best.0 { next } else { best });
    best.map(|(_, item)| item)
}

#[cfg(test)]
mod tests;
