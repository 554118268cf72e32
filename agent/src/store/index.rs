//! Where in a list something stands, by a key that the entries of the list have themselves: six bytes for each,
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

/// Both with the least significant byte first.
#[derive(Clone, Copy, Debug)]
struct Slot {
    hash: [u8; 3],
    at: [u8; 3],
}

impl Slot {
    /// A list of that many doesn't fit into memory that agents have.
    const LAST: u32 = (1 << 24) - 1;

    /// The table takes its bits from both ends.
    fn spread(&self) -> u64 {
        let [a, b, c] = self.hash;
        u64::from_le_bytes([a, b, c, 0, 0, a, b, c])
    }

    fn at(self) -> usize {
        let [a, b, c] = self.at;
        u32::from_le_bytes([a, b, c, 0]) as usize
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
        let is = |slot: &Slot| slot.hash == wanted.hash && is(slot.at());
        let slot = self.slots.find(wanted.spread(), is)?;
        Some(slot.at())
    }

    /// Positions of all entries with this key, and perhaps of some others.
    pub(super) fn all(&self, key: &impl Hash) -> impl Iterator<Item = usize> + '_ {
        let wanted = self.slot(key, 0);
        let slots = self.slots.iter_hash(wanted.spread());
        let slots = slots.filter(move |slot| slot.hash == wanted.hash);
        slots.map(|slot| slot.at())
    }

    /// Another entry with this key.
    pub(super) fn insert(&mut self, key: &impl Hash, at: usize) {
        let at = u32::try_from(at).unwrap_or(u32::MAX).min(Slot::LAST);
        let slot = self.slot(key, at);
        self.slots.insert_unique(slot.spread(), slot, Slot::spread);
    }

    /// Forgets what stands behind the first `length` entries.
    pub(super) fn truncate(&mut self, length: usize) {
        self.slots.retain(|slot| slot.at() < length);
    }

    fn slot(&self, key: &impl Hash, at: u32) -> Slot {
        let [a, b, c, ..] = self.hasher.hash_one(key).to_le_bytes();
        let [low, middle, high, _] = at.to_le_bytes();
        Slot {
            hash: [a, b, c],
            at: [low, middle, high],
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn entries_are_found_by_their_keys_and_no_others() {
        let list: Vec<u32> = (0..100_000).map(|n| n * 7).collect();
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
