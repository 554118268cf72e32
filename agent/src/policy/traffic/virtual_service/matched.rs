//! Which connections a route is for, as it is written.

use ipnet::IpNet;

use super::{
    Protocols, Route, all, port,
    route::Match,
    written::{WrittenMatch, subnet},
};
use crate::policy::{FieldPath, Invalid, Reason, host::Host};

impl Route {
    /// Blocks of addresses that clients connect to.
    pub(in crate::policy::traffic) fn subnets(&self) -> impl Iterator<Item = &IpNet> {
        self.matches.iter().flat_map(|matching| &matching.subnets)
    }

    /// Keys of the labels that clients are chosen by.
    pub(in crate::policy::traffic) fn labels(&self) -> impl Iterator<Item = &str> {
        let labels = self
            .matches
            .iter()
            .flat_map(|matching| matching.labels.keys());
        labels.map(String::as_str)
    }
}

pub(super) fn matched(
    written: WrittenMatch,
    protocols: Protocols,
    at: &FieldPath,
    errors: &mut Vec<Invalid>,
) -> Match {
    let of_requests = written.is_of_requests();
    let names = written.sni_hosts.as_ref();
    let names_needed = protocols == Protocols::Tls && names.is_none_or(Vec::is_empty);
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
        of_requests,
    }
}
