//! Keeps a gateway as objects and certificates say.

use std::{
    collections::{BTreeMap, HashMap},
    sync::Arc,
    time::Duration,
};

use tokio::{sync::watch, task::spawn_blocking};
use tokio_util::sync::CancellationToken;

use super::{configs::Configs, credentials::Places};
use crate::{
    config::GatewayConfig,
    control::DirectoryWatch,
    identity::SpiffeId,
    policy::{Credential, Family, Labels, Mode, ServerTls, Work},
    proxy::{Entrance, Gateway},
    store::{Reader, Snapshot},
    telemetry::Metrics,
    workload::{TelemetryNames, Workload},
};

/// How often files are looked at, and a port that is taken is tried again.
const LOOK: Duration = Duration::from_secs(1);

const LOST: &str = "certificates can't be read any more: start this gateway again";

/// What is missing or wrong.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Condition {
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
            problems: Vec::new(),
        }
    }
}

/// Has everything that follows from a change.
pub(super) struct Follower {
    pub(super) config: GatewayConfig,
    pub(super) gateway: Arc<Gateway>,
    pub(super) store: Reader,
    pub(super) configs: Option<Configs>,
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

    /// Somebody else may leave a port, too.
    fn must_look(&self) -> bool {
        self.files || !self.condition.borrow().unready.is_empty()
    }

    async fn update(&mut self) {
        let snapshot = self.store.current();
        if snapshot.generation == 0 {
            return;
        }
        let mut condition = Condition::default();
        match own(&self.config, &snapshot) {
            Some(own) => self.serve(snapshot, own, &mut condition).await,
            None => {
                let missing = format!("Pod {} is not in the source", self.config.pod);
                condition.unready.push(missing);
                // What it may do isn't known any more.
                self.gateway.entrance.store(None);
            }
        }
        let told = self.condition.borrow().clone();
        let new = |known: &[String], text: &String| !known.contains(text);
        for text in condition.problems.iter().filter(|t| new(&told.problems, t)) {
            tracing::warn!("{text}");
        }
        for text in condition.unready.iter().filter(|t| new(&told.unready, t)) {
            tracing::warn!("not ready: {text}");
        }
        self.condition.send_replace(condition);
    }

    async fn serve(
        &mut self,
        snapshot: Arc<Snapshot>,
        own: Arc<Workload>,
        condition: &mut Condition,
    ) {
        let wanted = terminated(&snapshot, &own.labels);
        let mut credentials = wanted.iter().map(|tls| &tls.credential);
        self.files = self.config.credentials.is_some()
            || credentials.any(|credential| matches!(credential, Credential::Files { .. }));
        let Some(mut configs) = self.configs.take() else {
            self.gateway.entrance.store(None);
            return condition.unready.push(LOST.to_owned());
        };
        let places = self.places(&own);
        let looking = move || {
            let troubles = configs.update(&wanted, &places.look());
            (configs, troubles)
        };
        // Only a panic, which the log has, keeps it from coming back.
        let Ok((configs, troubles)) = spawn_blocking(looking).await else {
            self.gateway.entrance.store(None);
            return condition.unready.push(LOST.to_owned());
        };
        for (credential, trouble) in troubles {
            let name = credential.to_string();
            let healthy = trouble.is_none();
            self.metrics.set_credential_healthy(&name, healthy);
            condition.problems.extend(trouble);
        }
        condition
            .problems
            .extend(objections(&self.config, &snapshot, &own));
        let ports = snapshot.policy.routes().gateways().ports(&own.labels);
        self.gateway.entrance.store(Some(Arc::new(Entrance {
            snapshot,
            own,
            configs: configs.current(),
        })));
        self.configs = Some(configs);
        self.listen(&ports, condition);
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
        for port in ports.keys() {
            if self.open.contains_key(port) {
                continue;
            }
            let bound = self.config.ports.get(port).copied().unwrap_or(*port);
            let stop = CancellationToken::new();
            match self.gateway.listen(*port, bound, stop.clone()) {
                Ok(()) => {
                    tracing::info!(port, listen = bound, "open");
                    self.open.insert(*port, stop);
                }
                Err(error) => {
                    let text = format!("port {port} can't be opened at {bound}: {error}");
                    condition.unready.push(text);
                }
            }
        }
        if ports.is_empty() {
            let text = "no Gateway selects this pod: nothing is open";
            condition.problems.push(text.to_owned());
        }
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
            labels: config.labels.clone(),
            ..Workload::clone(own)
        })),
        None if config.labels.is_empty() => None,
        None => stranger(config).map(Arc::new),
    }
}

fn stranger(config: &GatewayConfig) -> Option<Workload> {
    let name = config.pod.clone();
    let domain = config.mesh.trust_domain.clone();
    let unknown = || "unknown".to_owned();
    Some(Workload {
        identity: SpiffeId::new(domain, &name.namespace, "default").ok()?,
        telemetry: TelemetryNames {
            workload: name.name.to_string(),
            canonical_service: name.name.to_string(),
            canonical_revision: "latest".to_owned(),
            app: unknown(),
            version: unknown(),
        },
        name,
        node: String::new(),
        addresses: Vec::new(),
        labels: config.labels.clone(),
        container_ports: Vec::new(),
        enrolled: false,
        sandbox: None,
        uid: None,
    })
}

/// Documents that keep this gateway from doing what others ask of it.
fn objections(config: &GatewayConfig, snapshot: &Snapshot, own: &Workload) -> Vec<String> {
    let gateways = snapshot.policy.routes().gateways();
    let shadowed = gateways.shadowed(&own.labels).map(|served| {
        let (gateway, port) = (served.gateway, served.server.port);
        format!("{gateway}: port {port} is an older Gateway's, for another protocol")
    });
    let mut texts: Vec<_> = shadowed.collect();
    for port in gateways
        .ports(&own.labels)
        .into_keys()
        .filter(|_| own.enrolled)
    {
        let bound = config.ports.get(&port).copied().unwrap_or(port);
        let mode = snapshot.policy.mode(own, bound);
        if mode.mode == Mode::Strict {
            let document = mode.document.map_or_else(String::new, ToString::to_string);
            texts.push(format!(
                "{document} takes only mutual TLS of the mesh on port {bound} of this pod: write PERMISSIVE or DISABLE for it, or \
                 nobody from outside is let in"
            ));
        }
    }
    texts
}
