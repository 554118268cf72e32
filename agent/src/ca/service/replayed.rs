//! Public keys that have a certificate: a request that is sent again gets none, also when that has expired.
//!
//! Holds digests, within bounds: of the keys that came last.

use std::{
    collections::{HashSet, VecDeque},
    sync::{Mutex, MutexGuard, PoisonError},
};

use aws_lc_rs::digest::{SHA256, digest};

use super::Refusal;

/// At about 100 bytes each, 25 MiB. When there are more the oldest is forgotten.
const CAPACITY: usize = 262_144;

type Key = [u8; 32];

pub(super) struct Certified {
    keys: Mutex<Keys>,
    capacity: usize,
}

#[derive(Default)]
struct Keys {
    known: HashSet<Key>,
    /// The same, in the order in which they came.
    order: VecDeque<Key>,
}

impl Default for Certified {
    fn default() -> Self {
        Self {
            keys: Mutex::default(),
            capacity: CAPACITY,
        }
    }
}

impl Certified {
    /// Takes a key for one certificate.
    ///
    /// # Errors
    /// When it has been taken.
    pub(super) fn claim(&self, key: &[u8]) -> Result<(), Refusal> {
        let key = fingerprint(key);
        let mut keys = self.keys();
        if !keys.known.insert(key) {
            return Err(Refusal::Replayed);
        }
        keys.order.push_back(key);
        while keys.order.len() > self.capacity {
            if let Some(oldest) = keys.order.pop_front() {
                keys.known.remove(&oldest);
            }
        }
        Ok(())
    }

    /// No certificate came of it.
    pub(super) fn give_back(&self, key: &[u8]) {
        let key = fingerprint(key);
        let mut keys = self.keys();
        keys.known.remove(&key);
        // One of the last.
        let place = keys.order.iter().rposition(|known| *known == key);
        if let Some(place) = place {
            keys.order.remove(place);
        }
    }

    fn keys(&self) -> MutexGuard<'_, Keys> {
        self.keys.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn fingerprint(key: &[u8]) -> Key {
    let mut bytes = [0; 32];
    bytes.copy_from_slice(digest(&SHA256, key).as_ref());
    bytes
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_is_taken_once() {
        let certified = Certified::default();
        certified.claim(b"a").unwrap();
        certified.claim(b"b").unwrap();
        assert_eq!(certified.claim(b"a"), Err(Refusal::Replayed));
    }

    #[test]
    fn what_was_not_certified_may_come_again() {
        let certified = Certified::default();
        certified.claim(b"a").unwrap();
        certified.give_back(b"a");
        certified.claim(b"a").unwrap();
        assert_eq!(certified.claim(b"a"), Err(Refusal::Replayed));
        assert_eq!(certified.keys().order.len(), 1);
    }

    #[test]
    fn memory_is_bounded() {
        let certified = Certified {
            capacity: 100,
            ..Certified::default()
        };
        for n in 0..1000_u32 {
            certified.claim(&n.to_be_bytes()).unwrap();
        }
        assert_eq!(certified.keys().known.len(), 100);
        assert_eq!(certified.keys().order.len(), 100);
        let last = certified.claim(&999_u32.to_be_bytes());
        assert_eq!(last, Err(Refusal::Replayed));
    }
}
