//! Puts the anchors together, again whenever a part of them changes.

mod files;

use std::{collections::HashMap, fmt, path::PathBuf, sync::Arc, time::Duration};

use arc_swap::ArcSwap;
use jiff::Timestamp;
use tokio::{
    sync::{mpsc, watch},
    task::{JoinSet, spawn_blocking},
    time::{MissedTickBehavior, interval},
};
use tokio_util::sync::CancellationToken;

use self::files::Files;
use super::{
    bundle::Bundle,
    endpoint::{Endpoint, EndpointError},
};
use crate::{
    identity::{TrustBundle, TrustDomain},
    tls::{OriginateError, RevocationList, TrustAnchors, web_client},
};

/// How often files are looked at.
const LOOK: Duration = Duration::from_secs(1);

/// What status calls a file with lists.
const LIST: &str = "revocation list";

/// Whom to trust besides the own CA.
#[derive(Clone, Debug)]
pub struct TrustConfig {
    pub domain: TrustDomain,
    /// Other names of the same domain.
    pub aliases: Vec<TrustDomain>,
    pub federated: Vec<(TrustDomain, BundleSource)>,
    /// Whom bundle endpoints' certificates must come from; the system's authorities if it isn't said.
    pub endpoint_authorities: Option<PathBuf>,
    pub revocation_lists: Vec<PathBuf>,
}

/// Where the roots of another domain come from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum BundleSource {
    File(PathBuf),
    Endpoint(Endpoint),
}

/// Why trust can't be followed from the start.
#[derive(Debug, thiserror::Error)]
pub enum TrustError {
    #[error("{path}: {error}", path = .path.display())]
    File { path: PathBuf, error: String },
    #[error("bundle endpoints: {0}")]
    Authorities(#[from] OriginateError),
}

/// One line of status.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TrustStatus {
    /// A trust domain, or `revocation list`.
    pub what: String,
    pub source: String,
    /// Roots, or revoked certificates.
    pub entries: usize,
    pub error: Option<String>,
}

/// The latest anchors.
#[derive(Clone)]
pub struct TrustReader {
    current: Arc<ArcSwap<TrustAnchors>>,
    changes: watch::Receiver<Vec<TrustStatus>>,
}

/// Keeps the anchors up to date.
pub struct Trust {
    config: TrustConfig,
    own: watch::Receiver<Arc<TrustBundle>>,
    files: Files,
    /// Of the federated domains that have endpoints, by their place in the configuration.
    told: HashMap<usize, Told>,
    current: Arc<ArcSwap<TrustAnchors>>,
    status: watch::Sender<Vec<TrustStatus>>,
}

#[derive(Default)]
struct Told {
    bundle: Option<Arc<Bundle>>,
    error: Option<String>,
}

impl TrustReader {
    /// The same `Arc` while nothing changes.
    #[must_use]
    pub fn anchors(&self) -> Arc<TrustAnchors> {
        self.current.load_full()
    }

    /// Waits for a change that this reader hasn't been told of; false once nobody follows any more.
    pub async fn changed(&mut self) -> bool {
        self.changes.changed().await.is_ok()
    }

    /// One line for each source.
    #[must_use]
    pub fn status(&self) -> Vec<TrustStatus> {
        self.changes.borrow().clone()
    }
}

impl Trust {
    /// Reads all files once.
    ///
    /// # Errors
    /// When one can't be used: later the last good content counts, but now there is none.
    pub fn open(
        config: TrustConfig,
        own: watch::Receiver<Arc<TrustBundle>>,
    ) -> Result<(Self, TrustReader), TrustError> {
        let mut files = Files::of(&config);
        files.look_for_bundles();
        let mut sources = config.federated.iter().map(|(_, source)| source);
        let asks = sources.any(|source| matches!(source, BundleSource::Endpoint(_)));
        let authorities = config.endpoint_authorities.as_deref();
        asks.then(|| web_client(authorities)).transpose()?;
        let (status, changes) = watch::channel(Vec::new());
        let current = Arc::new(ArcSwap::from_pointee(TrustAnchors::default()));
        let mut trust = Self {
            config,
            own,
            files,
            told: HashMap::new(),
            current: Arc::clone(&current),
            status,
        };
        trust.publish();
        trust.files.look_for_lists(&current.load_full());
        trust.files.check()?;
        trust.publish();
        Ok((trust, TrustReader { current, changes }))
    }

