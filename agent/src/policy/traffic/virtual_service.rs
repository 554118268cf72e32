//! `VirtualService` (<https://istio.io/latest/docs/reference/config/networking/virtual-service/>): which connections
//! go to another host, port or subset than the client asked for. What needs a look into HTTP is refused.

use std::net::IpAddr;

use ipnet::IpNet;
use serde::de::IgnoredAny;

use crate::{
    policy::{
        DocumentRef, FieldPath, Invalid, Reason,
        export::visibility,
        field::refuse,
        host::Host,
        selector::{Labels, selects},
    },
    workload::{Service, Visibility, Workload},
};

mod written;

pub use written::VirtualServiceSpec;
use written::{WrittenDestination, WrittenMatch, WrittenRoute};

/// Pods, rather than a gateway.
const MESH: &str = "mesh";

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

impl Route {
    /// Those that it names.
    pub(super) fn ports(&self) -> impl Iterator<Item = u16> {
        self.matches.iter().filter_map(|matching| matching.port)
    }

    pub(super) fn matches(
        &self,
        client: &Workload,
        service: &Service,
        port: u16,
        address: Option<IpAddr>,
    ) -> bool {
        let holds = |matching: &Match| {
            let in_subnets = matching.subnets.is_empty()
                || address.is_some_and(|a| matching.subnets.iter().any(|net| net.contains(&a)));
            let mut names = matching.names.iter();
            matching.port.is_none_or(|asked| asked == port)
                && (matching.gateways.is_empty() || matching.gateways.iter().any(|g| g == MESH))
                && selects(&matching.labels, &client.labels)
                && matching.namespace.as_deref().is_none_or(|n| n == client.namespace())
                // The client asks for the name of the host that it connects to.
                && (matching.names.is_empty() || names.any(|name| name.matches(&service.host)))
                && in_subnets
        };
        self.matches.is_empty() || self.matches.iter().any(holds)
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
                routes.extend(route(written, protocols, &at, &mut errors));
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

    /// With all hosts in full.
    #[must_use]
    pub(super) fn whole(self, cluster_domain: &str) -> Self {
        let namespace = self.document.namespace.clone();
        let whole = |host: Host| host.whole(&namespace, cluster_domain);
        let routes = self.routes.into_iter().map(|route| Route {
            destination: Destination {
                host: whole(route.destination.host),
                ..route.destination
            },
            ..route
        });
        Self {
            routes: routes.collect(),
            hosts: self.hosts.into_iter().map(whole).collect(),
            ..self
        }
    }

    /// All that it is for.
    pub(in crate::policy) fn hosts(&self) -> impl Iterator<Item = &Host> {
        self.hosts.iter()
    }
}

fn hosts(written: Vec<String>, errors: &mut Vec<Invalid>) -> Vec<Host> {
    let at = FieldPath::of("spec.hosts");
    if written.is_empty() {
        errors.push(Invalid::new(at, Reason::Empty));
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
    refuse(at, &written.needs_http(), &Reason::NeedsHttp, errors);
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
        errors.push(Invalid::new(at, Reason::Empty));
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
    let named = written.host.unwrap_or_default();
    let host = Host::parse(&named).filter(|host| !matches!(host, Host::Suffix(_)));
    if host.is_none() {
        errors.push(Invalid::new(at.clone().key("host"), Reason::Host(named)));
    }
    let port = written.port.map(|port| port.number);
    let port = port.and_then(|number| self::port(number, &at.key("port").key("number"), errors));
    Some(Destination {
        host: host?,
        subset: written.subset.filter(|subset| !subset.is_empty()),
        port,
    })
}

fn matched(
    written: WrittenMatch,
    protocols: Protocols,
    at: &FieldPath,
    errors: &mut Vec<Invalid>,
) -> Match {
    refuse(at, &written.needs_http(), &Reason::NeedsHttp, errors);
    let names_needed = protocols == Protocols::Tls && written.sni_hosts.is_none();
    if names_needed {
        let field = at.clone().key("sniHosts");
        errors.push(Invalid::new(field, Reason::NeededFor("tls routes")));
    }
    let (at_names, at_subnets) = (
        at.clone().key("sniHosts"),
        at.clone().key("destinationSubnets"),
    );
    let number = written.port;
    Match {
        port: number.and_then(|number| port(number, &at.clone().key("port"), errors)),
        gateways: written.gateways.unwrap_or_default(),
        labels: written.source_labels.unwrap_or_default(),
        namespace: written.source_namespace.filter(|n| !n.is_empty()),
        names: all(
            written.sni_hosts.unwrap_or_default(),
            &at_names,
            Host::parse,
            Reason::Host,
            errors,
        ),
        subnets: all(
            written.destination_subnets.unwrap_or_default(),
            &at_subnets,
            subnet,
            Reason::IpBlock,
            errors,
        ),
    }
}

fn subnet(written: &str) -> Option<IpNet> {
    let single = || written.parse::<IpAddr>().map(IpNet::from);
    written.parse().or_else(|_| single()).ok()
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
