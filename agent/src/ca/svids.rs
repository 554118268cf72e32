//! Keeps an SVID ready for every identity that is wanted, and renews each in time.
//!
//! Handshakes read without a lock; what has expired isn't handed out. Does not decide which identities are
//! wanted, and does not keep anything across restarts: keys never leave the memory of the agent.

mod schedule;

use std::{
    collections::{HashMap, HashSet, VecDeque},
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
    time::{Duration, Instant, SystemTime},
};

use arc_swap::ArcSwap;
use futures_util::{FutureExt, StreamExt, stream::FuturesUnordered};
use tokio::sync::{Notify, watch};
use tokio_util::sync::CancellationToken;

use self::schedule::Held;
use super::Issue;
use crate::{
    identity::{SpiffeId, Svid, Urgency},
    telemetry::Metrics,
};

/// Tells the time; tests bring their own.
pub type Clock = Arc<dyn Fn() -> SystemTime + Send + Sync>;

/// A step of the wall clock or a suspended machine is noticed after this at the latest.
const LONGEST_NAP: Duration = Duration::from_secs(30);
/// How many are chosen at a time.
const BATCH: usize = 64;
/// Readers see new SVIDs after this at the latest.
const PUBLISH_PERIOD: Duration = Duration::from_millis(20);
/// How long a pod may wait for its certificate before it is captured without: its connections fail until then,
/// and the news of other pods must not wait for a CA that is slow.
const PATIENCE: Duration = Duration::from_millis(500);

/// The SVIDs of this node.
pub struct Svids<I> {
    issuer: I,
    clock: Clock,
    metrics: Metrics,
    held: Mutex<HashMap<SpiffeId, Held>>,
    published: Arc<ArcSwap<HashMap<SpiffeId, Arc<Svid>>>>,
    healthy: AtomicBool,
    /// One renewal at a time, whoever asks for it.
    turn: tokio::sync::Mutex<()>,
    wanted: Notify,
    news: watch::Sender<()>,
}

/// A view of the SVIDs for handshakes.
#[derive(Clone)]
pub struct SvidReader {
    published: Arc<ArcSwap<HashMap<SpiffeId, Arc<Svid>>>>,
    clock: Clock,
}

/// How an identity's SVID is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SvidState {
    Valid,
    /// The last one can't be used any more: handshakes are refused.
    Expired,
    /// None was issued so far: handshakes are refused.
    Missing,
}

/// One line of `sealane certs`.
#[derive(Clone, Debug)]
pub struct SvidStatus {
    pub identity: SpiffeId,
    pub state: SvidState,
    /// The latest SVID, even when it has expired.
    pub svid: Option<Arc<Svid>>,
    /// When it will be renewed, or tried again.
    pub refresh_at: SystemTime,
    /// Why the last attempt failed; `None` when it didn't.
    pub last_error: Option<String>,
}

impl SvidReader {
    /// The SVID of an identity; `None` when there is none that is valid now.
    #[must_use]
    pub fn get(&self, id: &SpiffeId) -> Option<Arc<Svid>> {
        let svid = self.published.load().get(id).cloned()?;
        ((self.clock)() < svid.not_after).then_some(svid)
    }
}

impl<I: Issue> Svids<I> {
    #[must_use]
    pub fn new(issuer: I, clock: Clock, metrics: Metrics) -> Self {
        metrics.set_ca_healthy(true);
        Self {
            issuer,
            clock,
            metrics,
            held: Mutex::default(),
            published: Arc::default(),
            healthy: AtomicBool::new(true),
            turn: tokio::sync::Mutex::default(),
            wanted: Notify::new(),
            news: watch::Sender::new(()),
        }
    }

    #[must_use]
    pub fn reader(&self) -> SvidReader {
        SvidReader {
            published: Arc::clone(&self.published),
            clock: Arc::clone(&self.clock),
        }
    }

    /// Who issues.
    #[must_use]
    pub fn issuer(&self) -> &I {
        &self.issuer
    }

    /// Whether the last attempt for each identity succeeded; true before the first.
    #[must_use]
    pub fn healthy(&self) -> bool {
        self.healthy.load(Ordering::Relaxed)
    }

    /// Holds an SVID for exactly these identities from now on. Returns when each new one was tried for once, or
    /// after half a second: what is still missing is [`run`](Self::run)'s to get.
    pub async fn want(&self, identities: &HashSet<SpiffeId>) {
        self.set_wanted(identities);
        let _ = tokio::time::timeout(PATIENCE, self.renew_due()).await;
        self.wanted.notify_one();
    }

    /// Renews until told to stop.
    pub async fn run(&self, stop: CancellationToken) {
        tokio::select! {
            () = stop.cancelled() => {}
            () = self.renew() => {}
            () = self.hear() => {}
        }
    }

    async fn renew(&self) {
        loop {
            self.renew_due().await;
            let nap = self.until_next_due();
            tokio::select! {
                () = tokio::time::sleep(nap) => {}
                () = self.wanted.notified() => {}
            }
        }
    }

    /// Also while others are waited for.
    async fn hear(&self) {
        loop {
            let identities = self.issuer.news().await;
            self.hurry(&identities);
            self.wanted.notify_one();
        }
    }

    /// News of what handshakes may use; keys that are no part of it any more are not to be kept.
    #[must_use]
    pub fn published(&self) -> watch::Receiver<()> {
        self.news.subscribe()
    }

