//! Ports that nobody has, as far as containers and services tell.

use std::collections::HashSet;

use super::{Doubt, Known, pods::Pods, within};
use crate::{
    policy::{DocumentRef, Documents, Labels, host::Host},
    workload::{ObjectName, Service},
};

/// For so many documents it is looked for what was meant: every service is looked at for each.
const EXPLAINED: usize = 100;

impl Documents {
    /// Ports of workloads that none of the pods has for which a document is.
    pub(super) fn odd_ports<'d>(
        &'d self,
        known: &'d Known<'_>,
        pods: &'d Pods<'_>,
    ) -> impl Iterator<Item = Doubt> + 'd {
        let peers = self.peer_authentications.iter();
        let peers = peers.flat_map(|peer| {
            let ports = peer.ports();
            ports.map(|port| (&peer.document, peer.labels(), false, port))
        });
        let policies = self.authorization_policies.iter();
        let policies = policies.flat_map(|policy| {
            let ports = policy.ports();
            ports.map(|port| (policy.document(), policy.labels(), true, port))
        });
        let mut explained = 0;
        let doubt = move |(document, labels, everywhere, port): (&DocumentRef, &Labels, _, _)| {
            let own = within(document, everywhere, known.root_namespace);
            if !pods.lack(own, labels, port) {
                return None;
            }
            explained += 1;
            let service = (explained <= EXPLAINED)
                .then(|| renumbered(known, pods, (own, labels), port))
                .flatten();
            Some(Doubt::NoPort {
                document: document.clone(),
                port,
                service,
            })
        };
        peers.chain(policies).filter_map(doubt)
    }

    /// Ports of services that these haven't.
    pub(super) fn odd_service_ports(&self, known: &Known<'_>) -> Vec<Doubt> {
        let rules = self.destination_rules.iter();
        let rules = rules.flat_map(|rule| {
            let ports = rule.ports();
            ports.map(|port| (&rule.document, rule.host(), port))
        });
        let routes = self.virtual_services.iter().flat_map(|routes| {
            let leads = routes.leads();
            leads.filter_map(|(host, _, port)| Some((&routes.document, host, port?)))
        });
        let doubt = |(document, host, port): (&DocumentRef, &Host, u16)| {
            let host = host
                .clone()
                .whole(&document.namespace, known.cluster_domain);
            let services = known.services.iter().filter(|s| host.matches(&s.host));
            let ports = services.flat_map(|service| service.ports.iter().map(|p| p.port));
            let mut ports: Vec<_> = ports.collect();
            ports.sort_unstable();
            ports.dedup();
            let lacking = !ports.is_empty() && !ports.contains(&port);
            lacking.then(|| Doubt::NoServicePort {
                document: document.clone(),
                host,
                port,
                known: ports,
            })
        };
        rules.chain(routes).filter_map(doubt).collect()
    }
}

/// A service that leads from a port of this number to another one of the pods.
fn renumbered(
    known: &Known<'_>,
    pods: &Pods<'_>,
    (namespace, labels): (Option<&str>, &Labels),
    port: u16,
) -> Option<(ObjectName, u16)> {
    let selected = pods.selected(namespace, labels);
    let own: HashSet<_> = selected.flat_map(|pod| pod.addresses.iter()).collect();
    let leading = |service: &&Service| {
        let mut endpoints = service.port(port)?.endpoints.iter();
        let endpoint = endpoints.find(|endpoint| own.contains(&endpoint.address))?;
        Some((service.name.clone(), endpoint.port))
    };
    known.services.iter().find_map(leading)
}
