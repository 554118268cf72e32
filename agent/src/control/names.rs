//! Asks name servers for the addresses of hosts outside of the mesh, again and again: connections are recognised by
//! their addresses.

use std::{
    collections::{BTreeMap, BTreeSet},
    io,
    net::{IpAddr, SocketAddr, ToSocketAddrs as _},
    sync::Arc,
    time::Duration,
};

use futures_util::{StreamExt as _, stream};
use tokio::{
    sync::{Semaphore, watch},
    task::spawn_blocking,
    time::{Instant, sleep, timeout},
};

use crate::policy::{Addresses, HostAddresses};

/// How often. The system's resolver doesn't tell for how long an answer holds.
const INTERVAL: Duration = Duration::from_secs(5);

/// For one answer.
const PATIENCE: Duration = Duration::from_secs(5);

/// For how long an address counts as the host's after the last answer that had it: clients keep answers, too.
const MEMORY: Duration = Duration::from_secs(600);

/// How many hosts are asked for at the same time: each takes a thread.
const AT_ONCE: usize = 16;

/// Addresses of one host, at most.
const MOST: usize = 256;

/// Knows the addresses of the names that are wanted.
pub struct Names {
    wanted: watch::Receiver<BTreeSet<String>>,
    told: watch::Sender<Arc<Addresses>>,
    known: BTreeMap<String, Known>,
    /// A question keeps its thread until the resolver gives up, however long that takes.
    threads: Arc<Semaphore>,
}

#[derive(Debug, Default)]
struct Known {
    /// Once at least.
    answered: bool,
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
        let (told, receiver) = watch::channel(Arc::default());
        let names = Self {
            wanted,
            told,
            known: BTreeMap::new(),
            threads: Arc::new(Semaphore::new(AT_ONCE)),
        };
        (names, receiver)
    }

    /// Until nobody wants anything any more.
    pub async fn run(mut self) {
        loop {
            let wanted = self.wanted.borrow_and_update().clone();
            self.known.retain(|name, _| wanted.contains(name));
            let idle = wanted.is_empty();
            let ask = |name| ask(Arc::clone(&self.threads), name);
            let asking = stream::iter(wanted.into_iter().map(ask)).buffer_unordered(AT_ONCE);
            // One that doesn't answer keeps nothing from the others.
            let mut answers = asking.ready_chunks(AT_ONCE);
            while let Some(answers) = answers.next().await {
                for (name, answer) in answers {
                    let known = self.known.entry(name.clone()).or_default();
                    known.learn(&name, answer, Instant::now());
                }
                self.tell();
            }
            let changed = tokio::select! {
                changed = self.wanted.changed() => changed,
                () = sleep(INTERVAL), if !idle => Ok(()),
            };
            if changed.is_err() {
                return;
            }
        }
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

async fn ask(threads: Arc<Semaphore>, name: String) -> (String, io::Result<Vec<IpAddr>>) {
    let host = name.clone();
    let answer = timeout(PATIENCE, async {
        let permit = threads.acquire_owned().await;
        let asking = spawn_blocking(move || {
            let _permit = permit;
            let found = (host.as_str(), 0).to_socket_addrs()?;
            io::Result::Ok(found.collect::<Vec<SocketAddr>>())
        });
        asking.await.map_err(io::Error::other)?
    });
    let answer = match answer.await {
        Ok(answer) => answer,
        Err(_elapsed) => Err(io::ErrorKind::TimedOut.into()),
    };
    let addresses = answer.map(|found| {
        let addresses = found.iter().map(|address| address.ip().to_canonical());
        addresses.filter(is_elsewhere).collect()
    });
    (name, addresses)
}

/// Whether connections to it leave the pod.
fn is_elsewhere(address: &IpAddr) -> bool {
    !address.is_loopback() && !address.is_unspecified() && !address.is_multicast()
}

#[cfg(test)]
mod tests {
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
}
