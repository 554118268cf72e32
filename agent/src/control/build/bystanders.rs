//! What takes no part in the mesh.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use super::enrolment;
use crate::{
    control::objects::{LocatedPod, PodFacts, ServiceFacts},
    policy::Labels,
    workload::{Bystander, Bystanders, PodHost},
};

pub(super) fn found(
    namespaces: &BTreeMap<String, Labels>,
    pods: &[LocatedPod],
    services: &[Arc<ServiceFacts>],
    takes_proxied: bool,
) -> Bystanders {
    let facts = || pods.iter().map(|pod| &*pod.facts);
    let proxies = facts().filter(|pod| {
        let labels = namespaces.get(&*pod.name.namespace);
        pod.own_proxy && !enrolment::is_enrolled(labels, pod, takes_proxied)
    });
    let apart = facts().filter_map(|pod| Some((pod.name.clone(), bystander(pod)?)));
    let on_nodes = facts().filter(|pod| pod.host_network && !pod.finished);
    let of_nodes = on_nodes.flat_map(|pod| &*pod.addresses).copied();
    let headless = services.iter().filter(|s| s.virtual_addresses.is_empty());
    let headless: BTreeSet<_> = headless.map(|s| &s.name.namespace).collect();
    let named = facts().filter(|pod| headless.contains(&pod.name.namespace));
    let named =
        named.filter_map(|pod| Some((pod.name.clone(), PodHost::clone(pod.host_name.as_ref()?))));
    // One after the other: to collect them would take a list of all pods.
    let mut nodes = BTreeSet::new();
    nodes.extend(facts().filter_map(|pod| pod.node.address).chain(of_nodes));
    let outward = services.iter().filter(|s| !s.outward.is_empty());
    Bystanders {
        pods: apart.collect(),
        proxies: proxies.map(|pod| pod.name.clone()).collect(),
        services: outward
            .map(|s| (s.name.clone(), s.outward.clone()))
            .collect(),
        hosts: named.collect(),
        nodes,
    }
}

fn bystander(pod: &PodFacts) -> Option<Bystander> {
    match pod {
        _ if pod.finished => Some(Bystander::Finished),
        _ if pod.addresses.is_empty() => Some(Bystander::Pending),
        _ if pod.host_network => Some(Bystander::HostNetwork(pod.addresses.to_vec())),
        _ => None,
    }
}
