//! `VirtualService` (<https://istio.io/latest/docs/reference/config/networking/virtual-service/>): which connections
//! go to another host, port or subset than the client asked for. Where that is for requests of HTTP to say nobody looks
//! (`Course::Unclear`).

use std::net::IpAddr;

use serde::de::IgnoredAny;

use crate::{
    policy::{DocumentRef, FieldPath, Invalid, Reason, export::visibility, host::Host},
    workload::{Visibility, Workload},
};

mod matched;
mod route;
mod written;

use route::route;
pub(super) use route::{Destination, Holds, Route};
pub use written::VirtualServiceSpec;

/// Pods, rather than a gateway.
pub(super) const MESH: &str = "mesh";

/// One document that makes sense in itself.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct VirtualService {
    pub(in crate::policy) document: DocumentRef,
    pub(in crate::policy) created: Option<i64>,
    hosts: Vec<Host>,
    gateways: Vec<String>,
    pub(super) visibility: Visibility,
    pub(super) routes: Vec<Route>,
}

/// The list that a route was in.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) enum Protocols {
    Http,
    Tls,
    Tcp,
}

/// A connection that is to be routed.
#[derive(Clone, Copy)]
pub(super) struct Asked<'a> {
    pub(super) client: &'a Workload,
    /// [`MESH`], or the gateway.
    pub(super) through: &'a str,
    /// The host that the client asks for.
    pub(super) name: Option<&'a str>,
    pub(super) port: u16,
    /// Where the client connects to, if that is known.
    pub(super) address: Option<IpAddr>,
}

impl VirtualService {
    /// # Errors
    /// Every field that makes no sense.
    pub fn new(
        document: DocumentRef,
        created: Option<i64>,
        spec: VirtualServiceSpec,
    ) -> Result<Self, Vec<Invalid>> {
        let mut errors = Vec::new();
        let hosts = match spec.is_delegate() {
            true => Vec::new(),
            false => hosts(spec.hosts.unwrap_or_default(), &mut errors),
        };
        let visibility = visibility(spec.export_to, &document.namespace, &mut errors);
        let lists = [
            ("spec.http", Protocols::Http, spec.http),
            ("spec.tls", Protocols::Tls, spec.tls),
            ("spec.tcp", Protocols::Tcp, spec.tcp),
        ];
        let mut routes = Vec::new();
        for (list, protocols, written) in lists {
            for (index, written) in written.into_iter().flatten().enumerate() {
                let at = FieldPath::of(list).index(index);
                let route = route(written, protocols, &at, &mut errors);
                if let Some(route) = &route {
                    route.check_names(&hosts, &at, &mut errors);
                }
                routes.extend(route);
            }
        }
        if routes.is_empty() && errors.is_empty() {
            errors.push(Invalid::new(FieldPath::of("spec"), Reason::NoRoutes));
        }
        if !errors.is_empty() {
            return Err(errors);
        }
        let gateways = spec.gateways.filter(|gateways| !gateways.is_empty());
        Ok(Self {
            document,
            created,
            hosts,
            gateways: gateways.unwrap_or_else(|| vec![MESH.to_owned()]),
            visibility,
            routes,
        })
    }

    pub(in crate::policy) fn is_for_pods(&self) -> bool {
        self.gateways.iter().any(|gateway| gateway == MESH)
    }

    pub(super) fn is_for_gateways(&self) -> bool {
        self.through().next().is_some()
    }

    /// Its gateways, once it is [whole](Self::whole).
    pub(super) fn through(&self) -> impl Iterator<Item = &str> {
        let gateways = self.gateways.iter().map(String::as_str);
        gateways.filter(|gateway| *gateway != MESH)
    }

    pub(super) fn is_visible_in(&self, namespace: &str) -> bool {
        self.visibility.reaches(namespace)
    }

    /// Hosts that connections are sent to, and who says so.
    pub(super) fn destinations(&self) -> impl Iterator<Item = (&str, &DocumentRef)> {
        let routes = self.routes.iter();
        let destinations = routes.flat_map(|route| &route.destinations);
        destinations.map(|to| (to.host(), &self.document))
    }

