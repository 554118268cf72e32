//! Hosts that are no Kubernetes services.

use std::collections::{BTreeSet, HashSet};

use super::Settings;
use crate::{
    policy::{Ignored, Policy, ServiceEntry},
    workload::Service,
};

/// The services of all entries, and the names whose addresses must be asked for. Of two entries with one host the
/// older counts.
pub(super) fn services(
    entries: &[ServiceEntry],
    settings: &Settings,
    warnings: &mut Vec<String>,
) -> (Vec<Service>, BTreeSet<String>) {
    let mut entries: Vec<_> = entries.iter().collect();
    entries.sort_by_key(|entry| entry.precedence());
    let mut services: Vec<Service> = Vec::new();
    let mut names = BTreeSet::new();
    for entry in entries {
        names.extend(entry.unresolved().map(str::to_owned));
        for service in entry.services(&settings.addresses) {
            match services.iter().find(|known| known.host == service.host) {
                Some(known) => warnings.push(format!(
                    "{}: the host {} is of an older ServiceEntry in namespace {} already: left out",
                    entry.document(),
                    service.host,
                    known.name.namespace
                )),
                None => services.push(service),
            }
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
