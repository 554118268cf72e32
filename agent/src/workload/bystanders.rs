//! What a cluster has that takes no part in the mesh. Nothing is decided by it: only questions are answered with it.

use std::{
    collections::{BTreeMap, BTreeSet},
    net::IpAddr,
};

use super::ObjectName;

/// Pods that are no workloads, and what services have besides the addresses inside of the cluster.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct Bystanders {
    pub pods: BTreeMap<ObjectName, Bystander>,
    /// Those that have something of the kind.
    pub services: BTreeMap<ObjectName, Outward>,
    /// Pods out of the mesh that have Istio's own proxy: gateways, above all.
    pub proxies: BTreeSet<ObjectName>,
    /// What pods are called in the names of headless services, where there are such.
    pub hosts: BTreeMap<ObjectName, PodHost>,
    /// Of nodes, as far as their pods tell.
    pub nodes: BTreeSet<IpAddr>,
}

/// `HOST.SERVICE.NAMESPACE.svc.CLUSTER-DOMAIN`
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct PodHost {
    pub host: String,
    /// `None`: whichever leads to the pod.
    pub service: Option<String>,
}

/// A pod that is no workload.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Bystander {
    /// Runs on the network of its node, whose addresses these are.
    HostNetwork(Vec<IpAddr>),
    Finished,
    /// Has no address yet.
    Pending,
}

/// What a service shows to those outside of the cluster, or of what it is another name.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct Outward {
    /// `externalName`
    pub alias: Option<String>,
    /// `externalIPs`, and what its load balancer has.
    pub addresses: Vec<IpAddr>,
    /// Ports of every node, each with the service's port.
    pub node_ports: Vec<(u16, u16)>,
}

impl Outward {
    /// Whether there is nothing of the kind.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        *self == Self::default()
    }
}

impl Bystanders {
    /// Whether a pod is called so in the name of a headless service.
    #[must_use]
    pub fn is_host(&self, pod: &ObjectName, host: &str, service: &ObjectName) -> bool {
        self.hosts.get(pod).is_some_and(|known| {
            let within = known.service.as_deref();
            known.host == host
                && pod.namespace == service.namespace
                && within.is_none_or(|within| within == &*service.name)
        })
    }

    /// Of which service an address outside of the cluster is.
    #[must_use]
    pub fn service_at(&self, address: IpAddr) -> Option<&ObjectName> {
        let mut services = self.services.iter();
        let found = services.find(|(_, outward)| outward.addresses.contains(&address));
        found.map(|(name, _)| name)
    }

    /// Of which service, and which port of it, a node's port is.
    #[must_use]
    pub fn service_of_node_port(&self, port: u16) -> Option<(&ObjectName, u16)> {
        self.services.iter().find_map(|(name, outward)| {
            let mut ports = outward.node_ports.iter();
            let (_, of_service) = ports.find(|(of_node, _)| *of_node == port)?;
            Some((name, *of_service))
        })
    }
}
