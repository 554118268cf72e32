//! What clients may ask for.

use std::{net::SocketAddr, sync::Arc};

use super::kinds::Client;
use crate::{
    review::nowhere::unrecognised,
    store::{Lead, LeadError, Snapshot},
    workload::{Endpoint, Service, Workload},
};

/// What a client asks for.
#[derive(Clone, Copy, Debug)]
pub(super) enum Asked<'a> {
    /// An address, and the service whose it is.
    Address(SocketAddr, Option<&'a Arc<Service>>),
    /// A port of a service without an address of its own.
    Name(&'a Arc<Service>, u16),
}

impl<'a> Asked<'a> {
    pub(super) fn lead(
        self,
        snapshot: &'a Snapshot,
        client: &Workload,
    ) -> Result<Lead<'a>, LeadError> {
        match self {
            Self::Address(to, _) => snapshot.lead_to(client, to),
            Self::Name(service, port) => snapshot.lead(client, Some(service), port, None),
        }
    }

    pub(super) fn service(self) -> Option<&'a Arc<Service>> {
        match self {
            Self::Address(_, service) => service,
            Self::Name(service, _) => Some(service),
        }
    }

    pub(super) fn port(self) -> u16 {
        match self {
            Self::Address(to, _) => to.port(),
            Self::Name(_, port) => port,
        }
    }

    /// As `explain` takes it.
    pub(super) fn text(self) -> String {
        let to = match self {
            Self::Address(to, _) => Some(to),
            Self::Name(..) => None,
        };
        match (to, self.service()) {
            // The family may make a difference; who looks up a headless service connects to an endpoint.
            (Some(to), Some(service)) if service.virtual_addresses.len() != 1 => to.to_string(),
            (_, Some(service)) => format!("{}:{}", service.host, self.port()),
            (to, None) => to.map(|to| to.to_string()).unwrap_or_default(),
        }
    }

    /// Whether it has addresses of the family.
    pub(super) fn is_open_to(self, client: &Client<'_>) -> bool {
        match self {
            Self::Address(to, _) => client.has_family_of(to.ip()),
            Self::Name(..) => true,
        }
    }
}

/// Ports of services, those among them of which only documents speak.
pub(super) fn of_services<'a>(now: &'a Snapshot, then: &Snapshot) -> Vec<Asked<'a>> {
    let is_alias = |service: &Service| {
        let outward = now.bystanders.services.get(&service.name);
        outward.is_some_and(|outward| outward.alias.is_some())
    };
    let mut services: Vec<_> = now.services().filter(|s| !is_alias(s)).collect();
    services.retain(|service| unrecognised(now, service).is_none());
    services.sort_unstable_by(|a, b| a.name.cmp(&b.name));
    let each = services.into_iter().flat_map(|service| {
        let ports = ports(now, then, service).into_iter();
        ports.flat_map(move |port| at_port(now, service, port))
    });
    each.collect()
}

fn at_port<'a>(now: &Snapshot, service: &'a Arc<Service>, port: u16) -> Vec<Asked<'a>> {
    if !service.virtual_addresses.is_empty() {
        let addresses = service.virtual_addresses.iter();
        let asked = addresses.map(|address| SocketAddr::new(*address, port));
        return asked.map(|to| Asked::Address(to, Some(service))).collect();
    }
    let ends: Vec<_> = service
        .port(port)
        .into_iter()
        .flat_map(|port| port.endpoints.iter())
        .collect();
    if ends.is_empty() || service.outside.is_some() {
        return vec![Asked::Name(service, port)];
    }
    // Clients connect to the pods, which are tried each. Of others one of each family stands for all.
    let others = ends
        .iter()
        .filter(|end| now.workload_at(end.address).is_none());
    let (ipv4, ipv6): (Vec<Endpoint>, Vec<Endpoint>) =
        others.copied().partition(|end| end.address.is_ipv4());
    let first = [ipv4.first(), ipv6.first()].into_iter().flatten();
    first
        .map(|end| Asked::Address(SocketAddr::new(end.address, end.port), Some(service)))
        .collect()
}

fn ports(now: &Snapshot, then: &Snapshot, service: &Service) -> Vec<u16> {
    let declared = service.ports.iter().map(|port| port.port);
    let routed = [now, then].into_iter().flat_map(|snapshot| {
        let routes = snapshot.policy.routes();
        routes.ports(&service.host).collect::<Vec<_>>()
    });
    let mut ports: Vec<_> = declared.chain(routed).collect();
    ports.sort_unstable();
    ports.dedup();
    ports
}
