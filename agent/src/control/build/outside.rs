//! Hosts that are no Kubernetes services.

use std::collections::{BTreeSet, HashMap, HashSet};

use super::Settings;
use crate::{
    policy::{Ignored, Policy, ServiceEntry},
    workload::{ObjectName, Service},
};

/// The services of all entries, and the names whose addresses must be asked for. Of two entries with one host the
/// older counts; a host of Kubernetes stays Kubernetes'.
pub(super) fn services(
    entries: &[ServiceEntry],
    kubernetes: &[Service],
    settings: &Settings,
    warnings: &mut Vec<String>,
) -> (Vec<Service>, BTreeSet<String>) {
    let mut entries: Vec<_> = entries.iter().collect();
    entries.sort_by_key(|entry| entry.precedence());
    let mut services: Vec<Service> = Vec::new();
    let mut names = BTreeSet::new();
    let taken: HashMap<_, _> = kubernetes.iter().map(|s| (&*s.host, &s.name)).collect();
    let mut owners: HashMap<String, ObjectName> = HashMap::new();
    for entry in entries {
        names.extend(entry.unresolved().map(str::to_owned));
        for service in entry.services(&settings.addresses) {
            let host = &*service.host;
            let owner = taken.get(host).copied().or_else(|| owners.get(host));
            if let Some(owner) = owner {
                let document = entry.document();
                warnings.push(format!(
                    "{document}: the host {host} is of {owner} already: left out"
                ));
                continue;
            }
            if service.virtual_addresses.is_empty() && !names.contains(host) {
                let document = entry.document();
                warnings.push(format!(
                    "{document} has no address for {host}: connections to it are not recognised, and go as the client \
                     sends them"
                ));
            }
            owners.insert(service.host.clone(), service.name.clone());
            services.push(service);
        }
    }
    (services, names)
}

/// What is said of hosts that nobody has.
pub(super) fn nowhere(policy: &Policy, services: &[Service]) -> Vec<String> {
    let known: HashSet<&str> = services.iter().map(|service| &*service.host).collect();
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
