//! Asks name servers for the addresses of hosts outside of the mesh, again and again: connections are recognised by
//! their addresses.

use std::{
    collections::{BTreeMap, BTreeSet},
    io,
    net::{IpAddr, ToSocketAddrs as _},
    sync::Arc,
    time::Duration,
};

use futures_util::{FutureExt as _, StreamExt as _, future::BoxFuture, stream::FuturesUnordered};
use tokio::{
    sync::{Semaphore, watch},
    task::spawn_blocking,
    time::{Instant, sleep, timeout},
};

use crate::policy::{Addresses, HostAddresses};

/// When names are asked.
#[derive(Clone, Copy)]
struct Pace {
    /// From an answer to the next question. The system's resolver doesn't tell for how long an answer holds.
    interval: Duration,
    /// The same after the first question without an answer, more with each: what goes there is refused meanwhile.
    first_interval: Duration,
    /// For one answer.
    patience: Duration,
    /// A host whose last answer took longer keeps nothing from the others.
    slow: Duration,
}

const PACE: Pace = Pace {
    interval: Duration::from_secs(5),
    first_interval: Duration::from_secs(1),
    patience: Duration::from_secs(5),
    slow: Duration::from_secs(1),
};

/// For how long an address counts as the host's after the last answer that had it: clients keep answers, too.
const MEMORY: Duration = Duration::from_secs(600);

/// How many hosts are asked for at the same time, of the slow ones and of the others: each takes a thread.
const AT_ONCE: usize = 16;

/// Addresses of one host, at most.
const MOST: usize = 256;

/// Knows the addresses of the names that are wanted.
pub struct Names {
    wanted: watch::Receiver<BTreeSet<String>>,
    told: watch::Sender<Arc<Addresses>>,
    known: BTreeMap<String, Known>,
    resolve: Resolve,
    pace: Pace,
    asking: FuturesUnordered<BoxFuture<'static, Answer>>,
    /// What `asking` is about.
    asked: BTreeSet<String>,
    prompt: Arc<Semaphore>,
    slow: Arc<Semaphore>,
}

/// Blocks until there is an answer.
type Resolve = fn(&str) -> io::Result<Vec<IpAddr>>;

struct Answer {
    name: String,
    addresses: io::Result<Vec<IpAddr>>,
    took: Duration,
}

#[derive(Debug, Default)]
struct Known {
    /// Once at least.
    answered: bool,
    /// Questions without an answer, since there was one.
    unanswered: u32,
    slow: bool,
    current: Vec<IpAddr>,
    /// With the last answer that each was in.
    recent: BTreeMap<IpAddr, Instant>,
    error: Option<io::ErrorKind>,
}

impl Names {
    /// Asks for what is in `wanted`, and tells what it learns: nothing of names that were never answered.
    #[must_use]
    pub fn new(
        wanted: watch::Receiver<BTreeSet<String>>,
    ) -> (Self, watch::Receiver<Arc<Addresses>>) {
        Self::with(wanted, resolve, PACE)
    }

    fn with(
        wanted: watch::Receiver<BTreeSet<String>>,
        resolve: Resolve,
        pace: Pace,
    ) -> (Self, watch::Receiver<Arc<Addresses>>) {
        let (told, receiver) = watch::channel(Arc::default());
        let names = Self {
            wanted,
            told,
            known: BTreeMap::new(),
            resolve,
            pace,
            asking: FuturesUnordered::new(),
            asked: BTreeSet::new(),
            prompt: Arc::new(Semaphore::new(AT_ONCE)),
            slow: Arc::new(Semaphore::new(AT_ONCE)),
        };
        (names, receiver)
    }

    /// Until nobody wants anything any more.
    pub async fn run(mut self) {
        self.want();
        loop {
            tokio::select! {
                changed = self.wanted.changed() => {
                    if changed.is_err() {
                        return;
                    }
                    self.want();
                }
                Some(answer) = self.asking.next() => self.learn(answer),
            }
        }
    }

    fn want(&mut self) {
        let wanted = self.wanted.borrow_and_update().clone();
        self.known.retain(|name, _| wanted.contains(name));
        for name in wanted {
            self.ask(name, Duration::ZERO);
        }
        self.tell();
    }

    fn ask(&mut self, name: String, pause: Duration) {
        if !self.asked.insert(name.clone()) {
            return;
        }
        let is_slow = self.known.get(&name).is_some_and(|known| known.slow);
        let threads = Arc::clone(if is_slow { &self.slow } else { &self.prompt });
        let asking = ask(threads, name, self.resolve, self.pace.patience);
        self.asking.push(sleep(pause).then(|()| asking).boxed());
    }

