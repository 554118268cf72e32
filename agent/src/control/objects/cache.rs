//! What documents said when they were read the last time: of a large set only what has changed is parsed again.

use std::{
    collections::{HashMap, hash_map::RandomState},
    hash::BuildHasher,
    sync::Arc,
};

use super::{Objects, collect::Claim, pieces::Piece, site::Stream};

/// A document in which nothing was wrong.
#[derive(Clone, Debug, Default)]
pub(super) struct Kept {
    pub(super) objects: Objects,
    pub(super) claims: Vec<Claim>,
    /// Of the file's budget.
    pub(super) spent: usize,
}

/// Documents by their text and place. Keyed at random, so that no content can be made to look like another's.
#[derive(Debug, Default)]
pub struct Cache {
    hasher: RandomState,
    last: HashMap<u64, Arc<Kept>>,
    /// What is to be kept for the next time.
    current: HashMap<u64, Arc<Kept>>,
}

impl Cache {
    pub(super) fn key(&self, stream: &Stream, piece: &Piece<'_>) -> u64 {
        self.hasher.hash_one((stream, piece))
    }

    pub(super) fn get(&mut self, key: u64) -> Option<Arc<Kept>> {
        let kept = self.last.remove(&key)?;
        self.current.insert(key, Arc::clone(&kept));
        Some(kept)
    }

    pub(super) fn insert(&mut self, key: u64, kept: Kept) {
        self.current.insert(key, Arc::new(kept));
    }

    /// Everything has been read: what was not asked for is forgotten.
    pub(super) fn turn(&mut self) {
        self.last = std::mem::take(&mut self.current);
    }
}
