//! Who keeps showing tokens that are no good isn't asked about for a while: whoever vouches can be asked only so often, and
//! the questions of one source must not stand in the way of all others'.

use std::{
    collections::HashMap,
    net::IpAddr,
    sync::{Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};

use super::places::source;

/// Refused tokens of one source within [`WINDOW`].
const MOST: u32 = 50;
const WINDOW: Duration = Duration::from_secs(10);
/// More sources are not remembered.
const SOURCES: usize = 16_384;

#[derive(Default)]
pub(super) struct Strikes(Mutex<HashMap<IpAddr, Struck>>);

struct Struck {
    since: Instant,
    times: u32,
}

impl Struck {
    fn counts(&self, now: Instant) -> bool {
        now.duration_since(self.since) < WINDOW
    }
}

impl Strikes {
    /// Whether this source has had enough for now.
    pub(super) fn is_out(&self, address: IpAddr, now: Instant) -> bool {
        let sources = self.sources();
        let struck = sources.get(&source(address));
        struck.is_some_and(|struck| struck.times >= MOST && struck.counts(now))
    }

    /// A token from there was refused.
    pub(super) fn strike(&self, address: IpAddr, now: Instant) {
        let mut sources = self.sources();
        if sources.len() >= SOURCES {
            sources.retain(|_, struck| struck.counts(now));
        }
        if sources.len() >= SOURCES {
            return;
        }
        let struck = sources.entry(source(address)).or_insert(Struck {
            since: now,
            times: 0,
        });
        if !struck.counts(now) {
            *struck = Struck {
                since: now,
                times: 0,
            };
        }
        struck.times += 1;
    }

    fn sources(&self) -> MutexGuard<'_, HashMap<IpAddr, Struck>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_keeps_being_refused_waits_and_nobody_else_does() {
        let (strikes, now) = (Strikes::default(), Instant::now());
        let [guesser, other] = ["10.0.0.1", "10.0.0.2"].map(|a| a.parse().unwrap());
        for _ in 0..MOST {
            assert!(!strikes.is_out(guesser, now));
            strikes.strike(guesser, now);
        }
        assert!(strikes.is_out(guesser, now));
        assert!(!strikes.is_out(other, now));
        assert!(!strikes.is_out(guesser, now + WINDOW));
        strikes.strike(guesser, now + WINDOW);
        assert!(!strikes.is_out(guesser, now + WINDOW));
    }

    #[test]
    fn what_is_remembered_has_a_bound() {
        let (strikes, now) = (Strikes::default(), Instant::now());
        for number in 0..2 * u32::try_from(SOURCES).unwrap() {
            strikes.strike(IpAddr::V4(number.into()), now);
        }
        assert_eq!(strikes.sources().len(), SOURCES);
        strikes.strike("192.0.2.1".parse().unwrap(), now + WINDOW);
        assert_eq!(strikes.sources().len(), 1);
    }
}
