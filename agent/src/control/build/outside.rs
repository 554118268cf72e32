//! Hosts that are no Kubernetes services.

use std::{
    collections::{BTreeSet, HashMap, HashSet},
    sync::Arc,
};

use crate::{
    policy::{Addresses, Ignored, Policy, ServiceEntry},
    store::Snapshot,
    workload::{ObjectName, Service},
};

/// What the entries say, and whether name servers have been heard about all of it.
pub(super) struct Outside {
    /// The older entry comes first.
    pub(super) services: Vec<Service>,
    /// Whose addresses must be asked for.
    pub(super) names: BTreeSet<String>,
    pub(super) settled: bool,
}

impl Outside {
    /// Of two entries with one host in one namespace the older counts; a host of Kubernetes stays Kubernetes'.
    pub(super) fn of<'k>(
        entries: &[ServiceEntry],
        kubernetes: impl Iterator<Item = &'k Service>,
        addresses: &Addresses,
        warnings: &mut Vec<String>,
    ) -> Self {
        let mut entries: Vec<_> = entries.iter().collect();
        entries.sort_by_key(|entry| entry.precedence());
        let names = entries.iter().flat_map(|entry| entry.unresolved());
        let names: BTreeSet<_> = names.map(str::to_owned).collect();
        let kubernetes: HashMap<_, _> = kubernetes.map(|s| (&*s.host, &s.name)).collect();
        let mut owned: HashSet<ObjectName> = HashSet::new();
        let mut services = Vec::new();
        for entry in entries {
            for service in entry.services(addresses) {
                let host = &*service.host;
                let own = owned.get(&service.name);
                if let Some(owner) = kubernetes.get(host).copied().or(own) {
                    let document = entry.document();
                    warnings.push(format!(
                        "{document}: the host {host} is of {owner} already: left out"
                    ));
                    continue;
                }
                if service.virtual_addresses.is_empty() && !names.contains(host) {
                    warnings.push(no_address(entry, host));
                }
                owned.insert(service.name.clone());
                services.push(service);
            }
        }
        Self {
            services,
            settled: names.iter().all(|name| addresses.contains_key(name)),
            names,
        }
    }
}

fn no_address(entry: &ServiceEntry, host: &str) -> String {
    let document = entry.document();
    format!(
        "{document} has no address for {host}: connections to it are not recognised, and go as the client sends them"
    )
}

/// A snapshot in which nothing but the addresses of hosts outside is new.
#[must_use]
pub fn readdressed(snapshot: &Snapshot, addresses: &Addresses) -> Snapshot {
    let kubernetes = snapshot.services().filter(|s| s.outside.is_none());
    let kubernetes = kubernetes.map(Arc::as_ref);
    let entries = &snapshot.documents.service_entries;
    let outside = Outside::of(entries, kubernetes, addresses, &mut Vec::new());
    snapshot.readdressed(outside.services, outside.settled)
}

/// What is said of hosts that nobody has.
pub(super) fn nowhere<'s>(
    policy: &Policy,
    services: impl Iterator<Item = &'s Service>,
) -> Vec<String> {
    let known: HashSet<&str> = services.map(|service| &*service.host).collect();
    let routes = policy.routes().destinations();
    let unknown = routes.filter(|(host, _)| !known.contains(host));
    let ignored = unknown.map(|(host, document)| Ignored::NoHost {
        document: document.clone(),
        host: host.to_owned(),
    });
    let mut texts: Vec<_> = ignored.map(|ignored| ignored.to_string()).collect();
    texts.dedup();
    texts
}
