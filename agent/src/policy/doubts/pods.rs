//! Pods as selectors look for them.

use std::{collections::HashMap, net::IpAddr, sync::Arc};

use super::Known;
use crate::{
    policy::{Labels, selector::selects},
    workload::Workload,
};

/// Pods by label, so that each selector looks at few of them.
pub(super) struct Pods<'w> {
    all: &'w [Arc<Workload>],
    by_label: HashMap<(&'w str, &'w str), Vec<&'w Workload>>,
    /// Ports to which services lead.
    served: HashMap<IpAddr, Vec<u16>>,
}

impl<'w> Pods<'w> {
    pub(super) fn new(known: &Known<'w>) -> Self {
        let mut by_label: HashMap<_, Vec<_>> = HashMap::new();
        for workload in known.workloads {
            for (key, value) in &*workload.labels {
                let label = (key.as_str(), value.as_str());
                by_label.entry(label).or_default().push(&**workload);
            }
        }
        let mut served: HashMap<_, Vec<_>> = HashMap::new();
        for endpoint in known.services.iter().flat_map(|s| s.endpoints()) {
            served
                .entry(endpoint.address)
                .or_default()
                .push(endpoint.port);
        }
        Self {
            all: known.workloads,
            by_label,
            served,
        }
    }

    /// Those with these labels, in a namespace or anywhere.
    pub(super) fn selected<'s>(
        &'s self,
        namespace: Option<&'s str>,
        labels: &'s Labels,
    ) -> impl Iterator<Item = &'w Workload> + 's {
        let mut fewest: Option<&'s [&'w Workload]> = None;
        for (key, value) in labels {
            let pods = self.by_label.get(&(key.as_str(), value.as_str()));
            let pods = pods.map_or(&[][..], Vec::as_slice);
            if fewest.is_none_or(|fewest| pods.len() < fewest.len()) {
                fewest = Some(pods);
            }
        }
        let all = self
            .all
            .iter()
            .map(|w| &**w)
            .filter(move |_| fewest.is_none());
        let few = fewest.unwrap_or_default().iter().copied();
        few.chain(all).filter(move |pod| {
            let within = namespace.is_none_or(|namespace| pod.namespace() == namespace);
            within && selects(labels, &pod.labels)
        })
    }

    /// Whether the ports of all that are selected are known, and this one is none of them.
    pub(super) fn lack(&self, namespace: Option<&str>, labels: &Labels, port: u16) -> bool {
        let mut selected = self.selected(namespace, labels).peekable();
        selected.peek().is_some()
            && selected.all(|pod| {
                let declared = pod.container_ports.iter().map(|declared| declared.port);
                let served = pod.addresses.iter().filter_map(|a| self.served.get(a));
                let mut ports = declared.chain(served.flatten().copied()).peekable();
                ports.peek().is_some() && ports.all(|known| known != port)
            })
    }
}
