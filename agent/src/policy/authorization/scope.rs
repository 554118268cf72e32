//! Where policies are in force: by selector, so that those of one workload are found quickly.

use std::collections::{BTreeMap, HashMap};

use super::group::{Group, Ranked};
use crate::policy::selector::{Labels, selects};

/// Policies of one namespace, or of the root namespace.
#[derive(Clone, Debug, Default)]
pub(super) struct Scope {
    /// Without a selector.
    whole: Group,
    /// Key, then value of a label that is asked for.
    selected: BTreeMap<String, HashMap<String, Labelled>>,
}

/// Policies that ask for a label.
#[derive(Clone, Debug, Default)]
struct Labelled {
    /// And for nothing else.
    alone: Group,
    /// Those that ask for these labels too.
    more: Vec<(Labels, Group)>,
}

/// Ranks of policies by what they select.
pub(super) type Selectors<'p> = HashMap<&'p Labels, Vec<u32>>;

impl Scope {
    pub(super) fn new(policies: &Ranked, selectors: Selectors<'_>) -> Self {
        let mut often = HashMap::<_, usize>::new();
        for label in selectors.keys().copied().flatten() {
            *often.entry(label).or_default() += 1;
        }
        let mut scope = Self::default();
        for (labels, members) in selectors {
            // The rarest: what all have in common finds nothing.
            let label = labels.iter().min_by_key(|label| often.get(label));
            let group = Group::new(policies, members);
            let Some((key, value)) = label else {
                scope.whole = group;
                continue;
            };
            let values = scope.selected.entry(key.clone()).or_default();
            let labelled = values.entry(value.clone()).or_default();
            let mut more = labels.clone();
            more.remove(key);
            if more.is_empty() {
                labelled.alone = group;
            } else {
                labelled.more.push((more, group));
            }
        }
        scope
    }

    /// The groups that are for a workload with such labels.
    pub(super) fn groups<'s>(&'s self, labels: &'s Labels) -> impl Iterator<Item = &'s Group> {
        let by_label = labels
            .iter()
            .filter_map(|(key, value)| self.selected.get(key)?.get(value));
        let selected = by_label.flat_map(|labelled| {
            let more = labelled.more.iter();
            let more = more.filter(|(asked, _)| selects(asked, labels));
            std::iter::once(&labelled.alone).chain(more.map(|(_, group)| group))
        });
        std::iter::once(&self.whole).chain(selected)
    }
}
