//! Public keys that have a certificate: a request that is sent again gets none.
//!
//! Holds digests, within bounds, for as long as what was issued is valid.

use std::{
    collections::{HashMap, VecDeque},
    sync::{Mutex, MutexGuard, PoisonError},
    time::SystemTime,
};

use aws_lc_rs::digest::{SHA256, digest};

use super::Refusal;

/// At about 120 bytes each, 30 MiB. When more are valid the oldest is forgotten.
const CAPACITY: usize = 262_144;

type Key = [u8; 32];

pub(super) struct Certified {
    keys: Mutex<Keys>,
    capacity: usize,
}

#[derive(Default)]
struct Keys {
    until: HashMap<Key, SystemTime>,
    /// In the order in which they came; those given back are no longer in `until`.
    order: VecDeque<(Key, SystemTime)>,
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
    /// Takes a key for one certificate that is valid until `until`.
    ///
    /// # Errors
    /// When it has been taken.
    pub(super) fn claim(
        &self,
        key: &[u8],
        until: SystemTime,
        now: SystemTime,
    ) -> Result<(), Refusal> {
        let key = fingerprint(key);
        let mut keys = self.keys();
        if keys.until.get(&key).is_some_and(|until| now < *until) {
            return Err(Refusal::Replayed);
        }
        keys.forget_old(now, self.capacity);
        keys.until.insert(key, until);
        keys.order.push_back((key, until));
        Ok(())
    }

    /// No certificate came of it.
    pub(super) fn give_back(&self, key: &[u8]) {
        self.keys().until.remove(&fingerprint(key));
    }

    fn keys(&self) -> MutexGuard<'_, Keys> {
        self.keys.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Keys {
    fn forget_old(&mut self, now: SystemTime, capacity: usize) {
        while let Some((key, until)) = self.order.front().copied() {
            if now < until && self.order.len() < capacity {
                return;
            }
            self.order.pop_front();
            // Another claim of the same key has a later end.
            if self.until.get(&key) == Some(&until) {
                self.until.remove(&key);
            }
        }
    }
}

fn fingerprint(key: &[u8]) -> Key {
    let mut bytes = [0; 32];
    bytes.copy_from_slice(digest(&SHA256, key).as_ref());
    bytes
}

#[cfg(test)]
mod tests {
    use std::time::{Duration, UNIX_EPOCH};

    use super::*;

    fn at(seconds: u64) -> SystemTime {
        UNIX_EPOCH + Duration::from_secs(seconds)
    }

    #[test]
    fn a_key_is_taken_until_its_certificate_has_expired() {
        let certified = Certified::default();
        certified.claim(b"a", at(10), at(0)).unwrap();
        assert_eq!(certified.claim(b"a", at(10), at(9)), Err(Refusal::Replayed));
        certified.claim(b"b", at(20), at(9)).unwrap();
        certified.claim(b"a", at(20), at(10)).unwrap();
    }

    #[test]
    fn what_was_not_certified_may_come_again() {
        let certified = Certified::default();
        certified.claim(b"a", at(10), at(0)).unwrap();
        certified.give_back(b"a");
        certified.claim(b"a", at(10), at(0)).unwrap();
    }

    #[test]
    fn memory_is_bounded_and_what_has_expired_goes() {
        let certified = Certified {
            capacity: 100,
            ..Certified::default()
        };
        for n in 0..1000_u32 {
            certified.claim(&n.to_be_bytes(), at(10), at(0)).unwrap();
        }
        assert_eq!(certified.keys().until.len(), 100);
        assert_eq!(certified.keys().order.len(), 100);
        certified.claim(b"late", at(20), at(11)).unwrap();
        assert_eq!(certified.keys().until.len(), 1);
    }
}