    /// Follows until `stop`.
    pub async fn run(mut self, stop: CancellationToken) {
        let (told, mut answers) = mpsc::channel(1);
        let _asking = self.ask(&told);
        let mut ticks = interval(LOOK);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            tokio::select! {
                () = stop.cancelled() => return,
                _ = ticks.tick() => self.look().await,
                Some((index, answer)) = answers.recv() => self.learn(index, answer),
                Ok(()) = self.own.changed() => self.renew(),
            }
        }
    }

    fn ask(&self, told: &mpsc::Sender<(usize, Result<Bundle, EndpointError>)>) -> JoinSet<()> {
        let mut asking = JoinSet::new();
        for (index, (_, source)) in self.config.federated.iter().enumerate() {
            if let BundleSource::Endpoint(endpoint) = source {
                let authorities = self.config.endpoint_authorities.clone();
                asking.spawn(endpoint.clone().follow(authorities, index, told.clone()));
            }
        }
        asking
    }

    async fn look(&mut self) {
        let mut files = std::mem::take(&mut self.files);
        let known = self.current.load_full();
        let looking = spawn_blocking(move || (files.look(&known), files));
        // It doesn't panic, and nobody cancels it.
        if let Ok((changed, files)) = looking.await {
            self.files = files;
            if changed {
                return self.renew();
            }
        }
        // A file may have gone bad, and a list late, without being another.
        if self.describe() != *self.status.borrow() {
            self.tell();
        }
    }

    /// After a change, with which what could not be used may be of use.
    fn renew(&mut self) {
        self.publish();
        self.files.again();
    }

    fn tell(&self) {
        let status = self.describe();
        let told = self.status.send_replace(status.clone());
        self.complain(&told, &status);
    }

    /// Of what nobody has complained of: not when a file was read, nor when an endpoint was asked.
    fn complain(&self, known: &[TrustStatus], status: &[TrustStatus]) {
        let doubts = status.iter().filter(|s| s.what == LIST);
        for status in doubts.filter(|status| !known.contains(status)) {
            let TrustStatus { source, error, .. } = status;
            if let Some(error) = error.as_ref().filter(|error| !self.files.has_said(error)) {
                tracing::warn!(source, error, "revocation list");
            }
        }
    }

    fn learn(&mut self, index: usize, answer: Result<Bundle, EndpointError>) {
        let told = self.told.entry(index).or_default();
        match answer {
            Ok(bundle) => {
                let same = told.bundle.as_deref() == Some(&bundle) && told.error.is_none();
                told.error = None;
                told.bundle = Some(Arc::new(bundle));
                if same {
                    return;
                }
            }
            Err(error) => {
                let text = error.to_string();
                if told.error.as_ref() == Some(&text) {
                    return;
                }
                let (domain, source) = &self.config.federated[index];
                tracing::error!(%domain, %source, error = text, "no trust bundle; the last one stays in force");
                told.error = Some(text);
            }
        }
        self.renew();
    }

    fn publish(&self) {
        let own = self.own();
        let mut bundle = TrustBundle::clone(&own);
        for alias in &self.config.aliases {
            for root in own.roots(&self.config.domain) {
                bundle.add(alias.clone(), root.clone());
            }
        }
        for (index, (domain, _)) in self.config.federated.iter().enumerate() {
            for root in self.bundle(index).iter().flat_map(|b| &b.roots) {
                bundle.add(domain.clone(), root.clone());
            }
        }
        let lists = self
            .files
            .lists
            .iter()
            .filter_map(|file| file.value.clone());
        let anchors = TrustAnchors::new(&bundle).revoking(lists.collect());
        self.current.store(Arc::new(anchors));
        self.tell();
    }

    /// Not borrowed for any longer: behind a sender that waits, a second `borrow` waits for the first.
    fn own(&self) -> Arc<TrustBundle> {
        Arc::clone(&self.own.borrow())
    }

    fn bundle(&self, index: usize) -> Option<&Arc<Bundle>> {
        let file = self.files.bundles.get(&index);
        let file = file.and_then(|file| file.value.as_ref());
        file.or_else(|| self.told.get(&index)?.bundle.as_ref())
    }

    fn describe(&self) -> Vec<TrustStatus> {
        let federated = self.config.federated.iter().enumerate();
        let domains = federated.map(|(index, (domain, source))| {
            let file = self.files.bundles.get(&index).map(|file| &file.error);
            let told = self.told.get(&index).map(|told| &told.error);
            TrustStatus {
                what: domain.to_string(),
                source: source.to_string(),
                entries: self.bundle(index).map_or(0, |bundle| bundle.roots.len()),
                error: file.or(told).cloned().flatten(),
            }
        });
        let own = self.own();
        let others = own
            .iter()
            .filter(|(domain, _)| **domain != self.config.domain);
        let others = others.map(|(domain, roots)| TrustStatus {
            what: domain.to_string(),
            source: "SPIRE agent".to_owned(),
            entries: roots.len(),
            error: None,
        });
        let anchors = self.current.load();
        let lists = self.files.lists.iter().map(|file| {
            let lists = file.value.iter().flat_map(|lists| lists.iter());
            TrustStatus {
                what: LIST.to_owned(),
                source: file.path.display().to_string(),
                entries: lists.clone().map(|list| list.len()).sum(),
                error: (file.error.clone())
                    .or_else(|| unproven(&anchors, file.value.as_deref()?))
                    .or_else(|| overdue(lists)),
            }
        });
        domains.chain(others).chain(lists).collect()
    }
}

/// An authority may have become known after its list.
fn unproven(anchors: &TrustAnchors, lists: &[RevocationList]) -> Option<String> {
    let checked = anchors.check_lists(lists);
    checked.err().map(|error| error.to_string())
}

/// A list that is late still revokes what it says.
fn overdue<'l>(mut lists: impl Iterator<Item = &'l RevocationList>) -> Option<String> {
    let now = Timestamp::now().as_second();
    let late = lists.find_map(|list| list.next_update.filter(|next| *next < now))?;
    let when = Timestamp::from_second(late).ok()?;
    Some(format!("a new list was to be there at {when}"))
}

impl fmt::Display for BundleSource {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::File(path) => path.display().fmt(f),
            Self::Endpoint(endpoint) => endpoint.fmt(f),
        }
    }
}

#[cfg(test)]
mod tests;
