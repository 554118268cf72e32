//! Which addresses clients connect to when they ask for a service.

use std::net::IpAddr;

use crate::{
    store::Snapshot,
    workload::{Endpoint, Service},
};

/// The families of somebody's addresses.
#[derive(Clone, Copy, Debug)]
pub(super) struct Families {
    v4: bool,
    v6: bool,
}

impl Families {
    pub(super) fn of(addresses: &[IpAddr]) -> Self {
        Self {
            v4: addresses.iter().any(IpAddr::is_ipv4),
            v6: addresses.iter().any(IpAddr::is_ipv6),
        }
    }

    pub(super) const fn has(self, address: IpAddr) -> bool {
        match address {
            IpAddr::V4(_) => self.v4,
            IpAddr::V6(_) => self.v6,
        }
    }

    /// Those of a family that both have; all if there are none.
    pub(super) fn reachable(self, addresses: &[IpAddr]) -> Vec<IpAddr> {
        let own = addresses.iter().copied().filter(|a| self.has(*a));
        let own: Vec<_> = own.collect();
        if own.is_empty() {
            addresses.to_vec()
        } else {
            own
        }
    }
}

/// The addresses of a service, or of the pods of one that has none, where it makes a difference which of them it is.
/// `None`: any.
pub(super) fn connected(
    snapshot: &Snapshot,
    families: Families,
    service: &Service,
    port: u16,
) -> Vec<Option<IpAddr>> {
    let own = families.reachable(&service.virtual_addresses);
    if !own.is_empty() {
        return own.into_iter().map(Some).collect();
    }
    let mut routed = snapshot.policy.routes().leading(&service.host);
    // Nobody translates the port for them.
    let elsewhere = |endpoint: Endpoint| service.outside.is_none() && endpoint.port != port;
    let known = service
        .port(port)
        .filter(|known| routed.next().is_some() || known.endpoints.iter().any(elsewhere));
    let pods = known.into_iter().flat_map(|port| port.endpoints.iter());
    let pods: Vec<_> = pods.map(|endpoint| endpoint.address).collect();
    if pods.is_empty() {
        return vec![None];
    }
    families.reachable(&pods).into_iter().map(Some).collect()
}
