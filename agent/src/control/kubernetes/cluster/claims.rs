//! Whose an address is while that can't be told by age: while a list is read again, and before the API knows it.
//!
//! What happened between two lists is not heard in order: a pod that is gone stays known until the list has ended, and
//! its address may be another's, of which the list has spoken already. Who was heard of later has it.

use std::{collections::HashMap, net::IpAddr, sync::Arc};

use smallvec::SmallVec;

use super::Cluster;
use crate::control::objects::PodFacts;

/// The list in which somebody was last heard to take an address.
#[derive(Debug, Default)]
pub(super) struct Claims(HashMap<IpAddr, u32>);

impl Claims {
    /// A list has something new of a pod with these addresses.
    pub(super) fn take(&mut self, addresses: &[IpAddr], round: u32) {
        self.0
            .extend(addresses.iter().map(|address| (*address, round)));
    }

    /// What the last list didn't have is not known any more.
    pub(super) fn clear(&mut self) {
        self.0 = HashMap::new();
    }

    /// A pod of which an earlier list has spoken last gives way to one that has its address since.
    pub(super) fn give_way(&self, pod: Arc<PodFacts>, round: u32) -> Arc<PodFacts> {
        let is_outdated = |address| self.0.get(address).is_some_and(|taken| *taken > round);
        if self.0.is_empty() || !pod.addresses.iter().any(is_outdated) {
            return pod;
        }
        Arc::new(PodFacts {
            leaving: true,
            ..PodFacts::clone(&pod)
        })
    }
}

impl Cluster {
    /// Of addresses that a pod has here, and which the API doesn't know yet, those that nobody else has: whoever rules
    /// a pod's network can give it any. `is_gone`: a pod that has left, whatever is known of it; one
    /// that is about to still has them.
    pub(in super::super) fn unclaimed(
        &self,
        of: &PodFacts,
        addresses: &[IpAddr],
        is_gone: impl Fn(&PodFacts) -> bool,
    ) -> SmallVec<[IpAddr; 2]> {
        let services = self.services.values();
        let services = services.flat_map(|service| &service.virtual_addresses);
        let others = self.pods.values();
        let others = others.filter(|pod| pod.name != of.name && !(pod.finished || is_gone(pod)));
        let pods = others.flat_map(|pod| &pod.addresses);
        let claimed: Vec<_> = services
            .chain(pods)
            .filter(|claimed| addresses.contains(claimed))
            .collect();
        let unclaimed = addresses
            .iter()
            .filter(|address| !claimed.contains(address));
        unclaimed.copied().collect()
    }
}
