//! Documents with a selector, of one namespace.

use std::collections::BTreeMap;

use super::Mode;
use crate::policy::{
    DocumentRef,
    selector::{Labels, selects},
};

/// Found by one of their labels.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub(super) struct Selection {
    /// Oldest first.
    documents: Vec<Selected>,
    /// Key, then value.
    by_label: BTreeMap<String, BTreeMap<String, Vec<usize>>>,
}

/// One document.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) struct Selected {
    pub(super) document: DocumentRef,
    /// At least one.
    pub(super) labels: Labels,
    pub(super) mode: Option<Mode>,
    pub(super) ports: BTreeMap<u16, Mode>,
}

impl Selection {
    /// After those that are older.
    pub(super) fn add(&mut self, selected: Selected) {
        // The last label is rarely `app`.
        if let Some((key, value)) = selected.labels.last_key_value() {
            let of_key = self.by_label.entry(key.clone()).or_default();
            let of_label = of_key.entry(value.clone()).or_default();
            of_label.push(self.documents.len());
        }
        self.documents.push(selected);
    }

    /// The oldest that selects a workload with these labels.
    pub(super) fn of(&self, labels: &Labels) -> Option<&Selected> {
        let found = labels.iter().filter_map(|(key, value)| {
            let candidates = self.by_label.get(key)?.get(value)?.iter();
            let mut selecting = candidates.filter_map(|index| {
                let selected = self.documents.get(*index)?;
                selects(&selected.labels, labels).then_some((index, selected))
            });
            selecting.next()
        });
        let oldest = found.min_by_key(|(index, _)| **index);
        oldest.map(|(_, selected)| selected)
    }
}
