//! Keeps a subscription for every identity that is wanted, and one for the bundles; hands out what has come.
//!
//! What has come stays while the SPIRE agent is away, until it expires. When to ask is `ca::Svids`' to know: it is told
//! who has news.

use std::{
    collections::{BTreeMap, HashMap, HashSet},
    path::{Path, PathBuf},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::{Duration, SystemTime},
};

use tokio::{
    sync::{Notify, watch},
    time::timeout,
};
use tokio_util::task::AbortOnDropHandle;
use tonic::transport::Endpoint;

use super::{
    Selectors, SpireError,
    bundles::bundle,
    granted::{Answer, verify},
    subscription::Source,
    wire::{BUNDLES, BundlesRequest, BundlesResponse, SVIDS, SvidsRequest, SvidsResponse},
};
use crate::{
    identity::{SpiffeId, Svid, TrustBundle, TrustDomain, refresh_at},
    tls::TrustAnchors,
};

/// SPIRE agents say which bundles are new and, on a stream that is open, not which are gone.
const BUNDLES_AGE: Duration = Duration::from_secs(300);

/// For the first word about an identity.
const PATIENCE: Duration = Duration::from_secs(1);

/// The SPIRE agent of this node.
pub struct SpireAgent {
    source: Source,
    trust_domain: TrustDomain,
    subscriptions: Mutex<HashMap<SpiffeId, Subscription>>,
    fresh: Arc<Fresh>,
    bundles: watch::Receiver<Bundles>,
    /// For whoever waits for news.
    turn: tokio::sync::Mutex<watch::Receiver<Bundles>>,
    /// The same without its errors.
    roots: watch::Receiver<Arc<TrustBundle>>,
    _following: AbortOnDropHandle<()>,
}

struct Subscription {
    selectors: Selectors,
    latest: watch::Sender<Latest>,
    _task: AbortOnDropHandle<()>,
}

/// The last answer for an identity, and what has become of its stream.
#[derive(Clone, Default)]
struct Latest {
    answer: Option<Answer>,
    /// Since then there is no stream.
    error: Option<SpireError>,
}

#[derive(Clone, Default)]
struct Bundles {
    latest: Arc<TrustBundle>,
    error: Option<SpireError>,
}

/// The identities of which there is something new.
#[derive(Default)]
struct Fresh {
    identities: Mutex<HashSet<SpiffeId>>,
    notify: Notify,
}

impl SpireAgent {
    /// Follows the bundles from now on, with a task of its own; connects when it can.
    ///
    /// # Errors
    /// When `socket` can't be the path of one.
    pub fn new(socket: PathBuf, trust_domain: TrustDomain) -> Result<Self, SpireError> {
        let text = socket.to_str();
        let endpoint = text.and_then(|path| Endpoint::from_shared(format!("unix://{path}")).ok());
        let endpoint = endpoint.ok_or_else(|| SpireError::Path(socket.clone()))?;
        // No keep-alive: gRPC servers in Go take frequent pings for abuse, and the end of a local socket is told.
        let source = Source {
            path: socket,
            channel: endpoint.connect_lazy(),
        };
        let (sender, bundles) = watch::channel(Bundles::default());
        let (told, roots) = watch::channel(Arc::default());
        let following = follow_bundles(source.clone(), trust_domain.clone(), sender, told);
        let following = tokio::spawn(following);
        Ok(Self {
            source,
            trust_domain,
            subscriptions: Mutex::default(),
            fresh: Arc::default(),
            turn: tokio::sync::Mutex::new(bundles.clone()),
            bundles,
            roots,
            _following: AbortOnDropHandle::new(following),
        })
    }

