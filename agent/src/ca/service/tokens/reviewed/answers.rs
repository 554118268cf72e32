//! What has been answered lately, and what is being asked.

use std::{
    collections::HashMap,
    hash::{BuildHasher, RandomState},
    sync::{Arc, Mutex, MutexGuard, PoisonError, Weak},
    time::Instant,
};

use super::super::TokenError;
use crate::ca::service::caller::Caller;

/// Answers that are kept: one for each agent of a large cluster.
const MOST: usize = 4096;
/// Refusals that are kept: they take no room from what is good.
const MOST_REFUSED: usize = 1024;

type Asking = tokio::sync::Mutex<()>;
type Answer = Result<Caller, TokenError>;

/// By token, of which nothing but a digest is kept.
#[derive(Default)]
pub(super) struct Answers {
    known: Mutex<Known>,
    /// Keyed at random: no token can be made that is taken for another.
    hashers: [RandomState; 2],
}

#[derive(Default)]
struct Known {
    good: HashMap<u128, (Caller, Instant)>,
    refused: HashMap<u128, (TokenError, Instant)>,
    asking: HashMap<u128, Weak<Asking>>,
    /// How many there are in `asking` before it is looked which are still asked.
    next_look: usize,
}

impl Answers {
    pub(super) fn key(&self, token: &str) -> u128 {
        let [high, low] = self
            .hashers
            .each_ref()
            .map(|h| u128::from(h.hash_one(token)));
        high << 64 | low
    }

    /// Held by whoever asks.
    pub(super) fn asking(&self, key: u128) -> Arc<Asking> {
        let mut known = self.known();
        if let Some(asking) = known.asking.get(&key).and_then(Weak::upgrade) {
            return asking;
        }
        if known.asking.len() >= known.next_look {
            known.asking.retain(|_, asking| asking.strong_count() > 0);
            known.next_look = 2 * known.asking.len() + 16;
        }
        let asking = Arc::default();
        known.asking.insert(key, Arc::downgrade(&asking));
        asking
    }

    pub(super) fn get(&self, key: u128, now: Instant) -> Option<Answer> {
        let known = self.known();
        let good = known.good.get(&key).filter(|(_, until)| *until > now);
        if let Some((caller, _)) = good {
            return Some(Ok(caller.clone()));
        }
        let refused = known.refused.get(&key).filter(|(_, until)| *until > now);
        refused.map(|(error, _)| Err(*error))
    }

    pub(super) fn remember(&self, key: u128, answer: Answer, until: Instant) {
        let mut known = self.known();
        match answer {
            Ok(caller) => remember(&mut known.good, MOST, key, (caller, until)),
            Err(error) => remember(&mut known.refused, MOST_REFUSED, key, (error, until)),
        }
    }

    fn known(&self) -> MutexGuard<'_, Known> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn remember<T>(
    answers: &mut HashMap<u128, (T, Instant)>,
    most: usize,
    key: u128,
    answer: (T, Instant),
) {
    let now = Instant::now();
    if answers.len() >= most {
        answers.retain(|_, (_, until)| *until > now);
    }
    if answers.len() < most {
        answers.insert(key, answer);
    }
}
