//! The objects of one kind, as far as they have been heard of.

use std::{
    hash::{BuildHasher as _, RandomState},
    sync::Arc,
};

use hashbrown::{HashTable, hash_table::Entry};

use crate::{
    control::objects::{PodFacts, ServiceFacts},
    workload::ObjectName,
};

/// Facts by the name of the object that they are of.
///
/// A list that is read anew replaces what is known object by object: each is as the server has it, and what isn't in
/// the list goes when its end has been heard. A list that breaks off takes nothing away.
#[derive(Debug)]
pub(super) struct Mirror<T: Facts> {
    known: HashTable<Heard<T>>,
    hasher: RandomState,
    /// Of the list that is read, or was read last.
    round: u32,
    whole: bool,
    /// A list has begun and not ended.
    reading: bool,
}

/// What is kept of an object.
pub(super) trait Facts {
    /// What is kept beside it: its name, unless the facts have it themselves.
    type Key: std::fmt::Debug;

    fn key(name: ObjectName) -> Self::Key;

    fn name<'n>(&'n self, key: &'n Self::Key) -> &'n ObjectName;
}

/// Facts that say themselves of which object they are.
macro_rules! named {
    ($($facts:ty)*) => {$(
        impl Facts for Arc<$facts> {
            type Key = ();

            fn key(_: ObjectName) {}

            fn name<'n>(&'n self, (): &'n ()) -> &'n ObjectName {
                &self.name
            }
        }
    )*};
}

/// Facts that don't.
macro_rules! unnamed {
    ($($facts:ty)*) => {$(
        impl $crate::control::kubernetes::mirror::Facts for $facts {
            type Key = ObjectName;

            fn key(name: ObjectName) -> ObjectName {
                name
            }

            fn name<'n>(&'n self, key: &'n ObjectName) -> &'n ObjectName {
                key
            }
        }
    )*};
}

pub(super) use unnamed;

named! { PodFacts ServiceFacts }

#[derive(Debug)]
struct Heard<T: Facts> {
    facts: T,
    key: T::Key,
    round: u32,
}

impl<T: Facts> Heard<T> {
    fn name(&self) -> &ObjectName {
        self.facts.name(&self.key)
    }
}

impl<T: Facts> Default for Mirror<T> {
    fn default() -> Self {
        Self {
            known: HashTable::new(),
            hasher: RandomState::new(),
            round: 0,
            whole: false,
            reading: false,
        }
    }
}

impl<T: Facts> Mirror<T> {
    /// A list begins.
    pub(super) fn begin(&mut self) {
        self.round = self.round.wrapping_add(1);
        self.reading = true;
    }

    /// Returns what was known of it.
    pub(super) fn put(&mut self, name: ObjectName, facts: T) -> Option<T> {
        let (round, hasher) = (self.round, &self.hasher);
        let entry = self.known.entry(
            hasher.hash_one(&name),
            |heard| *heard.name() == name,
            |heard| hasher.hash_one(heard.name()),
        );
        match entry {
            Entry::Occupied(mut entry) => {
                let heard = entry.get_mut();
                heard.round = round;
                Some(std::mem::replace(&mut heard.facts, facts))
            }
            Entry::Vacant(entry) => {
                let key = T::key(name);
                entry.insert(Heard { facts, key, round });
                None
            }
        }
    }

    /// It is in the list, and nothing else is to be learnt of it.
    pub(super) fn keep(&mut self, name: &ObjectName) {
        let hash = self.hasher.hash_one(name);
        if let Some(heard) = self.known.find_mut(hash, |heard| heard.name() == name) {
            heard.round = self.round;
        }
    }

    pub(super) fn remove(&mut self, name: &ObjectName) -> Option<T> {
        let hash = self.hasher.hash_one(name);
        let entry = self.known.find_entry(hash, |heard| heard.name() == name);
        entry.ok().map(|entry| entry.remove().0.facts)
    }

    /// A list ends. Returns whether that says anything new.
    pub(super) fn end(&mut self) -> bool {
        self.reading = false;
        let before = self.known.len();
        let round = self.round;
        self.known.retain(|heard| heard.round == round);
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

    pub(super) fn len(&self) -> usize {
        self.known.len()
    }

    pub(super) fn is_empty(&self) -> bool {
        self.known.is_empty()
    }

    pub(super) fn get(&self, name: &ObjectName) -> Option<&T> {
        let hash = self.hasher.hash_one(name);
        let heard = self.known.find(hash, |heard| heard.name() == name);
        heard.map(|heard| &heard.facts)
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = (&ObjectName, &T)> {
        self.known.iter().map(|heard| (heard.name(), &heard.facts))
    }

    /// Each with the list that was last when it was heard of.
    pub(super) fn rounds(&self) -> impl Iterator<Item = (&T, u32)> {
        self.known.iter().map(|heard| (&heard.facts, heard.round))
    }

    pub(super) fn values(&self) -> impl Iterator<Item = &T> {
        self.known.iter().map(|heard| &heard.facts)
    }
}

impl<T: PartialEq> Mirror<Arc<T>>
where
    Arc<T>: Facts,
{
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

    unnamed! { u8 }

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
