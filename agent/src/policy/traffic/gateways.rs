//! All gateways, and what is routed through them: which server takes a connection, and where it goes.

use std::{collections::BTreeMap, net::IpAddr};

use super::{
    Routed,
    gateway::{Family, Gateway, Server, Work},
    virtual_service::{Asked, Route, VirtualService},
};
use crate::{
    policy::{DocumentRef, Ignored, Labels},
    workload::Workload,
};

/// Compiled.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct Gateways {
    /// Oldest first.
    gateways: Vec<Gateway>,
    /// What is routed through one of them, oldest first.
    services: Vec<VirtualService>,
}

/// A server, and whose it is.
#[derive(Clone, Copy, Debug)]
pub struct Served<'p> {
    pub gateway: &'p DocumentRef,
    pub server: &'p Server,
    through: &'p Gateway,
}

/// Why a connection goes nowhere.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NoRoute {
    #[error("no VirtualService of {gateway} is for {what}")]
    Nobody { gateway: DocumentRef, what: String },
    #[error(
        "{first} and {second} both take what comes through {gateway}, and which one is in the requests, into which \
         Sealane doesn't look"
    )]
    Ambiguous {
        gateway: DocumentRef,
        first: Box<DocumentRef>,
        second: Box<DocumentRef>,
    },
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
        let names: Vec<_> = gateways.iter().map(Gateway::name).collect();
        let services = services.iter().filter(|s| s.is_for_gateways()).cloned();
        let compiled = Self {
            gateways,
            services: services.collect(),
        };
        for service in &compiled.services {
            let unknown = service
                .through()
                .filter(|name| !names.iter().any(|n| n == name));
            ignored.extend(unknown.map(|name| Ignored::NoGateway {
                document: service.document.clone(),
                gateway: name.to_owned(),
            }));
        }
        compiled.find_unclear(ignored);
        compiled
    }

    /// Servers whose clients say too late what they want.
    fn find_unclear(&self, ignored: &mut Vec<Ignored>) {
        for through in &self.gateways {
            for server in through
                .servers
                .iter()
                .filter(|s| matches!(s.work, Work::Http))
            {
                let served = Served {
                    gateway: &through.document,
                    server,
                    through,
                };
                let list = server.work.routes();
                let leading = self.attached(served).filter_map(|routes| {
                    let mut of_list = routes.routes.iter().filter(|r| r.protocols == list);
                    Some((routes, of_list.next()?))
                });
                if let Err(NoRoute::Ambiguous { first, second, .. }) = only(served, leading) {
                    ignored.push(Ignored::NeedsHttp {
                        document: through.document.clone(),
                        port: server.port,
                        first: *first,
                        second: *second,
                    });
                }
            }
        }
    }

    /// All servers of the pods with these labels.
    pub fn of<'p>(&'p self, labels: &'p Labels) -> impl Iterator<Item = Served<'p>> + 'p {
        let selected = self.gateways.iter().filter(|gateway| gateway.is_of(labels));
        selected.flat_map(|through| {
            through.servers.iter().map(move |server| Served {
                gateway: &through.document,
                server,
                through,
            })
        })
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
    pub fn shadowed<'p>(&'p self, labels: &'p Labels) -> impl Iterator<Item = Served<'p>> + 'p {
        let ports = self.ports(labels);
        self.of(labels).filter(move |served| {
            ports.get(&served.server.port) != Some(&served.server.work.family())
        })
    }

    /// The server of a port that is for a name: the one that is most for it alone, then the oldest.
    #[must_use]
    pub fn server<'p>(
        &'p self,
        labels: &'p Labels,
        port: u16,
        name: Option<&str>,
    ) -> Option<Served<'p>> {
        let family = *self.ports(labels).get(&port)?;
        let of_port = self
            .of(labels)
            .filter(|served| served.server.port == port && served.server.work.family() == family);
        let fitting = of_port.filter_map(|served| {
            // Nobody says a name there, before it is too late.
            let unnamed = served.server.work.family() == Family::Tcp
                || matches!(served.server.work, Work::Http);
            let fits = served.server.specificity(name);
            Some((if unnamed { Some((false, 0)) } else { fits }?, served))
        });
        let best = fitting.reduce(|best, next| if next.0 > best.0 { next } else { best });
        best.map(|(_, served)| served)
    }

    /// Where a connection goes that a server has taken.
    ///
    /// # Errors
    /// When no document says so, or several do.
    pub fn route<'p>(
        &'p self,
        served: Served<'p>,
        caller: Caller<'_>,
    ) -> Result<Routed<'p>, NoRoute> {
        let name = served.through.name();
        let asked = Asked {
            client: caller.gateway,
            through: &name,
            name: caller.name,
            port: served.server.port,
            address: Some(caller.address),
        };
        let protocols = served.server.work.routes();
        let matching = |routes: &'p VirtualService| {
            let mut of_list = routes.routes.iter().filter(|r| r.protocols == protocols);
            let route = of_list.find(|route| route.matches(&asked))?;
            Some((routes, route))
        };
        let namespace = caller.gateway.namespace();
        let visible = self.attached(served).filter(|s| s.is_visible_in(namespace));
        let found = match (caller.name, served.server.work.family()) {
            (Some(name), Family::Tls) => {
                let named = visible.filter_map(|s| Some((s.specificity(name)?, s)));
                let best = named.reduce(|best, next| if next.0 > best.0 { next } else { best });
                best.and_then(|(_, routes)| matching(routes))
            }
            // As with Istio the first one counts: there is no name to choose by.
            (_, Family::Tcp) => visible.filter_map(matching).next(),
            (None, Family::Tls) | (_, Family::Http) => only(served, visible.filter_map(matching))?,
        };
        let (routes, route) = found.ok_or_else(|| NoRoute::Nobody {
            gateway: served.gateway.clone(),
            what: match caller.name {
                Some(name) => format!("{name}:{}", asked.port),
                None => format!("port {}", asked.port),
            },
        })?;
        Ok(route.routed(&routes.document))
    }

    /// What is routed through a server.
    fn attached<'p>(&'p self, served: Served<'p>) -> impl Iterator<Item = &'p VirtualService> + 'p {
        let name = served.through.name();
        let protocols = served.server.work.routes();
        self.services.iter().filter(move |routes| {
            routes.through().any(|gateway| gateway == name)
                && served.server.takes(routes)
                && routes.routes.iter().any(|r| r.protocols == protocols)
        })
    }

    /// Hosts that connections are sent to, each with who says so.
    pub(super) fn destinations(&self) -> impl Iterator<Item = (&str, &DocumentRef)> {
        self.services.iter().flat_map(VirtualService::destinations)
    }
}

/// The only place that all of them lead to.
fn only<'p>(
    served: Served<'p>,
    mut found: impl Iterator<Item = (&'p VirtualService, &'p Route)>,
) -> Result<Option<(&'p VirtualService, &'p Route)>, NoRoute> {
    let Some((first, route)) = found.next() else {
        return Ok(None);
    };
    match found.find(|(_, other)| other.destination != route.destination) {
        None => Ok(Some((first, route))),
        Some((second, _)) => Err(NoRoute::Ambiguous {
            gateway: served.gateway.clone(),
            first: Box::new(first.document.clone()),
            second: Box::new(second.document.clone()),
        }),
    }
}