    /// Each with the subset and the port that it names.
    pub(in crate::policy) fn leads(
        &self,
    ) -> impl Iterator<Item = (&Host, Option<&str>, Option<u16>)> {
        let destinations = self.routes.iter().flat_map(|route| &route.destinations);
        destinations.map(|to| (&to.host, to.subset.as_deref(), to.port))
    }

    /// With all hosts and gateways in full.
    #[must_use]
    pub(super) fn whole(self, cluster_domain: &str) -> Self {
        let namespace = self.document.namespace.clone();
        let whole = |host: Host| host.whole(&namespace, cluster_domain);
        let through = |names: Vec<String>| -> Vec<_> {
            let names = names.iter();
            names.map(|name| gateway(name, &namespace)).collect()
        };
        let routes = self.routes.into_iter().map(|route| Route {
            destinations: (route.destinations.into_iter())
                .map(|to| Destination {
                    host: whole(to.host),
                    ..to
                })
                .collect(),
            matches: (route.matches.into_iter())
                .map(|matching| route::Match {
                    gateways: through(matching.gateways),
                    ..matching
                })
                .collect(),
            ..route
        });
        Self {
            routes: routes.collect(),
            hosts: self.hosts.into_iter().map(whole).collect(),
            gateways: through(self.gateways),
            ..self
        }
    }

    /// How much it is for this host alone; `None` if it isn't for it.
    pub(super) fn specificity(&self, host: &str) -> Option<(bool, usize)> {
        let matching = self.hosts.iter().filter(|h| h.matches(host));
        matching.map(Host::specificity).max()
    }

    /// The first of its routes for HTTP.
    pub(super) fn http(&self) -> Option<&Route> {
        let mut routes = self.routes.iter();
        routes.find(|route| route.protocols == Protocols::Http)
    }

    /// All that it is for.
    pub(in crate::policy) fn hosts(&self) -> impl Iterator<Item = &Host> {
        self.hosts.iter()
    }
}

/// `NAMESPACE/NAME` of a gateway, from that, from a name in the own namespace, or from what it was before Istio 1.2:
/// a host (Istio: `resolveGatewayName`).
fn gateway(written: &str, own: &str) -> String {
    match (written.split_once('/'), written.split_once('.')) {
        _ if written == MESH => MESH.to_owned(),
        (Some((".", name)), _) => format!("{own}/{name}"),
        (Some(_), _) => written.to_owned(),
        (None, Some((name, rest))) => {
            let namespace = rest.split('.').next().unwrap_or_default();
            format!("{namespace}/{name}")
        }
        (None, None) => format!("{own}/{written}"),
    }
}

fn hosts(written: Vec<String>, errors: &mut Vec<Invalid>) -> Vec<Host> {
    let at = FieldPath::of("spec.hosts");
    if written.is_empty() {
        errors.push(Invalid::new(at, Reason::Mandatory));
        return Vec::new();
    }
    all(written, &at, Host::parse, Reason::Host, errors)
}

/// Every item that makes sense; the others are in `errors`.
fn all<T>(
    written: Vec<String>,
    at: &FieldPath,
    parse: impl Fn(&str) -> Option<T>,
    reason: impl Fn(String) -> Reason,
    errors: &mut Vec<Invalid>,
) -> Vec<T> {
    let mut good = Vec::new();
    for (index, item) in written.into_iter().enumerate() {
        match parse(&item) {
            Some(value) => good.push(value),
            None => errors.push(Invalid::new(at.clone().index(index), reason(item))),
        }
    }
    good
}

/// A port number.
pub(super) fn port(number: i64, at: &FieldPath, errors: &mut Vec<Invalid>) -> Option<u16> {
    let port = u16::try_from(number).ok().filter(|port| *port > 0);
    if port.is_none() {
        errors.push(Invalid::new(at.clone(), Reason::Port(number.to_string())));
    }
    port
}

/// `IgnoredAny` where all that counts is whether a field is there, or not even that.
type Unread = Option<IgnoredAny>;
