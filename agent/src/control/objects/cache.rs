//! What documents said when they were read the last time: of a large set only what has changed is parsed again. A file
//! that has not changed isn't even looked through.

use std::{
    collections::{HashMap, hash_map::RandomState},
    hash::{BuildHasher, Hash},
    sync::Arc,
};

use super::{Objects, claim::Claim, pieces::Piece, site::Stream};
use crate::control::error::Place;

/// A document in which nothing was wrong.
#[derive(Debug, Default)]
pub(super) struct Kept {
    pub(super) objects: Objects,
    pub(super) claims: Vec<Arc<Claim>>,
    /// Of the file's budget.
    pub(super) spent: usize,
    /// Where it stood: lines and documents before it.
    pub(super) before: (usize, usize),
}

/// Documents by file and text. Keyed at random and 128 bits wide, so that no content can be made to look like
/// another's.
#[derive(Debug, Default)]
pub struct Cache {
    hashers: [RandomState; 2],
    /// By file.
    last: HashMap<Box<str>, Arc<Read>>,
    /// What is to be kept for the next time.
    current: HashMap<Box<str>, Arc<Read>>,
    /// The file that is being read, as it was and as it is.
    old: HashMap<u128, Arc<Kept>>,
    new: HashMap<u128, Arc<Kept>>,
}

/// What a file said.
#[derive(Debug, Default)]
pub(super) struct Read {
    /// Its content; `None`: something is to be said of it that its documents don't know.
    whole: Option<u128>,
    /// In order.
    pub(super) said: Vec<Arc<Kept>>,
    /// Those, and what stood in their values.
    documents: HashMap<u128, Arc<Kept>>,
}

impl Cache {
    /// Begins a file. Returns what it said if it still says the same; it is then read already.
    pub(super) fn begin(&mut self, name: &str, text: &str) -> Option<Arc<Read>> {
        (self.old, self.new) = Default::default();
        let read = self.last.remove(name)?;
        if read.whole == Some(self.hash(text)) {
            self.current.insert(name.into(), Arc::clone(&read));
            return Some(read);
        }
        self.old = Arc::try_unwrap(read).unwrap_or_default().documents;
        None
    }

    /// Ends a file. `whole`: nothing was wrong with it, and all that is to be said of it is in `said`.
    pub(super) fn end(&mut self, name: &str, text: &str, said: Vec<Arc<Kept>>, whole: bool) {
        let read = Read {
            whole: whole.then(|| self.hash(text)),
            said: if whole { said } else { Vec::new() },
            documents: std::mem::take(&mut self.new),
        };
        self.current.insert(name.into(), Arc::new(read));
        self.old = HashMap::new();
    }

    pub(super) fn key(&self, stream: &Stream, piece: &Piece<'_>) -> u128 {
        self.hash((stream, piece.text))
    }

    fn hash(&self, of: impl Hash + Copy) -> u128 {
        let [high, low] = self.hashers.each_ref().map(|hasher| hasher.hash_one(of));
        (u128::from(high) << 64) | u128::from(low)
    }

    pub(super) fn get(
        &mut self,
        key: u128,
        stream: &Stream,
        piece: &Piece<'_>,
    ) -> Option<Arc<Kept>> {
        let kept = self.old.get(&key)?.at(stream, piece)?;
        self.insert(key, &kept);
        Some(kept)
    }

    pub(super) fn insert(&mut self, key: u128, kept: &Arc<Kept>) {
        self.new.insert(key, Arc::clone(kept));
    }

    /// Everything has been read: files that are gone are forgotten.
    pub(super) fn turn(&mut self) {
        self.last = std::mem::take(&mut self.current);
    }
}

impl Kept {
    /// The same text, perhaps further up or down in its file. `None`: what it says names lines.
    fn at(self: &Arc<Self>, stream: &Stream, piece: &Piece<'_>) -> Option<Arc<Self>> {
        let now = (piece.lines, piece.documents);
        if self.before == now {
            return Some(Arc::clone(self));
        }
        if !matches!(stream, Stream::File(_)) || !self.objects.warnings.is_empty() {
            return None;
        }
        let moved = |place: &Place| Place {
            line: (place.line + now.0).saturating_sub(self.before.0),
            document: (place.document + now.1).saturating_sub(self.before.1),
            ..place.clone()
        };
        let mut objects = self.objects.clone();
        for pod in &mut objects.pods {
            let (place, path) = &*pod.site;
            pod.site = Arc::new((moved(place), path.clone()));
        }
        let claims = self.claims.iter().map(|claim| {
            Arc::new(Claim {
                place: moved(&claim.place),
                ..(**claim).clone()
            })
        });
        Some(Arc::new(Self {
            claims: claims.collect(),
            objects,
            spent: self.spent,
            before: now,
        }))
    }
}
