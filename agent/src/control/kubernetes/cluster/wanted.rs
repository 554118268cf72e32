//! What a node's pods are looked for by: their UIDs, of static pods what kubelet makes them of.

use std::{collections::BTreeMap, sync::Arc};

use super::Cluster;
use crate::control::{
    kubernetes::sandbox::{Sought, Wanted},
    objects::PodFacts,
};

impl Cluster {
    /// The pods of this node that are to be found, and what kubelet has named their cgroups after. Of mirrors that claim
    /// one static pod the first that was made counts, and none where another pod of the node has the UID.
    pub(in crate::control::kubernetes) fn wanted(&self) -> Wanted {
        let pods: Vec<_> = self.own_pods().filter(|pod| !pod.host_network).collect();
        let sought = |pod: &PodFacts, cgroup: &Arc<str>| {
            let sought = Sought {
                cgroup: Arc::clone(cgroup),
                addressed: !pod.addresses.is_empty(),
            };
            Some((Arc::clone(pod.uid()?), sought))
        };
        let named = pods.iter().filter_map(|pod| sought(pod, pod.uid()?));
        let mut wanted: Wanted = named.collect();
        let mut first = BTreeMap::<&Arc<str>, &Arc<PodFacts>>::new();
        let age = |pod: &PodFacts| (pod.created.unwrap_or(i64::MAX), pod.uid().cloned());
        for mirror in pods {
            let local = mirror.local.as_ref();
            let Some(hash) = local.and_then(|local| local.static_uid.as_ref()) else {
                continue;
            };
            let known = first.entry(hash).or_insert(mirror);
            if age(mirror) < age(known) {
                *known = mirror;
            }
        }
        if first.is_empty() {
            return wanted;
        }
        let uids = self.pods.values().filter_map(|pod| pod.uid());
        for uid in uids {
            first.remove(uid);
        }
        let claims = first
            .into_iter()
            .filter_map(|(hash, pod)| sought(pod, hash));
        wanted.extend(claims);
        wanted
    }
}
