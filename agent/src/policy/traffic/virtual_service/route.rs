//! One route: which connections it is for, and where it sends them.

use std::net::IpAddr;

use ipnet::IpNet;

use super::{
    Asked, Protocols,
    matched::matched,
    port,
    written::{WrittenDestination, WrittenRoute},
};
use crate::policy::{
    DocumentRef, FieldPath, Invalid, Reason,
    host::Host,
    selector::{Labels, selects},
    traffic::Routed,
};

/// Where those that match go. The first that matches decides.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(in crate::policy::traffic) struct Route {
    pub(in crate::policy::traffic) protocols: Protocols,
    /// One of them must hold; empty: all connections.
    pub(super) matches: Vec<Match>,
    /// With weights; none: requests are answered, or sent on by another document.
    pub(in crate::policy::traffic) destinations: Vec<Destination>,
    /// Another document says where it leads.
    pub(in crate::policy::traffic) delegates: bool,
}

#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub(super) struct Match {
    pub(super) port: Option<u16>,
    /// Empty: those of the whole document.
    pub(super) gateways: Vec<String>,
    pub(super) labels: Labels,
    pub(super) namespace: Option<String>,
    /// Names that the client asks for; empty: any.
    pub(super) names: Vec<Host>,
    /// Empty: any.
    pub(super) subnets: Vec<IpNet>,
    /// It is for some requests of HTTP only.
    pub(super) of_requests: bool,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(in crate::policy::traffic) struct Destination {
    pub(super) host: Host,
    pub(super) subset: Option<String>,
    pub(super) port: Option<u16>,
}

/// Whether a route is for a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(in crate::policy::traffic) enum Holds {
    No,
    /// For some of the requests in it, perhaps.
    Perhaps,
    Yes,
}

impl Destination {
    pub(in crate::policy::traffic) fn host(&self) -> &str {
        match &self.host {
            Host::Exact(host) | Host::Short(host) | Host::Suffix(host) => host,
        }
    }
}

impl Route {
    /// Those that it names.
    pub(in crate::policy::traffic) fn ports(&self) -> impl Iterator<Item = u16> {
        self.matches.iter().filter_map(|matching| matching.port)
    }

    pub(in crate::policy::traffic) fn holds(&self, asked: &Asked<'_>) -> Holds {
        let each = self.matches.iter().map(|matching| matching.holds(asked));
        each.max().unwrap_or(Holds::Yes)
    }

    /// The only place that it leads to.
    pub(in crate::policy::traffic) fn destination(&self) -> Option<&Destination> {
        match &self.destinations[..] {
            [only] => Some(only),
            _ => None,
        }
    }

    /// Names that the document's hosts don't have (Istio: `validateSniHost`, to which addresses are names as well).
    pub(super) fn check_names(&self, hosts: &[Host], at: &FieldPath, errors: &mut Vec<Invalid>) {
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

    pub(in crate::policy::traffic) fn routed<'p>(
        &'p self,
        document: &'p DocumentRef,
    ) -> impl Iterator<Item = Routed<'p>> {
        let destinations = self.destinations.iter();
        destinations.map(|destination| Routed {
            host: destination.host(),
            subset: destination.subset.as_deref(),
            port: destination.port,
            document,
        })
    }
}

impl Match {
    fn holds(&self, asked: &Asked<'_>) -> Holds {
        let in_subnets = |a: IpAddr| self.subnets.iter().any(|net| net.contains(&a));
        let is_named = |n: &str| self.names.iter().any(|name| name.matches(n));
        let mut gateways = self.gateways.iter();
        let namespace = self.namespace.as_deref();
        let holds = self.port.is_none_or(|port| port == asked.port)
            && (self.gateways.is_empty() || gateways.any(|g| g == asked.through))
            && selects(&self.labels, &asked.client.labels)
            && namespace.is_none_or(|n| n == asked.client.namespace())
            && (self.names.is_empty() || asked.name.is_some_and(is_named))
            && (self.subnets.is_empty() || asked.address.is_some_and(in_subnets));
        match (holds, self.of_requests) {
            (false, _) => Holds::No,
            (true, true) => Holds::Perhaps,
            (true, false) => Holds::Yes,
        }
    }
}

pub(super) fn route(
    written: WrittenRoute,
    protocols: Protocols,
    at: &FieldPath,
    errors: &mut Vec<Invalid>,
) -> Option<Route> {
    // As Istio's validation (`validateTLSRoute`).
    if protocols == Protocols::Tls && written.r#match.as_ref().is_none_or(Vec::is_empty) {
        let field = at.clone().key("match");
        let what = "tls routes: its sniHosts say which names they are for";
        errors.push(Invalid::new(field, Reason::NeededFor(what)));
    }
    let (is_replaced, delegates) = (written.is_replaced(), written.delegates());
    let mut matches = Vec::new();
    for (index, matching) in written.r#match.into_iter().flatten().enumerate() {
        let at = at.clone().key("match").index(index);
        matches.push(matched(matching, protocols, &at, errors));
    }
    let at = at.clone().key("route");
    let mut weighted: Vec<_> = written.route.unwrap_or_default();
    if weighted.is_empty() && !is_replaced {
        errors.push(Invalid::new(at, Reason::Mandatory));
        return None;
    }
    let any = weighted.iter().any(|to| to.weight.unwrap_or(0) > 0);
    let mut destinations = Vec::new();
    for (index, to) in weighted.drain(..).enumerate() {
        let counts = !any || to.weight.unwrap_or(0) > 0;
        let at = at.clone().index(index);
        let to = destination(to.destination.unwrap_or_default(), &at, errors)?;
        if counts && !destinations.contains(&to) {
            destinations.push(to);
        }
    }
    Some(Route {
        protocols,
        matches,
        destinations,
        delegates,
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
