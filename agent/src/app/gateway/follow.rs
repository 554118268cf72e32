//! Keeps a gateway as objects and certificates say.

use std::{
    collections::{BTreeMap, HashMap},
    io,
    sync::Arc,
    time::{Duration, Instant},
};

use jiff::Timestamp;
use tokio::{sync::watch, task::spawn_blocking};
use tokio_util::sync::CancellationToken;

use super::{
    configs::{self, Configs},
    credentials::Places,
    objections::objections,
};
use crate::{
    config::GatewayConfig,
    control::DirectoryWatch,
    identity::{SpiffeId, TrustBundle},
    policy::{Credential, Family, Labels, ServerTls, Work},
    proxy::{Entrance, Gateway},
    store::{Reader, Snapshot},
    telemetry::Metrics,
    trust::TrustReader,
    workload::{Pod, Workload},
};

/// How often files are looked at, and a port that is taken is tried again.
const LOOK: Duration = Duration::from_secs(1);

const LOST: &str = "certificates can't be read any more: start this gateway again";

/// What has come of the last look, and what is missing or wrong.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Condition {
    /// When what is in force came into force.
    pub(super) changed_at: Option<Timestamp>,
    pub(super) listeners: Vec<Listener>,
    pub(super) credentials: BTreeMap<Credential, configs::Condition>,
    /// Before it is ready.
    pub(super) unready: Vec<String>,
    /// All the same.
    pub(super) problems: Vec<String>,
}

impl Condition {
    /// Before anything is known.
    pub(super) fn unread() -> Self {
        Self {
            unready: vec!["the Gateways have not been read yet".to_owned()],
            ..Self::default()
        }
    }
}

/// A port of the Gateways.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Listener {
    /// As clients know it.
    pub(super) port: u16,
    pub(super) bound: u16,
    pub(super) family: Family,
    /// Why it isn't open.
    pub(super) error: Option<String>,
}

/// Has everything that follows from a change.
pub(super) struct Follower {
    pub(super) config: GatewayConfig,
    pub(super) gateway: Arc<Gateway>,
    pub(super) store: Reader,
    pub(super) trust: TrustReader,
    pub(super) configs: Option<Configs>,
    /// Of clients' certificates, for whoever reads revocation lists.
    pub(super) authorities: watch::Sender<Arc<TrustBundle>>,
    pub(super) condition: watch::Sender<Condition>,
    pub(super) metrics: Metrics,
    /// Whether certificates are in files that nobody tells of.
    pub(super) files: bool,
    /// By the port that clients know.
    pub(super) open: HashMap<u16, CancellationToken>,
}

impl Follower {
    pub(super) async fn run(mut self, stop: CancellationToken) {
        let follow = async {
            let mut source = DirectoryWatch::new(self.config.source.clone()).await;
            let mut tick = tokio::time::interval(LOOK);
            loop {
                tokio::select! {
                    snapshot = self.store.changed() => if snapshot.is_none() { return },
                    () = source.changed() => {}
                    true = self.trust.changed() => {}
                    _ = tick.tick(), if self.must_look() => {}
                }
                self.update().await;
            }
        };
        let _: Option<()> = stop.run_until_cancelled(follow).await;
        for (_, open) in self.open.drain() {
            open.cancel();
        }
    }

    /// Somebody else may leave a port, too, and what is not valid yet becomes so without another word.
    fn must_look(&self) -> bool {
        let condition = self.condition.borrow();
        let mut credentials = condition.credentials.values();
        self.files
            || !condition.unready.is_empty()
            || credentials.any(|credential| credential.error.is_some())
    }

    async fn update(&mut self) {
        let since = Instant::now();
        let snapshot = self.store.current();
        if snapshot.generation == 0 {
            return;
        }
        let told = self.condition.borrow().clone();
        let mut condition = Condition {
            changed_at: told.changed_at,
            ..Condition::default()
        };
        let entrance = match own(&self.config, &snapshot) {
            Some(own) => self.made(snapshot, own, &mut condition).await,
            None => {
                let missing = format!("Pod {} is not in the source", self.config.pod);
                condition.unready.push(missing);
                // What it may do isn't known any more.
                None
            }
        };
        self.put_in_force(entrance, since, &mut condition).await;
        let new = |known: &[String], text: &String| !known.contains(text);
        for text in condition.problems.iter().filter(|t| new(&told.problems, t)) {
            tracing::warn!("{text}");
        }
        for text in condition.unready.iter().filter(|t| new(&told.unready, t)) {
            tracing::warn!("not ready: {text}");
        }
        let gone = told.credentials.keys();
        for credential in gone.filter(|known| !condition.credentials.contains_key(known)) {
            self.metrics.forget_credential(&credential.to_string());
        }
        self.condition.send_replace(condition);
    }