    fn learn(&mut self, answer: Answer) {
        let Answer {
            name,
            addresses,
            took,
        } = answer;
        self.asked.remove(&name);
        if !self.wanted.borrow().contains(&name) {
            return;
        }
        let known = self.known.entry(name.clone()).or_default();
        known.learn(&name, addresses, Instant::now());
        known.slow = took > self.pace.slow;
        let pause = known.pause(&self.pace);
        self.ask(name, pause);
        self.tell();
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

impl Known {
    /// Before it is asked for again.
    fn pause(&self, pace: &Pace) -> Duration {
        if self.answered {
            return pace.interval;
        }
        pace.interval
            .min(pace.first_interval.saturating_mul(self.unanswered))
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
                self.unanswered = 0;
                self.error = None;
            }
            Err(error) => {
                if self.error != Some(error.kind()) {
                    tracing::warn!(host = name, %error, "no address");
                }
                self.error = Some(error.kind());
                self.unanswered = self.unanswered.saturating_add(1);
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

async fn ask(
    threads: Arc<Semaphore>,
    name: String,
    resolve: Resolve,
    patience: Duration,
) -> Answer {
    let host = name.clone();
    let permit = threads.acquire_owned().await;
    let start = Instant::now();
    let asking = spawn_blocking(move || {
        // A question keeps its thread until the resolver gives up, however long that takes.
        let _permit = permit;
        resolve(&host)
    });
    let addresses = match timeout(patience, asking).await {
        Ok(answer) => answer.map_err(io::Error::other).flatten(),
        Err(_elapsed) => Err(io::ErrorKind::TimedOut.into()),
    };
    Answer {
        name,
        addresses,
        took: start.elapsed(),
    }
}

fn resolve(host: &str) -> io::Result<Vec<IpAddr>> {
    let found = (host, 0).to_socket_addrs()?;
    let addresses = found.map(|address| address.ip().to_canonical());
    Ok(addresses.filter(is_elsewhere).collect())
}

/// Whether connections to it leave the pod.
fn is_elsewhere(address: &IpAddr) -> bool {
    !address.is_loopback() && !address.is_unspecified() && !address.is_multicast()
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicU8, Ordering};

    use super::*;

    fn address(last: u8) -> IpAddr {
        IpAddr::from([192, 0, 2, last])
    }

    #[test]
    fn an_address_is_remembered_for_a_while_and_a_failure_changes_nothing() {
        let mut known = Known::default();
        let now = Instant::now();
        known.learn("a.example", Ok(vec![address(1)]), now);
        known.learn("a.example", Ok(vec![address(2)]), now);
        known.learn("a.example", Err(io::ErrorKind::TimedOut.into()), now);
        assert_eq!(known.current, [address(2)]);
        assert_eq!(known.recent.len(), 2);
        known.learn(
            "a.example",
            Err(io::ErrorKind::TimedOut.into()),
            now + MEMORY,
        );
        assert!(known.recent.keys().eq([&address(2)]));
    }

    #[test]
    fn of_too_many_addresses_the_oldest_are_forgotten() {
        let mut known = Known::default();
        let now = Instant::now();
        for last in 0..=u8::MAX {
            let of_pool = [203, 200, 210].map(|net| IpAddr::from([net, 0, 113, last]));
            let seen = now + Duration::from_millis(last.into());
            known.learn("a.example", Ok(of_pool.to_vec()), seen);
        }
        known.learn(
            "a.example",
            Ok(vec![address(1)]),
            now + Duration::from_secs(1),
        );
        assert_eq!(known.recent.len(), 2 * MOST);
        assert!(known.recent.contains_key(&address(1)));
        assert!(known.recent.contains_key(&IpAddr::from([210, 0, 113, 255])));
        assert!(!known.recent.contains_key(&IpAddr::from([210, 0, 113, 0])));
    }

    #[test]
    fn what_was_never_answered_is_asked_for_sooner_but_not_for_ever() {
        let mut known = Known::default();
        let pauses = [1, 2, 3, 4, 5, 5].map(|_| {
            known.learn(
                "a.example",
                Err(io::ErrorKind::NotFound.into()),
                Instant::now(),
            );
            known.pause(&PACE).as_secs()
        });
        assert_eq!(pauses, [1, 2, 3, 4, 5, 5]);
        known.learn("a.example", Ok(vec![address(1)]), Instant::now());
        known.learn(
            "a.example",
            Err(io::ErrorKind::NotFound.into()),
            Instant::now(),
        );
        assert_eq!(known.pause(&PACE), PACE.interval);
    }

    /// Those that start with `z` answer with one address more each time, the others never.
    fn mostly_silent(host: &str) -> io::Result<Vec<IpAddr>> {
        static ANSWERS: AtomicU8 = AtomicU8::new(0);
        if host.starts_with('z') {
            let last = ANSWERS.fetch_add(1, Ordering::Relaxed);
            return Ok(vec![address(last)]);
        }
        std::thread::sleep(Duration::from_millis(400));
        Err(io::ErrorKind::Other.into())
    }

    #[tokio::test]
    async fn hosts_that_are_silent_keep_nothing_from_the_others() {
        let pace = Pace {
            interval: Duration::from_millis(20),
            first_interval: Duration::from_millis(10),
            patience: Duration::from_millis(200),
            slow: Duration::from_millis(100),
        };
        let silent = (0..3 * AT_ONCE).map(|number| format!("a{number}.example"));
        let all = silent.chain(["z.example".to_owned()]).collect();
        let (wanted, receiver) = watch::channel(all);
        let (names, told) = Names::with(receiver, mostly_silent, pace);
        let run = tokio::spawn(names.run());
        let seen = |told: &Addresses| told.get("z.example").map_or(0, |a| a.recent.len());

        // Each of the others was asked for once before it is known as silent.
        let mut first = told.clone();
        first.wait_for(|told| seen(told) >= 1).await.unwrap();
        let started = Instant::now();
        let mut then = told.clone();
        then.wait_for(|told| seen(told) >= 10).await.unwrap();
        assert!(started.elapsed() < Duration::from_millis(400 * 5));
        drop(wanted);
        run.await.unwrap();
    }
}
