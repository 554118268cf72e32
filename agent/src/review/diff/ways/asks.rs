//! What a client may have asked for, found by where that leads.

use std::{collections::HashMap, net::IpAddr, sync::Arc};

use crate::{
    store::{Lead, LeadError, Snapshot},
    workload::{Endpoint, Service, Workload},
};

/// A port of a service, as a client of a pod asks for it.
#[derive(Clone, Copy)]
pub(super) struct Asked<'a> {
    pub client: &'a Workload,
    pub service: &'a Arc<Service>,
    pub port: u16,
    /// Where the client connects to.
    pub address: IpAddr,
}

impl Asked<'_> {
    pub(super) fn lead<'s>(&'s self, snapshot: &'s Snapshot) -> Result<Lead<'s>, LeadError> {
        let address = Some(self.address);
        snapshot.lead(self.client, Some(self.service), self.port, address)
    }
}

/// All that one client may ask for with addresses of one family.
pub(super) struct Asks<'a> {
    client: &'a Workload,
    is_ipv4: bool,
    by_endpoint: HashMap<Endpoint, Vec<Asked<'a>>>,
    /// By host and port of the service that it leads to.
    by_host: HashMap<(&'a str, u16), Vec<Asked<'a>>>,
    /// Services without an address of their own: their clients connect to the pods.
    headless: Vec<(&'a Arc<Service>, u16)>,
}

impl<'a> Asks<'a> {
    /// `routed`: the services of which it is said where connections go.
    pub(super) fn new(
        snapshot: &'a Snapshot,
        routed: &[&'a Arc<Service>],
        client: &'a Workload,
        is_ipv4: bool,
    ) -> Self {
        let mut asks = Self {
            client,
            is_ipv4,
            by_endpoint: HashMap::new(),
            by_host: HashMap::new(),
            headless: Vec::new(),
        };
        for &service in routed {
            let mut addresses = service.virtual_addresses.iter();
            let own = addresses.find(|address| address.is_ipv4() == is_ipv4);
            for port in ports(snapshot, service) {
                match own {
                    Some(&address) => asks.add(snapshot, service, port, address),
                    None => asks.headless.push((service, port)),
                }
            }
        }
        asks
    }

    fn add(
        &mut self,
        snapshot: &'a Snapshot,
        service: &'a Arc<Service>,
        port: u16,
        address: IpAddr,
    ) {
        let client = self.client;
        let asked = Asked {
            client,
            service,
            port,
            address,
        };
        let Ok(lead) = snapshot.lead(client, Some(service), port, Some(address)) else {
            return;
        };
        for endpoint in snapshot.endpoints(&lead) {
            self.by_endpoint.entry(endpoint).or_default().push(asked);
        }
        if let Some(service) = lead.service {
            let host = (&*service.host, lead.port);
            self.by_host.entry(host).or_default().push(asked);
        }
    }

    pub(super) fn is_of(&self, client: &Workload, server: IpAddr) -> bool {
        self.client.name == client.name && self.is_ipv4 == server.is_ipv4()
    }

    /// What leads to an endpoint, by the service that the client was led to if that is known.
    pub(super) fn leading(
        &self,
        snapshot: &Snapshot,
        reached: Option<Reached<'_>>,
        endpoint: Endpoint,
    ) -> Vec<Asked<'a>> {
        let known = match reached {
            Some(reached) => self.by_host.get(&(reached.host, reached.port)),
            None => self.by_endpoint.get(&endpoint),
        };
        let headless = self.headless.iter().map(|&(service, port)| Asked {
            client: self.client,
            service,
            port,
            address: endpoint.address,
        });
        let arrives = |asked: &Asked<'_>| {
            asked.lead(snapshot).is_ok_and(|lead| match reached {
                Some(reached) => reached.is_by(&lead),
                None => snapshot.endpoints(&lead).any(|end| end == endpoint),
            })
        };
        let known = known.into_iter().flatten().copied();
        known.chain(headless).filter(arrives).collect()
    }
}

fn ports(snapshot: &Snapshot, service: &Service) -> Vec<u16> {
    let routes = snapshot.policy.routes();
    let declared = service.ports.iter().map(|port| port.port);
    let mut ports: Vec<_> = declared.chain(routes.ports(&service.host)).collect();
    ports.sort_unstable();
    ports.dedup();
    ports
}

/// Which service a client was led to.
#[derive(Clone, Copy)]
pub(in crate::review) struct Reached<'n> {
    pub host: &'n str,
    pub port: u16,
    subset: &'n str,
}

impl<'n> Reached<'n> {
    /// From `outbound_.PORT_.SUBSET_.HOST` (Istio: `model.BuildDNSSrvSubsetKey`).
    pub(in crate::review) fn of(name: &'n str) -> Option<Self> {
        let mut parts = name.strip_prefix("outbound_.")?.splitn(3, "_.");
        Some(Self {
            port: parts.next()?.parse().ok()?,
            subset: parts.next()?,
            host: parts.next()?,
        })
    }

    /// Agents don't name the subset.
    fn is_by(&self, lead: &Lead<'_>) -> bool {
        let subset = lead.routed.and_then(|routed| routed.subset);
        lead.service
            .is_some_and(|service| service.host == self.host)
            && lead.port == self.port
            && (self.subset.is_empty() || subset == Some(self.subset))
    }
}

#[cfg(test)]
mod tests {
    use super::Reached;

    #[test]
    fn names_tell_the_service_and_its_port() {
        let reached = |name| Reached::of(name).map(|r| (r.host, r.port, r.subset));
        assert_eq!(
            reached("outbound_.80_._.web.shop.svc.cluster.local"),
            Some(("web.shop.svc.cluster.local", 80, ""))
        );
        assert_eq!(
            reached("outbound_.80_.v1_.web.shop.svc.cluster.local"),
            Some(("web.shop.svc.cluster.local", 80, "v1"))
        );
        for name in [
            "web.example",
            "outbound_.x_._.web",
            "outbound_.80_.web",
            "outbound_.99999_._.w",
        ] {
            assert!(reached(name).is_none(), "{name}");
        }
    }
}
