//! The objects of one resource and its bounded history, from which its recent pasts can be made again.

use std::{
    collections::{BTreeMap, VecDeque},
    ops::Bound,
    sync::Arc,
};

use super::Stored;

/// One change of one object.
#[derive(Debug)]
pub struct Event {
    pub version: u64,
    pub key: Box<str>,
    pub before: Option<Arc<Stored>>,
    pub after: Option<Arc<Stored>>,
}

/// Objects by their keys.
#[derive(Debug, Default)]
pub struct Table {
    pub objects: BTreeMap<Box<str>, Arc<Stored>>,
    history: VecDeque<Arc<Event>>,
    /// Changes up to this version are forgotten.
    forgotten: u64,
}

impl Table {
    pub(super) fn record(
        &mut self,
        key: &str,
        version: u64,
        before: Option<Arc<Stored>>,
        after: Option<Arc<Stored>>,
        history: usize,
    ) {
        match &after {
            Some(object) => self.objects.insert(key.into(), Arc::clone(object)),
            None => self.objects.remove(key),
        };
        let event = Event {
            version,
            key: key.into(),
            before,
            after,
        };
        self.history.push_back(Arc::new(event));
        while self.history.len() > history {
            if let Some(event) = self.history.pop_front() {
                self.forgotten = event.version;
            }
        }
    }

    pub(super) fn forget(&mut self, version: u64) {
        self.history.clear();
        self.forgotten = version;
    }

    /// Whether all that happened after this version is known.
    #[must_use]
    pub fn remembers(&self, version: u64) -> bool {
        version >= self.forgotten
    }

    /// At most `most` events after this version.
    #[must_use]
    pub fn since(&self, version: u64, most: usize) -> Vec<Arc<Event>> {
        let start = self
            .history
            .partition_point(|event| event.version <= version);
        self.history.range(start..).take(most).cloned().collect()
    }

    /// The objects as they were at a version that is remembered, by key, of one namespace (or all, if it is empty),
    /// after the key `after`.
    pub fn at<'a>(&'a self, version: u64, namespace: &str, after: &str) -> Vec<&'a Arc<Stored>> {
        let (first, last) = if namespace.is_empty() {
            (String::new(), None)
        } else {
            (format!("{namespace}/"), Some(format!("{namespace}0")))
        };
        if last.as_deref().is_some_and(|last| after >= last) {
            return Vec::new();
        }
        let is_within = |key: &str| {
            key >= first.as_str() && last.as_deref().is_none_or(|last| key < last) && key > after
        };
        let mut undone: BTreeMap<&str, Option<&'a Arc<Stored>>> = BTreeMap::new();
        let start = self
            .history
            .partition_point(|event| event.version <= version);
        for event in self.history.range(start..).rev() {
            if is_within(&event.key) {
                undone.insert(&event.key, event.before.as_ref());
            }
        }
        let from = if after > first.as_str() {
            Bound::Excluded(after)
        } else {
            Bound::Included(first.as_str())
        };
        let to = last.as_deref().map_or(Bound::Unbounded, Bound::Excluded);
        let range = self.objects.range::<str, _>((from, to));
        if undone.is_empty() {
            return range.map(|(_, object)| object).collect();
        }
        let mut then: BTreeMap<&str, &'a Arc<Stored>> =
            range.map(|(key, object)| (&**key, object)).collect();
        for (key, before) in undone {
            match before {
                Some(object) => then.insert(key, object),
                None => then.remove(key),
            };
        }
        then.into_values().collect()
    }
}
