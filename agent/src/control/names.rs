//! Asks name servers for the addresses of hosts outside of the mesh, again and again: connections are recognised by
//! their addresses.

mod question;

use std::{
    collections::{BTreeMap, BTreeSet},
    io,
    net::IpAddr,
    sync::Arc,
    time::Duration,
};

use futures_util::{FutureExt as _, StreamExt as _, stream::FuturesUnordered};
use tokio::{
    sync::watch,
    time::{Instant, sleep_until},
};

use self::question::Asker;
use crate::policy::{Addresses, HostAddresses};

/// How often. The system's resolver doesn't tell for how long an answer holds.
const INTERVAL: Duration = Duration::from_secs(5);

/// Between questions for a host whose questions are not answered, at most.
const LONGEST_PAUSE: Duration = Duration::from_secs(60);

/// For how long an address counts as the host's after the last answer that had it: clients keep answers, too.
const MEMORY: Duration = Duration::from_secs(600);

/// How many hosts are asked for at the same time.
const AT_ONCE: usize = 16;

/// And how many of those whose last question was not answered: others don't wait for them.
const SILENT_AT_ONCE: usize = 4;

/// Addresses of one host, at most.
const MOST: usize = 256;

/// Knows the addresses of the names that are wanted.
pub struct Names {
    wanted: watch::Receiver<BTreeSet<String>>,
    told: watch::Sender<Arc<Addresses>>,
    known: BTreeMap<String, Known>,
    asker: Asker,
    interval: Duration,
}

#[derive(Debug)]
struct Known {
    /// Once at least.
    answered: bool,
    current: Vec<IpAddr>,
    /// With the last answer that each was in.
    recent: BTreeMap<IpAddr, Instant>,
    error: Option<io::ErrorKind>,
    /// When it is asked for next.
    due: Instant,
    asking: bool,
    /// Questions without an answer since the last one that had one.
    silence: u32,
}

/// What has become of a question.
type Answer = (String, io::Result<Vec<IpAddr>>);

impl Names {
    /// Asks for what is in `wanted`, and tells what it learns: nothing of names that were never answered.
    #[must_use]
    pub fn new(
        wanted: watch::Receiver<BTreeSet<String>>,
    ) -> (Self, watch::Receiver<Arc<Addresses>>) {
        Self::asking(wanted, Asker::default(), INTERVAL)
    }

    fn asking(
        wanted: watch::Receiver<BTreeSet<String>>,
        asker: Asker,
        interval: Duration,
    ) -> (Self, watch::Receiver<Arc<Addresses>>) {
        let (told, receiver) = watch::channel(Arc::default());
        let names = Self {
            wanted,
            told,
            known: BTreeMap::new(),
            asker,
            interval,
        };
        (names, receiver)
    }

    /// Until nobody wants anything any more.
    pub async fn run(mut self) {
        let mut asking = FuturesUnordered::new();
        self.set_wanted();
        loop {
            let now = Instant::now();
            asking.extend(self.questions(now));
            let due = self.next_due(now);
            tokio::select! {
                changed = self.wanted.changed() => match changed {
                    Ok(()) => self.set_wanted(),
                    Err(_) => return,
                },
                Some(answer) = asking.next() => {
                    self.learn(answer);
                    while let Some(Some(answer)) = asking.next().now_or_never() {
                        self.learn(answer);
                    }
                    self.tell();
                }
                () = sleep_until(due.unwrap_or_else(Instant::now)), if due.is_some() => {}
            }
        }
    }

    fn set_wanted(&mut self) {
        let wanted = self.wanted.borrow_and_update().clone();
        self.known.retain(|name, _| wanted.contains(name));
        let now = Instant::now();
        for name in wanted {
            self.known.entry(name).or_insert_with(|| Known::new(now));
        }
        self.tell();
    }

