//! What SPIRE's Kubernetes workload attestor would say of pods
//! (<https://github.com/spiffe/spire/blob/main/doc/plugin_agent_workloadattestor_k8s.md>), as far as their objects tell.

use std::collections::{BTreeMap, BTreeSet};

use super::wire::Selector;
use crate::{identity::SpiffeId, workload::Workload};

/// For one identity.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Selectors(pub(super) BTreeSet<Selector>);

/// For every identity of these pods. Who has an identity is told by the service account, so that its pods share what
/// SPIRE grants to one of them by name or uid; labels count where all of them have these.
#[must_use]
pub fn selectors<'w>(
    workloads: impl Iterator<Item = &'w Workload>,
) -> BTreeMap<SpiffeId, Selectors> {
    let mut pods: BTreeMap<SpiffeId, Vec<&Workload>> = BTreeMap::new();
    for workload in workloads {
        let known = pods.entry(workload.identity.clone()).or_default();
        known.push(workload);
    }
    let told = pods.into_iter().map(|(id, pods)| {
        let selectors = of(&id, &pods);
        (id, selectors)
    });
    told.collect()
}

fn of(id: &SpiffeId, pods: &[&Workload]) -> Selectors {
    let account = [
        format!("ns:{}", id.namespace()),
        format!("sa:{}", id.service_account()),
    ];
    let own = pods.iter().flat_map(|pod| {
        let uid = pod.uid().into_iter().map(|uid| format!("pod-uid:{uid}"));
        uid.chain([
            format!("pod-name:{}", pod.name.name),
            format!("node-name:{}", pod.node.name),
        ])
    });
    let labels = pods.first().map(|pod| &*pod.labels).into_iter().flatten();
    let shared = labels.filter(|(key, value)| {
        let mut pods = pods.iter();
        pods.all(|pod| pod.labels.get(*key) == Some(*value))
    });
    let shared = shared.map(|(key, value)| format!("pod-label:{key}:{value}"));
    let values = account.into_iter().chain(own).chain(shared);
    Selectors(
        values
            .map(|value| Selector {
                kind: "k8s".to_owned(),
                value,
            })
            .collect(),
    )
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::policy::testing::workload;

    #[test]
    fn pods_of_an_account_are_told_together_and_only_their_common_labels() {
        let pod = |name: &str, labels: &str| {
            let mut workload = workload("shop", labels);
            let pod = Arc::make_mut(&mut workload.pod);
            pod.name.name = name.into();
            pod.local.get_or_insert_default().uid = Some(format!("uid-{name}").into());
            workload
        };
        let pods = [
            pod("a", "app=web,tier=gold"),
            pod("b", "app=web,tier=tin"),
            workload("other", ""),
        ];
        let told = selectors(pods.iter());
        assert_eq!(told.len(), 2);
        let id = &pods[0].identity;
        let values: Vec<_> = told[id].0.iter().map(|s| s.value.as_str()).collect();
        let expected = [
            "node-name:a",
            "ns:shop",
            "pod-label:app:web",
            "pod-name:a",
            "pod-name:b",
            "pod-uid:uid-a",
            "pod-uid:uid-b",
            "sa:default",
        ];
        assert_eq!(values, expected);
    }
}
