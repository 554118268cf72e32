//! Keeps an SVID ready for every identity that is wanted, and renews each in time.
//!
//! Handshakes read without a lock; what has expired isn't handed out. Does not decide which identities are
//! wanted, and does not keep anything across restarts: keys never leave the memory of the agent.

mod schedule;

use std::{
    collections::{HashMap, HashSet},
    future::Future,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
    time::{Duration, SystemTime},
};

use arc_swap::ArcSwap;
use tokio::sync::Notify;
use tokio_util::sync::CancellationToken;

use self::schedule::Held;
use super::{CaError, EmbeddedCa};
use crate::{
    identity::{SpiffeId, Svid, Urgency},
    telemetry::Metrics,
};

/// Tells the time; tests bring their own.
pub type Clock = Arc<dyn Fn() -> SystemTime + Send + Sync>;

/// A step of the wall clock or a suspended machine is noticed after this at the latest.
const LONGEST_NAP: Duration = Duration::from_secs(30);
/// Readers see new SVIDs after so many at the latest.
const BATCH: usize = 32;

/// Whoever can make an SVID: the embedded CA now, the client of a CA service later.
pub trait Issue: Send + Sync + 'static {
    type Error: std::error::Error + Send + Sync + 'static;

    /// A fresh key and a certificate for it, valid at `now`.
    fn issue(
        &self,
        id: &SpiffeId,
        now: SystemTime,
    ) -> impl Future<Output = Result<Svid, Self::Error>> + Send;
}

impl Issue for EmbeddedCa {
    type Error = CaError;

    async fn issue(&self, id: &SpiffeId, now: SystemTime) -> Result<Svid, CaError> {
        EmbeddedCa::issue(self, id, now)
    }
}

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

    /// Whether the last attempt to issue succeeded; true before the first.
    #[must_use]
    pub fn healthy(&self) -> bool {
        self.healthy.load(Ordering::Relaxed)
    }

    /// Holds an SVID for exactly these identities from now on. Returns when each new one was tried for once:
    /// what failed is tried again by [`run`](Self::run).
    pub async fn want(&self, identities: &HashSet<SpiffeId>) {
        self.set_wanted(identities);
        self.renew_due().await;
        self.wanted.notify_one();
    }

    /// Renews until told to stop.
    pub async fn run(&self, stop: CancellationToken) {
        loop {
            tokio::select! {
                () = stop.cancelled() => return,
                () = self.renew_due() => {}
            }
            let nap = self.until_next_due();
            tokio::select! {
                () = stop.cancelled() => return,
                () = tokio::time::sleep(nap) => {}
                () = self.wanted.notified() => {}
            }
        }
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

    async fn renew_due(&self) {
        let _turn = self.turn.lock().await;
        for batch in self.due().chunks(BATCH) {
            for id in batch {
                let outcome = self.issuer.issue(id, (self.clock)()).await;
                self.record(id, outcome);
            }
            self.publish(&self.held());
            tokio::task::yield_now().await;
        }
    }

    /// The most urgent first.
    fn due(&self) -> Vec<SpiffeId> {
        let now = (self.clock)();
        let mut due: Vec<(Urgency, SpiffeId)> = self
            .held()
            .iter()
            .filter(|(_, held)| held.due_at() <= now)
            .map(|(id, held)| (held.urgency(now), id.clone()))
            .collect();
        due.sort_by_key(|(urgency, _)| *urgency);
        due.into_iter().map(|(_, id)| id).collect()
    }

    fn record(&self, id: &SpiffeId, outcome: Result<Svid, I::Error>) {
        let now = (self.clock)();
        let healthy = outcome.is_ok();
        let changed = self.healthy.swap(healthy, Ordering::Relaxed) != healthy;
        self.metrics.set_ca_healthy(healthy);
        if changed && healthy {
            tracing::info!("the CA issues again");
        }
        self.metrics.certificate_refresh(healthy);
        let mut held = self.held();
        // Not wanted any more since it was asked for.
        let Some(entry) = held.get_mut(id) else {
            return;
        };
        match outcome {
            Ok(svid) => {
                self.metrics.certificate_issued(id, svid.not_after);
                tracing::debug!(identity = %id, serial = svid.serial, "certificate issued");
                entry.renewed(Arc::new(svid), fastrand::f64());
            }
            Err(error) => {
                entry.failed(&error, now, fastrand::f64());
                tracing::warn!(identity = %id, %error, "no new certificate");
            }
        }
    }

    fn publish(&self, held: &HashMap<SpiffeId, Held>) {
        let usable = held
            .iter()
            .filter_map(|(id, held)| Some((id.clone(), held.svid()?)));
        self.published.store(Arc::new(usable.collect()));
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
