//! What is routed through each gateway, found without a look at what is routed through others, or for other hosts.

use std::collections::BTreeMap;

use super::VirtualService;
use crate::policy::host::Host;

/// In the order of their age.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub(super) struct Attached {
    services: Vec<VirtualService>,
    /// By the gateway's name.
    through: BTreeMap<String, Through>,
}

/// Places in the list, rising.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
struct Through {
    all: Vec<usize>,
    hosts: BTreeMap<Host, Vec<usize>>,
}

impl Attached {
    /// `services`: oldest first.
    pub(super) fn new(services: Vec<VirtualService>) -> Self {
        let mut through = BTreeMap::<String, Through>::new();
        for (index, service) in services.iter().enumerate() {
            for gateway in service.through() {
                let of_gateway = through.entry(gateway.to_owned()).or_default();
                push(&mut of_gateway.all, index);
                for host in service.hosts() {
                    push(of_gateway.hosts.entry(host.clone()).or_default(), index);
                }
            }
        }
        Self { services, through }
    }

    pub(super) fn all(&self) -> impl Iterator<Item = &VirtualService> {
        self.services.iter()
    }

    /// What is routed through a gateway.
    pub(super) fn through<'p>(
        &'p self,
        gateway: &str,
    ) -> impl Iterator<Item = &'p VirtualService> + use<'p> {
        let through = self.through.get(gateway);
        let all = through.into_iter().flat_map(|through| &through.all);
        all.filter_map(|index| self.services.get(*index))
    }

    /// What of it has one of these hosts, word for word.
    pub(super) fn with_hosts<'p, H: Iterator<Item = Host>>(
        &'p self,
        gateway: &str,
        hosts: H,
    ) -> impl Iterator<Item = &'p VirtualService> + use<'p, H> {
        let through = self.through.get(gateway);
        let places = hosts.filter_map(|host| through?.hosts.get(&host));
        let mut found: Vec<_> = places.flatten().copied().collect();
        found.sort_unstable();
        found.dedup();
        found
            .into_iter()
            .filter_map(|index| self.services.get(index))
    }
}

/// A document may name a gateway, or a host, twice.
fn push(places: &mut Vec<usize>, index: usize) {
    if places.last() != Some(&index) {
        places.push(index);
    }
}