    /// Its socket.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.source.path
    }

    /// The roots of every trust domain that it knows, and news of them.
    #[must_use]
    pub fn bundle(&self) -> watch::Receiver<Arc<TrustBundle>> {
        self.roots.clone()
    }

    /// Subscribes to exactly these identities from now on. Keys of others are gone with this.
    pub fn attend(&self, wanted: BTreeMap<SpiffeId, Selectors>) {
        let mut subscriptions = self.subscriptions();
        subscriptions.retain(|id, _| wanted.contains_key(id));
        for (id, selectors) in wanted {
            let known = subscriptions.get(&id);
            if known.is_some_and(|known| known.selectors == selectors) {
                continue;
            }
            // What has come for the selectors before stays until there is another answer.
            let latest = known.map(|known| known.latest.clone()).unwrap_or_default();
            let following = self.follow(id.clone(), selectors.clone(), latest.clone());
            let subscription = Subscription {
                selectors,
                latest,
                _task: AbortOnDropHandle::new(tokio::spawn(following)),
            };
            subscriptions.insert(id, subscription);
        }
    }

    /// What it has sent for an identity, checked as peers will.
    ///
    /// # Errors
    /// When there is none, when it is no good, or when it should have been renewed and there is no stream.
    pub async fn issue(&self, id: &SpiffeId, now: SystemTime) -> Result<Svid, SpireError> {
        let latest = self.subscriptions().get(id).map(|s| s.latest.subscribe());
        let latest = latest.ok_or(SpireError::Unwanted)?;
        let said = timeout(PATIENCE, first_word(latest)).await;
        let Latest { answer, error } = said.unwrap_or(Err(SpireError::Silent))?;
        let svid = match answer {
            Some(Answer::Granted(svid)) => svid,
            Some(Answer::Withheld(others)) => return Err(SpireError::Withheld { others }),
            Some(Answer::Unusable(why)) => return Err(why.into()),
            None => return Err(error.unwrap_or(SpireError::Silent)),
        };
        if now >= svid.not_after {
            return Err(error.unwrap_or(SpireError::Expired));
        }
        match error {
            Some(error) if now >= refresh_at(svid.not_before, svid.not_after, 0.0) => Err(error),
            _ => {
                verify(&svid.certified, &self.anchors().await?, now)?;
                Ok(Svid::clone(&svid))
            }
        }
    }

    /// Waits until something has come, and tells for whom.
    pub async fn news(&self) -> HashSet<SpiffeId> {
        let mut bundles = self.turn.lock().await;
        tokio::select! {
            Ok(()) = bundles.changed() => self.subscriptions().keys().cloned().collect(),
            identities = self.fresh.next() => identities,
        }
    }

    fn subscriptions(&self) -> MutexGuard<'_, HashMap<SpiffeId, Subscription>> {
        // Nothing under this lock can panic between two changes.
        let locked = self.subscriptions.lock();
        locked.unwrap_or_else(PoisonError::into_inner)
    }

    fn follow(
        &self,
        id: SpiffeId,
        selectors: Selectors,
        latest: watch::Sender<Latest>,
    ) -> impl Future<Output = ()> + Send + 'static {
        let (source, fresh) = (self.source.clone(), Arc::clone(&self.fresh));
        let selectors = selectors.0.into_iter().collect();
        let tell = move |told: Result<SvidsResponse, SpireError>| match told {
            Ok(response) => {
                latest.send_replace(Latest {
                    answer: Some(Answer::of(&response, &id)),
                    error: None,
                });
                fresh.add(id.clone());
            }
            Err(error) => latest.send_modify(|latest| latest.error = Some(error)),
        };
        async move {
            source
                .follow(SVIDS, SvidsRequest { selectors }, Duration::MAX, tell)
                .await
        }
    }

    /// Those of the bundle, once there is one.
    async fn anchors(&self) -> Result<TrustAnchors, SpireError> {
        let mut bundles = self.bundles.clone();
        let known = |b: &Bundles| !b.latest.roots(&self.trust_domain).is_empty();
        let waited = timeout(
            PATIENCE,
            bundles.wait_for(|b| known(b) || b.error.is_some()),
        )
        .await;
        if waited.is_err() {
            return Err(SpireError::Silent);
        }
        let bundles = self.bundles.borrow().clone();
        match &bundles.error {
            Some(error) if !known(&bundles) => Err(error.clone()),
            _ => Ok(TrustAnchors::new(&bundles.latest)),
        }
    }
}

/// An answer, or why there is none.
async fn first_word(mut latest: watch::Receiver<Latest>) -> Result<Latest, SpireError> {
    let said = |latest: &Latest| latest.answer.is_some() || latest.error.is_some();
    let latest = latest.wait_for(said).await;
    latest
        .map(|latest| latest.clone())
        .map_err(|_| SpireError::Unwanted)
}

async fn follow_bundles(
    source: Source,
    own: TrustDomain,
    bundles: watch::Sender<Bundles>,
    roots: watch::Sender<Arc<TrustBundle>>,
) {
    let tell = |told: Result<BundlesResponse, SpireError>| {
        let read = told.and_then(|response| Ok(bundle(&response, &own).map_err(Arc::new)?));
        match read {
            Ok(latest) => {
                let latest = Arc::new(latest);
                roots.send_if_modified(|known| {
                    let is_new = *known != latest;
                    *known = Arc::clone(&latest);
                    is_new
                });
                let error = None;
                bundles.send_replace(Bundles { latest, error });
            }
            Err(error) => bundles.send_modify(|bundles| {
                if bundles.error.is_none() {
                    tracing::warn!(%error, "no news from the SPIRE agent: what it has sent stays in force");
                }
                bundles.error = Some(error);
            }),
        }
    };
    let question = BundlesRequest {};
    source.follow(BUNDLES, question, BUNDLES_AGE, tell).await;
}

impl Fresh {
    fn add(&self, id: SpiffeId) {
        self.identities().insert(id);
        self.notify.notify_one();
    }

    async fn next(&self) -> HashSet<SpiffeId> {
        loop {
            let identities = std::mem::take(&mut *self.identities());
            if !identities.is_empty() {
                return identities;
            }
            self.notify.notified().await;
        }
    }

    fn identities(&self) -> MutexGuard<'_, HashSet<SpiffeId>> {
        self.identities
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }
}
