//! Where in a list something stands, by a key that the entries of the list have themselves: eight bytes for each,
//! whatever the size of the key. In a large cluster the keys of maps would be most of a snapshot.

use std::hash::{BuildHasher as _, Hash, RandomState};

use hashbrown::HashTable;

/// Positions in one list. Does not hold the list: whoever asks says whether an entry is the right one.
#[derive(Clone, Debug, Default)]
pub(super) struct Index {
    slots: HashTable<Slot>,
    /// Keyed at random: nobody can choose keys that collide.
    hasher: RandomState,
}

#[derive(Clone, Copy, Debug)]
struct Slot {
    hash: u32,
    at: u32,
}

impl Slot {
    /// The table takes its bits from both ends.
    fn spread(&self) -> u64 {
        u64::from(self.hash) << 32 | u64::from(self.hash)
    }
}

impl Index {
    /// With room for so many.
    pub(super) fn with_capacity(capacity: usize) -> Self {
        Self {
            slots: HashTable::with_capacity(capacity),
            hasher: RandomState::new(),
        }
    }

    /// The position of the entry with this key, if `is` says of one that it has it.
    pub(super) fn find(&self, key: &impl Hash, is: impl Fn(usize) -> bool) -> Option<usize> {
        let wanted = self.slot(key, 0);
        let is = |slot: &Slot| slot.hash == wanted.hash && is(slot.at as usize);
        let slot = self.slots.find(wanted.spread(), is)?;
        Some(slot.at as usize)
    }

    /// Positions of all entries with this key, and perhaps of some others.
    pub(super) fn all(&self, key: &impl Hash) -> impl Iterator<Item = usize> + '_ {
        let wanted = self.slot(key, 0);
        let slots = self.slots.iter_hash(wanted.spread());
        let slots = slots.filter(move |slot| slot.hash == wanted.hash);
        slots.map(|slot| slot.at as usize)
    }

    /// Another entry with this key.
    pub(super) fn insert(&mut self, key: &impl Hash, at: usize) {
        // A list of 2^32 pointers doesn't fit into memory that agents have.
        let slot = self.slot(key, u32::try_from(at).unwrap_or(u32::MAX));
        self.slots.insert_unique(slot.spread(), slot, Slot::spread);
    }

    /// Forgets what stands behind the first `length` entries.
    pub(super) fn truncate(&mut self, length: usize) {
        self.slots.retain(|slot| (slot.at as usize) < length);
    }

    fn slot(&self, key: &impl Hash, at: u32) -> Slot {
        let [a, b, c, d, ..] = self.hasher.hash_one(key).to_ne_bytes();
        Slot {
            hash: u32::from_ne_bytes([a, b, c, d]),
            at,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn entries_are_found_by_their_keys_and_no_others() {
        let list: Vec<u32> = (0..10_000).map(|n| n * 7).collect();
        let mut index = Index::default();
        for (at, key) in list.iter().enumerate() {
            assert_eq!(index.find(key, |at| list[at] == *key), None);
            index.insert(key, at);
        }
        for (at, key) in list.iter().enumerate() {
            assert_eq!(index.find(key, |at| list[at] == *key), Some(at));
        }
        assert_eq!(index.find(&1_u32, |at| list[at] == 1), None);
        index.truncate(5);
        assert_eq!(index.find(&28_u32, |at| list[at] == 28), Some(4));
        assert_eq!(index.find(&35_u32, |at| list[at] == 35), None);
    }
}
