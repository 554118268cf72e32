//! One question to the system's resolver, which takes a thread until it gives up: minutes, if no name server answers.
//! Questions that hang must not keep others from being asked.

use std::{
    io,
    net::{IpAddr, SocketAddr},
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use tokio::{
    sync::{OwnedSemaphorePermit, Semaphore},
    task::{JoinHandle, spawn_blocking},
    time::timeout,
};

/// Threads of questions that have not been asked for long.
pub(super) const AT_ONCE: usize = 16;

/// Threads of questions that hang. When these are taken as well, questions that hang keep the others'.
const HANGING: usize = 64;

/// For one answer. What comes later is used later.
pub(super) const PATIENCE: Duration = Duration::from_secs(5);

/// Asks.
#[derive(Clone)]
pub(super) struct Resolver {
    lookup: fn(&str) -> io::Result<Vec<SocketAddr>>,
    patience: Duration,
    prompt: Arc<Semaphore>,
    hanging: Arc<Semaphore>,
}

/// A question that hangs.
pub(super) struct Hanging(JoinHandle<io::Result<Vec<SocketAddr>>>);

/// The permission for a thread: the thread and whoever waits for it have it together.
type Seat = Arc<Mutex<OwnedSemaphorePermit>>;

impl Resolver {
    pub(super) fn new(lookup: fn(&str) -> io::Result<Vec<SocketAddr>>, patience: Duration) -> Self {
        Self {
            lookup,
            patience,
            prompt: Arc::new(Semaphore::new(AT_ONCE)),
            hanging: Arc::new(Semaphore::new(HANGING)),
        }
    }

    /// Asks for a host, unless the question of before hangs still: a host has one thread at most.
    pub(super) async fn ask(
        self,
        host: String,
        before: Option<Hanging>,
    ) -> (String, io::Result<Vec<IpAddr>>, Option<Hanging>) {
        let (answer, hangs) = match before {
            Some(before) if !before.0.is_finished() => (late(), Some(before)),
            Some(Hanging(done)) => (
                done.await.unwrap_or_else(|e| Err(io::Error::other(e))),
                None,
            ),
            None => self.fresh(host.clone()).await,
        };
        let addresses = answer.map(|found| {
            let addresses = found.iter().map(|address| address.ip().to_canonical());
            addresses.filter(is_elsewhere).collect()
        });
        (host, addresses, hangs)
    }

    async fn fresh(self, host: String) -> (io::Result<Vec<SocketAddr>>, Option<Hanging>) {
        let waiting = timeout(self.patience, Arc::clone(&self.prompt).acquire_owned());
        let Ok(Ok(permit)) = waiting.await else {
            return (late(), None);
        };
        let seat: Seat = Arc::new(Mutex::new(permit));
        let (kept, lookup) = (Arc::clone(&seat), self.lookup);
        let mut asking = spawn_blocking(move || {
            let _kept = kept;
            lookup(&host)
        });
        match timeout(self.patience, &mut asking).await {
            Ok(answer) => (answer.unwrap_or_else(|e| Err(io::Error::other(e))), None),
            Err(_elapsed) => {
                if let Ok(other) = self.hanging.try_acquire_owned() {
                    *seat.lock().unwrap_or_else(PoisonError::into_inner) = other;
                }
                (late(), Some(Hanging(asking)))
            }
        }
    }
}

fn late<T>() -> io::Result<T> {
    Err(io::ErrorKind::TimedOut.into())
}

/// Whether connections to it leave the pod.
fn is_elsewhere(address: &IpAddr) -> bool {
    !address.is_loopback() && !address.is_unspecified() && !address.is_multicast()
}

#[cfg(test)]
mod tests {
    use std::{
        sync::{Condvar, atomic::AtomicUsize, atomic::Ordering},
        time::Instant,
    };

    use futures_util::future::join_all;

    use super::*;

    static RELEASED: (Mutex<bool>, Condvar) = (Mutex::new(false), Condvar::new());
    static ASKED: AtomicUsize = AtomicUsize::new(0);

    /// Hangs for names that say so.
    fn lookup(host: &str) -> io::Result<Vec<SocketAddr>> {
        if host.starts_with("hangs") {
            ASKED.fetch_add(1, Ordering::Relaxed);
            let (released, condition) = &RELEASED;
            let released = released.lock().unwrap();
            drop(condition.wait_while(released, |released| !*released));
        }
        Ok(vec![
            "192.0.2.1:0".parse().unwrap(),
            "[::1]:0".parse().unwrap(),
        ])
    }

    #[tokio::test]
    async fn questions_that_hang_do_not_keep_others_from_being_asked() {
        let resolver = Resolver::new(lookup, Duration::from_millis(100));
        let ask = |host: String, before| resolver.clone().ask(host, before);
        let all = (0..AT_ONCE).map(|n| ask(format!("hangs-{n}"), None));
        let mut hanging = join_all(all).await;
        for (_, answer, hangs) in &hanging {
            assert_eq!(answer.as_ref().unwrap_err().kind(), io::ErrorKind::TimedOut);
            assert!(hangs.is_some());
        }
        let started = Instant::now();
        let (_, answer, hangs) = ask("answers".to_owned(), None).await;
        assert_eq!(answer.unwrap(), [IpAddr::from([192, 0, 2, 1])]);
        assert!(hangs.is_none() && started.elapsed() < Duration::from_millis(90));

        // Once is enough, and what comes late is used.
        let (host, _, before) = hanging.remove(0);
        let (host, answer, before) = ask(host, before).await;
        assert!(answer.is_err() && ASKED.load(Ordering::Relaxed) == AT_ONCE);
        *RELEASED.0.lock().unwrap() = true;
        RELEASED.1.notify_all();
        while before.as_ref().is_some_and(|b| !b.0.is_finished()) {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
        let (_, answer, before) = ask(host, before).await;
        assert!(answer.is_ok() && before.is_none());
        assert_eq!(resolver.hanging.available_permits(), HANGING);
    }
}