    /// Every wanted identity, in order of its name.
    #[must_use]
    pub fn list(&self) -> Vec<SvidStatus> {
        let now = (self.clock)();
        let mut list: Vec<_> = self
            .held()
            .iter()
            .map(|(id, held)| held.status(id.clone(), now))
            .collect();
        list.sort_by(|a, b| a.identity.cmp(&b.identity));
        list
    }

    fn held(&self) -> MutexGuard<'_, HashMap<SpiffeId, Held>> {
        // Every change under this lock is a single assignment: a panic can't leave half of one.
        self.held.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn set_wanted(&self, identities: &HashSet<SpiffeId>) {
        let now = (self.clock)();
        let mut held = self.held();
        held.retain(|id, _| {
            let kept = identities.contains(id);
            if !kept {
                self.metrics.certificate_dropped(id);
            }
            kept
        });
        for id in identities {
            held.entry(id.clone()).or_insert_with(|| Held::missing(now));
        }
        self.publish(&held);
    }

    /// Asks for all that is due, several at a time where the issuer allows it, the most urgent first.
    async fn renew_due(&self) {
        let _turn = self.turn.lock().await;
        let mut asked = HashSet::new();
        let mut running = FuturesUnordered::new();
        let mut due = VecDeque::new();
        let mut published = Instant::now();
        let mut news = false;
        loop {
            while running.len() < self.issuer.at_once() {
                if due.is_empty() {
                    due = self.due(&asked);
                }
                let Some(id) = due.pop_front() else { break };
                if let Some(held) = self.held().get_mut(&id) {
                    held.asked();
                }
                asked.insert(id.clone());
                running.push(self.try_one(id));
            }
            // What has come isn't held back while somebody slow is waited for.
            let next = match running.next().now_or_never() {
                Some(next) => next,
                None => {
                    if std::mem::take(&mut news) {
                        self.publish(&self.held());
                    }
                    running.next().await
                }
            };
            let Some((id, outcome, took)) = next else {
                break;
            };
            self.record(&id, outcome, took);
            news = true;
            if published.elapsed() > PUBLISH_PERIOD {
                self.publish(&self.held());
                (published, news) = (Instant::now(), false);
                tokio::task::yield_now().await;
            }
        }
        if news {
            self.publish(&self.held());
        }
    }

    async fn try_one(&self, id: SpiffeId) -> (SpiffeId, Result<Svid, I::Error>, Duration) {
        let started = Instant::now();
        let outcome = self.issuer.issue(&id, (self.clock)()).await;
        (id, outcome, started.elapsed())
    }

    /// The most urgent first, and no more than a few: what is urgent may change meanwhile.
    fn due(&self, asked: &HashSet<SpiffeId>) -> VecDeque<SpiffeId> {
        let now = (self.clock)();
        let mut due: Vec<(Urgency, SpiffeId)> = self
            .held()
            .iter()
            .filter(|(id, held)| held.due_at() <= now && (held.has_news() || !asked.contains(*id)))
            .map(|(id, held)| (held.urgency(now), id.clone()))
            .collect();
        due.sort_by_key(|(urgency, _)| *urgency);
        due.truncate(BATCH);
        due.into_iter().map(|(_, id)| id).collect()
    }

    /// Asks for these before their time.
    fn hurry(&self, identities: &HashSet<SpiffeId>) {
        let now = (self.clock)();
        let mut held = self.held();
        for id in identities {
            if let Some(held) = held.get_mut(id) {
                held.hurry(now);
            }
        }
    }

    fn record(&self, id: &SpiffeId, outcome: Result<Svid, I::Error>, took: Duration) {
        let now = (self.clock)();
        let counted = outcome.as_ref().map(|_| ()).map_err(I::reason);
        self.metrics.certificate_refresh(counted, took);
        let mut held = self.held();
        // Not wanted any more since it was asked for.
        let Some(entry) = held.get_mut(id) else {
            return;
        };
        match outcome {
            Ok(svid) => {
                self.metrics.certificate_issued(id, svid.not_after);
                tracing::debug!(identity = %id, serial = svid.serial, "certificate issued");
                entry.renewed(Arc::new(svid), now, fastrand::f64());
            }
            Err(error) => {
                if I::is_withdrawal(&error) {
                    entry.withdraw();
                    self.metrics.certificate_dropped(id);
                }
                entry.failed(&error, now, fastrand::f64());
                tracing::warn!(identity = %id, %error, "no new certificate");
            }
        }
    }

    fn publish(&self, held: &HashMap<SpiffeId, Held>) {
        let healthy = !held.values().any(Held::has_failed);
        let changed = self.healthy.swap(healthy, Ordering::Relaxed) != healthy;
        self.metrics.set_ca_healthy(healthy);
        if changed && healthy {
            tracing::info!("the CA issues again");
        }
        let usable = held
            .iter()
            .filter_map(|(id, held)| Some((id.clone(), held.svid()?)));
        self.published.store(Arc::new(usable.collect()));
        self.news.send_replace(());
    }

    fn until_next_due(&self) -> Duration {
        let now = (self.clock)();
        let next = self.held().values().map(Held::due_at).min();
        let left = next.map(|due| due.duration_since(now).unwrap_or_default());
        left.unwrap_or(LONGEST_NAP).min(LONGEST_NAP)
    }
}

#[cfg(test)]
mod tests;
