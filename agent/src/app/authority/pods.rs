//! Where the pods of each identity run, as the source has them.

use std::{
    collections::{HashMap, HashSet},
    sync::{Arc, Mutex, PoisonError},
};

use crate::{
    ca::Placement,
    identity::SpiffeId,
    store::{Reader, Snapshot},
};

/// Asked for each certificate: an index of the latest snapshot, made when that is asked about first.
pub(super) struct Pods {
    store: Reader,
    index: Mutex<Arc<Index>>,
}

struct Index {
    of: Arc<Snapshot>,
    nodes: HashMap<SpiffeId, HashSet<Arc<str>>>,
}

impl Pods {
    pub(super) fn new(store: Reader) -> Self {
        let index = Mutex::new(Arc::new(Index::new(store.current())));
        Self { store, index }
    }

    fn index(&self) -> Arc<Index> {
        let snapshot = self.store.current();
        let mut index = self.index.lock().unwrap_or_else(PoisonError::into_inner);
        if !Arc::ptr_eq(&index.of, &snapshot) {
            *index = Arc::new(Index::new(snapshot));
        }
        Arc::clone(&index)
    }
}

impl Index {
    fn new(snapshot: Arc<Snapshot>) -> Self {
        let mut nodes: HashMap<_, HashSet<_>> = HashMap::new();
        for workload in snapshot.workloads() {
            let on = nodes.entry(workload.identity.clone()).or_default();
            on.insert(Arc::clone(&workload.node.name));
        }
        for (identity, node) in &*snapshot.expected {
            let on = nodes.entry(identity.clone()).or_default();
            on.insert(Arc::clone(node));
        }
        Self {
            of: snapshot,
            nodes,
        }
    }
}

impl Placement for Pods {
    fn runs_on(&self, identity: &SpiffeId, node: &str) -> bool {
        let index = self.index();
        let nodes = index.nodes.get(identity);
        nodes.is_some_and(|nodes| nodes.contains(node))
    }

    fn is_read(&self) -> bool {
        self.store.current().generation > 0
    }

    fn exists(&self, identity: &SpiffeId) -> bool {
        self.index().nodes.contains_key(identity)
    }
}
