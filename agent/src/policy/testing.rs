//! What the tests of policy have in common.

use std::sync::Arc;

use super::Labels;
use crate::workload::{Node, ObjectName, Pod, Workload};

/// From `KEY=VALUE,…`.
pub(crate) fn labels(text: &str) -> Labels {
    text.split(',')
        .filter_map(|pair| pair.split_once('='))
        .map(|(key, value)| (key.to_owned(), value.to_owned()))
        .collect()
}

pub(crate) fn workload(namespace: &str, own: &str) -> Workload {
    Workload {
        identity: format!("spiffe://cluster.local/ns/{namespace}/sa/default")
            .parse()
            .unwrap(),
        pod: Arc::new(Pod {
            node: Arc::new(Node {
                name: "a".into(),
                address: None,
            }),
            addresses: ["10.0.0.1".parse().unwrap()].into_iter().collect(),
            ..Pod::named(ObjectName::new(namespace, "pod")).labelled(labels(own))
        }),
        enrolled: true,
    }
}
