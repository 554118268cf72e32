//! The objects of one kind, as far as they have been heard of.

use std::{collections::HashMap, sync::Arc};

use crate::workload::ObjectName;

/// Facts by the name of the object that they are of.
///
/// A list that is read anew replaces what is known object by object: each is as the server has it, and what isn't in
/// the list goes when its end has been heard. A list that breaks off takes nothing away.
#[derive(Debug)]
pub(super) struct Mirror<T> {
    known: HashMap<ObjectName, Heard<T>>,
    /// Of the list that is read, or was read last.
    round: u32,
    whole: bool,
    /// A list has begun and not ended.
    reading: bool,
}

#[derive(Debug)]
struct Heard<T> {
    facts: T,
    round: u32,
}

impl<T> Default for Mirror<T> {
    fn default() -> Self {
        Self {
            known: HashMap::new(),
            round: 0,
            whole: false,
            reading: false,
        }
    }
}

impl<T> Mirror<T> {
    /// A list begins.
    pub(super) fn begin(&mut self) {
        self.round = self.round.wrapping_add(1);
        self.reading = true;
    }

    /// Returns what was known of it.
    pub(super) fn put(&mut self, name: ObjectName, facts: T) -> Option<T> {
        let round = self.round;
        let before = self.known.insert(name, Heard { facts, round });
        before.map(|heard| heard.facts)
    }

    /// It is in the list, and nothing else is to be learnt of it.
    pub(super) fn keep(&mut self, name: &ObjectName) {
        if let Some(heard) = self.known.get_mut(name) {
            heard.round = self.round;
        }
    }

    pub(super) fn remove(&mut self, name: &ObjectName) -> Option<T> {
        self.known.remove(name).map(|heard| heard.facts)
    }

    /// A list ends. Returns whether that says anything new.
    pub(super) fn end(&mut self) -> bool {
        self.reading = false;
        let before = self.known.len();
        let round = self.round;
        self.known.retain(|_, heard| heard.round == round);
        let first = !std::mem::replace(&mut self.whole, true);
        first || self.known.len() != before
    }

    /// Whether a list has been heard to its end.
    pub(super) fn is_whole(&self) -> bool {
        self.whole
    }

    /// Which list is being read over what is known already.
    pub(super) fn read_again(&self) -> Option<u32> {
        (self.whole && self.reading).then_some(self.round)
    }

    pub(super) fn is_empty(&self) -> bool {
        self.known.is_empty()
    }

    pub(super) fn get(&self, name: &ObjectName) -> Option<&T> {
        self.known.get(name).map(|heard| &heard.facts)
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = (&ObjectName, &T)> {
        self.known.iter().map(|(name, heard)| (name, &heard.facts))
    }

    /// Each with the list that was last when it was heard of.
    pub(super) fn rounds(&self) -> impl Iterator<Item = (&T, u32)> {
        self.known.values().map(|heard| (&heard.facts, heard.round))
    }

    pub(super) fn values(&self) -> impl Iterator<Item = &T> {
        self.known.values().map(|heard| &heard.facts)
    }
}

impl<T: PartialEq> Mirror<Arc<T>> {
    /// Returns whether that is news. Facts that are known already are not replaced.
    pub(super) fn learn(&mut self, name: ObjectName, facts: T) -> bool {
        if self.get(&name).is_some_and(|known| **known == facts) {
            self.keep(&name);
            return false;
        }
        self.put(name, Arc::new(facts));
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn name(name: &str) -> ObjectName {
        ObjectName::new("shop", name)
    }

    fn names(mirror: &Mirror<u8>) -> Vec<String> {
        let mut names: Vec<_> = mirror.iter().map(|(n, _)| n.name.to_string()).collect();
        names.sort();
        names
    }

    #[test]
    fn what_a_whole_list_does_not_have_is_forgotten_at_its_end_and_no_sooner() {
        let mut mirror = Mirror::default();
        mirror.begin();
        mirror.put(name("a"), 1);
        mirror.put(name("b"), 1);
        assert!(!mirror.is_whole());
        assert!(mirror.end() && mirror.is_whole());
        // Breaks off.
        mirror.begin();
        mirror.put(name("b"), 2);
        assert_eq!(names(&mirror), ["a", "b"]);
        mirror.begin();
        mirror.put(name("c"), 3);
        mirror.keep(&name("b"));
        assert_eq!(names(&mirror), ["a", "b", "c"]);
        assert!(mirror.end());
        assert_eq!(names(&mirror), ["b", "c"]);
        assert_eq!(mirror.get(&name("b")), Some(&2));
        assert_eq!(mirror.remove(&name("b")), Some(2));
        mirror.begin();
        mirror.put(name("c"), 3);
        assert!(!mirror.end());
    }
}
