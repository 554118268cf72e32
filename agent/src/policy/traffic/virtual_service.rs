//! `VirtualService` (<https://istio.io/latest/docs/reference/config/networking/virtual-service/>): which connections
//! go to another host, port or subset than the client asked for. What needs a look into HTTP is refused.

use std::net::IpAddr;

use ipnet::IpNet;
use serde::de::IgnoredAny;

use super::Routed;
use crate::{
    policy::{
        DocumentRef, FieldPath, Invalid, Reason,
        export::visibility,
        field::refuse,
        host::Host,
        selector::{Labels, selects},
    },
    workload::{Visibility, Workload},
};

mod matched;
mod written;

use matched::matched;
pub use written::VirtualServiceSpec;
use written::{WrittenDestination, WrittenRoute};

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

/// Where those that match go. The first that matches decides.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) struct Route {
    pub(super) protocols: Protocols,
    /// One of them must hold; empty: all connections.
    matches: Vec<Match>,
    pub(super) destination: Destination,
}

/// The list that a route was in.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) enum Protocols {
    Http,
    Tls,
    Tcp,
}

#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
struct Match {
    port: Option<u16>,
    /// Empty: those of the whole document.
    gateways: Vec<String>,
    labels: Labels,
    namespace: Option<String>,
    /// Names that the client asks for; empty: any.
    names: Vec<Host>,
    /// Empty: any.
    subnets: Vec<IpNet>,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) struct Destination {
    host: Host,
    pub(super) subset: Option<String>,
    pub(super) port: Option<u16>,
}

impl Destination {
    pub(super) fn host(&self) -> &str {
        match &self.host {
            Host::Exact(host) | Host::Short(host) | Host::Suffix(host) => host,
        }
    }
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

impl Route {
    /// Those that it names.
    pub(super) fn ports(&self) -> impl Iterator<Item = u16> {
        self.matches.iter().filter_map(|matching| matching.port)
    }

    pub(super) fn matches(&self, asked: &Asked<'_>) -> bool {
        let holds = |matching: &Match| {
            let in_subnets = |a: IpAddr| matching.subnets.iter().any(|net| net.contains(&a));
            let is_named = |n: &str| matching.names.iter().any(|name| name.matches(n));
            let mut gateways = matching.gateways.iter();
            let namespace = matching.namespace.as_deref();
            matching.port.is_none_or(|port| port == asked.port)
                && (matching.gateways.is_empty() || gateways.any(|g| g == asked.through))
                && selects(&matching.labels, &asked.client.labels)
                && namespace.is_none_or(|n| n == asked.client.namespace())
                && (matching.names.is_empty() || asked.name.is_some_and(is_named))
                && (matching.subnets.is_empty() || asked.address.is_some_and(in_subnets))
        };
        self.matches.is_empty() || self.matches.iter().any(holds)
    }

    /// Names that the document's hosts don't have (Istio: `validateSniHost`, to which addresses are names as well).
    fn check_names(&self, hosts: &[Host], at: &FieldPath, errors: &mut Vec<Invalid>) {
        for (index, matching) in self.matches.iter().enumerate() {
            let at = at.clone().key("match").index(index).key("sniHosts");
            for (index, name) in matching.names.iter().enumerate() {
                let text = name.to_string();
                if text.parse::<IpAddr>().is_err() && !hosts.iter().any(|host| host.covers(name)) {
                    let reason = Reason::NameOfOthers(text);
                    errors.push(Invalid::new(at.clone().index(index), reason));
                }
            }
        }
    }

    pub(super) fn routed<'p>(&'p self, document: &'p DocumentRef) -> Routed<'p> {
        Routed {
            host: self.destination.host(),
            subset: self.destination.subset.as_deref(),
            port: self.destination.port,
            document,
        }
    }
}

impl VirtualService {
    /// # Errors
    /// Every field that makes no sense, or needs a look into HTTP.
    pub fn new(
        document: DocumentRef,
        created: Option<i64>,
        spec: VirtualServiceSpec,
    ) -> Result<Self, Vec<Invalid>> {
        let mut errors = Vec::new();
        let hosts = hosts(spec.hosts.unwrap_or_default(), &mut errors);
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
        routes.map(|route| (route.destination.host(), &self.document))
    }

    /// Each with the subset and the port that it names.
    pub(in crate::policy) fn leads(
        &self,
    ) -> impl Iterator<Item = (&Host, Option<&str>, Option<u16>)> {
        let destinations = self.routes.iter().map(|route| &route.destination);
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
            destination: Destination {
                host: whole(route.destination.host),
                ..route.destination
            },
            matches: (route.matches.into_iter())
                .map(|matching| Match {
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

fn route(
    written: WrittenRoute,
    protocols: Protocols,
    at: &FieldPath,
    errors: &mut Vec<Invalid>,
) -> Option<Route> {
    let needs_http = written.needs_http();
    refuse(at, &needs_http, &Reason::NeedsHttp, errors);
    // As Istio's validation (`validateTLSRoute`).
    if protocols == Protocols::Tls && written.r#match.as_ref().is_none_or(Vec::is_empty) {
        let field = at.clone().key("match");
        let what = "tls routes: its sniHosts say which names they are for";
        errors.push(Invalid::new(field, Reason::NeededFor(what)));
    }
    let mut matches = Vec::new();
    for (index, matching) in written.r#match.into_iter().flatten().enumerate() {
        let at = at.clone().key("match").index(index);
        matches.push(matched(matching, protocols, &at, errors));
    }
    let mut routes = written.route.unwrap_or_default();
    let at = at.clone().key("route");
    if routes.len() > 1 {
        let field = at.clone().index(1);
        errors.push(Invalid::new(field, Reason::TrafficManagement));
    }
    if routes.is_empty() {
        // What stands in the place of a route is refused already.
        if needs_http.iter().all(|(_, is_set)| !is_set) {
            errors.push(Invalid::new(at, Reason::Mandatory));
        }
        return None;
    }
    let first = routes.swap_remove(0);
    let at = at.index(0);
    refuse(
        &at,
        &[("headers", first.headers.is_some())],
        &Reason::NeedsHttp,
        errors,
    );
    let destination = destination(first.destination.unwrap_or_default(), &at, errors)?;
    Some(Route {
        protocols,
        matches,
        destination,
    })
}

fn destination(
    written: WrittenDestination,
    at: &FieldPath,
    errors: &mut Vec<Invalid>,
) -> Option<Destination> {
    let at = at.clone().key("destination");
    let named = written.host.clone().unwrap_or_default();
    let field = at.clone().key("host");
    let host = Host::required(written.host, field.clone(), errors);
    if matches!(host, Some(Host::Suffix(_))) {
        errors.push(Invalid::new(field, Reason::Host(named)));
    }
    let port = written.port.map(|port| port.number);
    let port = port.and_then(|number| self::port(number, &at.key("port").key("number"), errors));
    Some(Destination {
        host: host?,
        subset: written.subset.filter(|subset| !subset.is_empty()),
        port,
    })
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

/// `IgnoredAny` where a field is known and must not be there.
type Refused = Option<IgnoredAny>;