    /// `None`: nobody may be let in.
    async fn made(
        &mut self,
        snapshot: Arc<Snapshot>,
        own: Arc<Workload>,
        condition: &mut Condition,
    ) -> Option<Entrance> {
        let revoked = self.trust.anchors();
        let wanted = terminated(&snapshot, &own.labels);
        let mut credentials = wanted.iter().map(|tls| &tls.credential);
        self.files = self.config.credentials.is_some()
            || credentials.any(|credential| matches!(credential, Credential::Files { .. }));
        let places = self.places(&own);
        let looked = self.configs.take().map(|mut configs| {
            spawn_blocking(move || (configs.update(&wanted, &places.look()), configs))
        });
        let looked = match looked {
            Some(looking) => looking.await.ok(),
            None => None,
        };
        // Only a panic, which the log has, keeps it from coming back.
        let Some((credentials, configs)) = looked else {
            condition.unready.push(LOST.to_owned());
            return None;
        };
        for (credential, state) in &credentials {
            let healthy = state.error.is_none();
            self.metrics
                .set_credential_healthy(&credential.to_string(), healthy);
            condition.problems.extend(state.error.clone());
        }
        condition.credentials = credentials;
        let terminations = configs.current();
        let objections = objections(&self.config, &snapshot, &own, &terminations);
        condition.problems.extend(objections);
        let authorities = configs.authorities(&self.config.trust.domain);
        self.authorities.send_if_modified(|known| {
            let differ = **known != authorities;
            if differ {
                *known = Arc::new(authorities);
            }
            differ
        });
        self.configs = Some(configs);
        Some(Entrance {
            snapshot,
            own,
            terminations,
            revoked,
        })
    }

    /// Connections that are not allowed any more are cut before ports are opened and closed.
    async fn put_in_force(
        &mut self,
        entrance: Option<Entrance>,
        mut since: Instant,
        condition: &mut Condition,
    ) {
        let before = self.gateway.entrance();
        let same = match (&before, &entrance) {
            (Some(before), Some(entrance)) => before.is_same(entrance),
            (None, None) => true,
            _ => false,
        };
        let entrance = entrance.map(Arc::new);
        if !same {
            condition.changed_at = Some(Timestamp::now());
            let generation = |e: &Arc<Entrance>| e.snapshot.generation;
            if let Some(entrance) = &entrance
                && before.as_ref().map(generation) != Some(generation(entrance))
            {
                let published = Instant::now().checked_sub(entrance.snapshot.age());
                since = published.unwrap_or(since);
            }
            let (gateway, entrance) = (Arc::clone(&self.gateway), entrance.clone());
            let entering = spawn_blocking(move || gateway.enter_by(entrance.as_ref(), since));
            if entering.await.is_err() {
                tracing::error!("established connections may not all have been looked at");
            }
        }
        // Without a pod of its own its ports stay as they are: clients are refused, and told so.
        if let Some(entrance) = entrance {
            let gateways = entrance.snapshot.policy.routes().gateways();
            self.listen(&gateways.ports(&entrance.own.labels), condition);
        }
    }

    fn places(&self, own: &Workload) -> Places {
        Places {
            source: self.config.source.clone(),
            mounted: self.config.credentials.clone(),
            namespace: own.namespace().to_owned(),
        }
    }

    fn listen(&mut self, ports: &BTreeMap<u16, Family>, condition: &mut Condition) {
        self.open.retain(|port, open| {
            let stays = ports.contains_key(port);
            if !stays {
                tracing::info!(port, "closed: no Gateway has it any more");
                open.cancel();
            }
            stays
        });
        for (port, family) in ports {
            let bound = self.config.ports.get(port).copied().unwrap_or(*port);
            let error = self.open(*port, bound).err();
            let error = error.map(|e| format!("port {port} can't be opened at {bound}: {e}"));
            condition.unready.extend(error.clone());
            condition.listeners.push(Listener {
                port: *port,
                bound,
                family: *family,
                error,
            });
        }
        if ports.is_empty() {
            let text = "no Gateway selects this pod: nothing is open";
            condition.problems.push(text.to_owned());
        }
    }

    /// Unless it is open.
    fn open(&mut self, port: u16, bound: u16) -> io::Result<()> {
        if self.open.contains_key(&port) {
            return Ok(());
        }
        let stop = CancellationToken::new();
        self.gateway.listen(port, bound, stop.clone())?;
        tracing::info!(port, listen = bound, "open");
        self.open.insert(port, stop);
        Ok(())
    }
}

/// The servers whose TLS ends here.
fn terminated(snapshot: &Snapshot, labels: &Labels) -> Vec<Arc<ServerTls>> {
    let servers = snapshot.policy.routes().gateways().of(labels);
    let tls = servers.filter_map(|served| match &served.server.work {
        Work::Terminate(tls) => Some(Arc::clone(tls)),
        Work::Redirect | Work::Http | Work::Tcp | Work::Passthrough => None,
    });
    tls.collect()
}

/// The gateway's own pod. One that the source doesn't have must say its labels.
fn own(config: &GatewayConfig, snapshot: &Snapshot) -> Option<Arc<Workload>> {
    match snapshot.workload(&config.pod) {
        Some(own) if config.labels.is_empty() => Some(Arc::clone(own)),
        Some(own) => Some(Arc::new(Workload {
            pod: Arc::new(Pod::clone(&own.pod).labelled(config.labels.clone())),
            ..Workload::clone(own)
        })),
        None if config.labels.is_empty() => None,
        None => stranger(config).map(Arc::new),
    }
}

fn stranger(config: &GatewayConfig) -> Option<Workload> {
    let name = config.pod.clone();
    let domain = config.mesh.trust_domain.clone();
    Some(Workload {
        identity: SpiffeId::new(domain, &name.namespace, "default").ok()?,
        pod: Arc::new(Pod::named(name).labelled(config.labels.clone())),
        enrolled: false,
    })
}
