//! Bounds on what unproven clients may hold: connections that have not finished their handshake.

use std::{
    collections::HashMap,
    net::IpAddr,
    sync::{Arc, Mutex, PoisonError},
};

/// In all, and from one address.
const TOTAL: usize = 8192;
const PER_SOURCE: usize = 2048;

/// Connections that are not established yet, by source.
#[derive(Debug, Default)]
pub struct Pending(Mutex<Counts>);

#[derive(Debug, Default)]
struct Counts {
    total: usize,
    by_source: HashMap<IpAddr, usize>,
}

/// One such connection; it counts until this is dropped.
#[derive(Debug)]
pub(super) struct Turn {
    pending: Arc<Pending>,
    source: IpAddr,
}

impl Pending {
    /// `None`: too many already.
    pub(super) fn enter(self: &Arc<Self>, source: IpAddr) -> Option<Turn> {
        let mut counts = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let from_source = counts.by_source.get(&source).copied().unwrap_or(0);
        if counts.total >= TOTAL || from_source >= PER_SOURCE {
            return None;
        }
        counts.total += 1;
        counts.by_source.insert(source, from_source + 1);
        Some(Turn {
            pending: Arc::clone(self),
            source,
        })
    }

    /// Now, and at most.
    #[must_use]
    pub fn usage(&self) -> (usize, usize) {
        let counts = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        (counts.total, TOTAL)
    }
}

impl Drop for Turn {
    fn drop(&mut self) {
        let mut counts = self
            .pending
            .0
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        counts.total -= 1;
        if let Some(count) = counts.by_source.get_mut(&self.source) {
            *count -= 1;
            if *count == 0 {
                counts.by_source.remove(&self.source);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_source_can_not_take_every_turn() {
        let pending = Arc::new(Pending::default());
        let greedy = IpAddr::from([10, 0, 0, 1]);
        let turns: Vec<_> = std::iter::from_fn(|| pending.enter(greedy)).collect();
        assert_eq!(turns.len(), PER_SOURCE);
        assert!(pending.enter(IpAddr::from([10, 0, 0, 2])).is_some());
        drop(turns);
        assert_eq!(pending.usage().0, 0);
        assert!(pending.enter(greedy).is_some());
    }
}
