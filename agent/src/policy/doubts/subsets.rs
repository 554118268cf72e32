//! Subsets to which routes lead, and which nobody defines or is part of.

use std::collections::HashMap;

use super::{Doubt, Known};
use crate::{
    policy::{DestinationRule, DocumentRef, Documents, host::Host, selector::selects},
    workload::{Service, Workload},
};

impl Documents {
    /// Where services are not known rules are elsewhere as well, unless there is one for the host.
    pub(super) fn odd_subsets(&self, known: &Known<'_>) -> Vec<Doubt> {
        let by_address: HashMap<_, _> = known
            .workloads
            .iter()
            .flat_map(|pod| pod.addresses.iter().map(move |address| (*address, &**pod)))
            .collect();
        let leads = self.virtual_services.iter().flat_map(|routes| {
            let leads = routes.leads();
            leads.filter_map(|(host, subset, _)| Some((&routes.document, host, subset?)))
        });
        let doubt = |(document, host, subset): (&DocumentRef, &Host, &str)| {
            let host = host
                .clone()
                .whole(&document.namespace, known.cluster_domain);
            let name = host.to_string();
            let rules: Vec<_> = self.rules_for(&name, known.cluster_domain).collect();
            let mut defining = rules.iter().filter_map(|r| Some((r, r.subset(subset)?)));
            let Some((rule, labels)) = defining.next() else {
                let suspect = !rules.is_empty() || !known.services.is_empty();
                return suspect.then(|| Doubt::NoSubset {
                    document: document.clone(),
                    host,
                    subset: subset.to_owned(),
                });
            };
            let service = known.services.iter().find(|service| service.host == name)?;
            let mut pods = ready(service, &by_address).peekable();
            pods.peek()?;
            let is_empty = !pods.any(|pod| selects(labels, &pod.labels));
            is_empty.then(|| Doubt::EmptySubset {
                document: document.clone(),
                host,
                subset: subset.to_owned(),
                rule: rule.document.clone(),
            })
        };
        leads.filter_map(doubt).collect()
    }

    fn rules_for<'d>(
        &'d self,
        host: &'d str,
        cluster_domain: &'d str,
    ) -> impl Iterator<Item = &'d DestinationRule> {
        self.destination_rules.iter().filter(move |rule| {
            let written = rule.host().clone();
            let whole = written.whole(&rule.document.namespace, cluster_domain);
            whole.matches(host)
        })
    }
}

/// The pods that a service leads to.
fn ready<'k>(
    service: &'k Service,
    by_address: &'k HashMap<std::net::IpAddr, &'k Workload>,
) -> impl Iterator<Item = &'k Workload> {
    let endpoints = service.endpoints();
    endpoints.filter_map(|endpoint| by_address.get(&endpoint.address).copied())
}