    /// Those that are due, as far as there is room: the longest first, and those that are silent for themselves.
    fn questions(&mut self, now: Instant) -> Vec<impl Future<Output = Answer> + use<>> {
        let asked = |silent: bool| {
            let known = self.known.values();
            known
                .filter(|k| k.asking && k.is_silent() == silent)
                .count()
        };
        let mut room = [
            AT_ONCE.saturating_sub(asked(false)),
            SILENT_AT_ONCE.saturating_sub(asked(true)),
        ];
        let known = self.known.iter_mut();
        let mut due: Vec<_> = known.filter(|(_, k)| !k.asking && k.due <= now).collect();
        due.sort_by_key(|(_, known)| known.due);
        let mut questions = Vec::new();
        for (name, known) in due {
            let room = &mut room[usize::from(known.is_silent())];
            if *room > 0 {
                *room -= 1;
                known.asking = true;
                let proven = known.answered && !known.is_silent();
                questions.push(self.asker.ask(name.clone(), proven));
            }
        }
        questions
    }

    /// Those that are due already wait for others to be answered for.
    fn next_due(&self, now: Instant) -> Option<Instant> {
        let idle = self.known.values().filter(|known| !known.asking);
        idle.map(|known| known.due).filter(|due| *due > now).min()
    }

    fn learn(&mut self, (name, answer): Answer) {
        let now = Instant::now();
        // Not wanted any more since it was asked for.
        let Some(known) = self.known.get_mut(&name) else {
            return;
        };
        known.asking = false;
        known.silence = match &answer {
            Err(error) if error.kind() == io::ErrorKind::TimedOut => {
                known.silence.saturating_add(1)
            }
            Ok(_) | Err(_) => 0,
        };
        known.due = now + pause(self.interval, known.silence);
        known.learn(&name, answer, now);
    }

    fn tell(&self) {
        let answered = self.known.iter().filter(|(_, known)| known.answered);
        let known = answered.map(|(name, known)| {
            let addresses = HostAddresses {
                current: known.current.clone(),
                recent: known.recent.keys().copied().collect(),
            };
            (name.clone(), addresses)
        });
        let addresses: Addresses = known.collect();
        self.told.send_if_modified(|told| {
            let is_new = **told != addresses;
            if is_new {
                *told = Arc::new(addresses);
            }
            is_new
        });
    }
}

/// After so many questions in a row that were not answered. The time that was waited for the first of them is pause enough:
/// a name server may be back.
fn pause(interval: Duration, silence: u32) -> Duration {
    let Some(doublings) = silence.checked_sub(1) else {
        return interval;
    };
    let pause = interval.saturating_mul(1 << doublings.min(16));
    pause.saturating_sub(interval).min(LONGEST_PAUSE)
}

impl Known {
    /// Asked for at once.
    fn new(now: Instant) -> Self {
        Self {
            answered: false,
            current: Vec::new(),
            recent: BTreeMap::new(),
            error: None,
            due: now,
            asking: false,
            silence: 0,
        }
    }

    fn is_silent(&self) -> bool {
        self.silence > 0
    }

    /// Without an answer the last one holds.
    fn learn(&mut self, name: &str, answer: io::Result<Vec<IpAddr>>, now: Instant) {
        match answer {
            Ok(mut addresses) => {
                addresses.sort_unstable();
                addresses.dedup();
                addresses.truncate(MOST);
                self.recent.extend(addresses.iter().map(|a| (*a, now)));
                self.current = addresses;
                self.answered = true;
                self.error = None;
            }
            Err(error) => {
                if self.error != Some(error.kind()) {
                    tracing::warn!(host = name, %error, "no address");
                }
                self.error = Some(error.kind());
            }
        }
        let current = &self.current;
        self.recent.retain(|address, seen| {
            current.contains(address) || now.duration_since(*seen) < MEMORY
        });
        while self.recent.len() > 2 * MOST {
            let old = self.recent.iter().filter(|(a, _)| !current.contains(a));
            let Some(oldest) = old.min_by_key(|(_, seen)| **seen).map(|(a, _)| *a) else {
                return;
            };
            tracing::warn!(host = name, address = %oldest, "too many addresses: forgotten");
            self.recent.remove(&oldest);
        }
    }
}

#[cfg(test)]
mod tests;
