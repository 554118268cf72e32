//! Wires everything together: the order in which things start, and the order in which they drain.
//!
//! Start: certificates, kernel programs, sources; ready once the first snapshot is enrolled. Stop: connections drain
//! and new ones are still taken, for nobody else would; then capture ends (the lease ends, the kernel follows policy of
//! agent loss), the last connections drain, and the admin side goes.

mod authority;
mod desired;
mod gateway;
mod inspect;
mod notices;
mod offload;
mod source;
mod taint;
mod trust;

use std::{
    collections::HashSet,
    sync::Arc,
    time::{Duration, SystemTime},
};

use anyhow::Context as _;
use rustix::process::{Resource, getrlimit, setrlimit};
use tokio::{
    net::TcpListener,
    signal::unix::{SignalKind, signal},
    sync::{mpsc, watch},
    task::{JoinHandle, JoinSet, block_in_place},
    time::timeout,
};
use tokio_util::sync::CancellationToken;

use crate::{
    admin::{AdminSocket, serve_http},
    ca::{CaClient, EmbeddedCa, Issuer, SvidReader, Svids},
    capture::{Capture, CaptureConfig, Desired, Flows, Kubelet, Notice},
    config::{AgentConfig, CaSource, SourceConfig},
    control::{Settings, SourceStatus},
    identity::{SpiffeId, Svid},
    proxy::{self, Connections, Offload, Pending, Pods, Proxy, RecentFlows, Timeouts},
    spire::{self, SpireAgent},
    store::{self, Reader, Snapshot},
    telemetry::Metrics,
    tls::{Credentials, TlsConfigs, TrustAnchors},
    trust::{Trust, TrustReader},
    workload::Workload,
};
pub use authority::serve_ca;
pub use gateway::run_gateway;
use inspect::Inspector;
use source::{Node, Source};

/// For everything to end in, when all connections have.
const LAST_STEPS: Duration = Duration::from_secs(10);

/// This part of the time to drain is left when new connections are no longer taken, so that the last ones have some.
const LAST_PART: u32 = 10;

/// For an endpoint to answer a connect: the client has its connection already and waits.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);

/// Runs the agent until SIGTERM or SIGINT.
///
/// # Errors
/// When something that it can't be without is missing: the error names it and the remedy.
pub async fn run(config: AgentConfig) -> anyhow::Result<()> {
    raise_descriptor_limit();
    let parts = Parts::assemble(&config).await?;
    let (proxy, inspector) = (Arc::clone(&parts.proxy), Arc::clone(&parts.inspector));
    let (stop, admin_stop) = (CancellationToken::new(), CancellationToken::new());
    let mut tasks = JoinSet::new();
    let captured = parts.spawn(&mut tasks, &stop, &admin_stop, config.node);

    let result = serve(captured, &proxy.connections, config.serve.drain, &stop).await;
    let last = config.serve.drain / LAST_PART;
    proxy.connections.drain(last).await;
    inspector.recordings.stop.cancel();
    admin_stop.cancel();
    end(&mut tasks).await;
    tracing::info!("stopped");
    result
}

/// Everything that runs, before it does.
struct Parts {
    socket: AdminSocket,
    http: TcpListener,
    metrics: Metrics,
    svids: Arc<Svids<Issuer>>,
    trust: (Trust, TrustReader),
    capture: Capture,
    notices: mpsc::UnboundedReceiver<Notice>,
    source: Source,
    source_status: watch::Receiver<SourceStatus>,
    store: Reader,
    proxy: Arc<Proxy>,
    inspector: Arc<Inspector>,
}

impl Parts {
    async fn assemble(config: &AgentConfig) -> anyhow::Result<Self> {
        // Taken first: it also keeps a second agent from starting on this node.
        let socket = AdminSocket::bind(&config.socket)?;
        let http = TcpListener::bind(config.admin)
            .await
            .with_context(|| format!("--admin {}", config.admin))?;
        let metrics = Metrics::new().context("metrics")?;
        let issuer = issuer(config)?;
        let svids = Svids::new(issuer, Arc::new(SystemTime::now), metrics.clone());
        let svids = Arc::new(svids);
        let (trust, trusted) = trust::open(&config.trust, svids.issuer().bundle())?;
        let offload = offload::start(&config.serve, &metrics).await;
        let (capture, handles) =
            Capture::attach(capture_config(config), config.lease).context("capture")?;
        let (writer, store) = store::store();
        let settings = Settings::from(config.mesh.clone());
        let node = Some(Node {
            name: config.node.clone(),
            cgroup_root: config.cgroup_root.clone(),
        });
        let (source, source_status) = Source::open(&config.source, node, settings, writer).await?;
        let (reader, counters) = (store.clone(), metrics.clone());
        let credentials = NodeCredentials {
            svids: svids.reader(),
            trust: trusted.clone(),
        };
        let kubelet = Kubelet::new(config.kubelet_cgroup.clone()).context("kubelet")?;
        let seen = (handles.flows, kubelet);
        let proxy = Arc::new(proxy(config, reader, seen, credentials, offload, counters));
        let inspector = Arc::new(Inspector {
            started: SystemTime::now(),
            store: store.clone(),
            source: source_status.clone(),
            capture: handles.status,
            wire: handles.wire,
            attestations: handles.attestations,
            svids: Arc::clone(&svids),
            trust: trusted.clone(),
            proxy: Arc::clone(&proxy),
            config: config.clone(),
            recordings: inspect::Recordings::default(),
        });
        Ok(Self {
            socket,
            http,
            metrics,
            svids,
            trust: (trust, trusted),
            capture,
            notices: handles.notices,
            source,
            source_status,
            store,
            proxy,
            inspector,
        })
    }

    /// Returns the task of capture; `tasks` end after `stop`, the admin side after `admin_stop`.
    fn spawn(
        self,
        tasks: &mut JoinSet<()>,
        stop: &CancellationToken,
        admin_stop: &CancellationToken,
        node: String,
    ) -> JoinHandle<()> {
        let (proxy, svids, inspector) = (self.proxy, self.svids, self.inspector);
        tasks.spawn(serve_http(self.http, inspector.clone(), admin_stop.clone()));
        tasks.spawn(self.socket.serve(inspector.clone(), admin_stop.clone()));
        let (sender, desired) = watch::channel(None);
        let keeping = (Arc::clone(&svids), Arc::clone(&proxy));
        let followed = follow(self.store, node, keeping, sender, stop.clone());
        tasks.spawn(followed);
        if let Some(ca) = svids.issuer().embedded() {
            tasks.spawn(ca.follow(stop.clone()));
        }
        tasks.spawn(forget(svids.published(), Arc::clone(&proxy), stop.clone()));
        let renewal_stop = stop.clone();
        tasks.spawn(async move { svids.run(renewal_stop).await });
        tasks.spawn(self.source.run(stop.clone()));
        let (trust, trusted) = self.trust;
        trust::spawn(trust, tasks, stop);
        tokio::spawn(proxy::enforce_trust(Arc::clone(&proxy), trusted));
        tokio::spawn(proxy::enforce(Arc::clone(&proxy)));
        tokio::spawn(proxy::enforce_unseen(Arc::clone(&proxy)));
        tokio::spawn(notices::handle(self.notices, proxy));
        let capture = inspector.capture.clone();
        tokio::spawn(notices::watch_capture(capture, self.metrics.clone()));
        tokio::spawn(notices::watch_source(self.source_status, self.metrics));
        tokio::spawn(inspect::announce_ready(inspector, stop.clone()));
        tokio::spawn(self.capture.run(desired, stop.clone()))
    }
}

fn issuer(config: &AgentConfig) -> anyhow::Result<Issuer> {
    Ok(match &config.ca {
        CaSource::Directory(dir) => {
            let domain = &config.mesh.trust_domain;
            let ca = EmbeddedCa::open(dir, domain, config.svid_ttl)?;
            Issuer::Embedded(Arc::new(ca))
        }
        CaSource::Service(settings) => Issuer::Service(Box::new(CaClient::new(settings.clone())?)),
        CaSource::Spire(socket) => {
            let domain = config.mesh.trust_domain.clone();
            Issuer::Spire(Box::new(SpireAgent::new(socket.clone(), domain)?))
        }
    })
}

/// Two descriptors for every connection: as many as this process may have.
fn raise_descriptor_limit() {
    let mut limit = getrlimit(Resource::Nofile);
    limit.current = limit.maximum;
    if let Err(error) = setrlimit(Resource::Nofile, limit) {
        tracing::warn!(%error, "can't raise the limit of open files");
    }
}

fn capture_config(config: &AgentConfig) -> CaptureConfig {
    CaptureConfig {
        cgroup_root: config.cgroup_root.clone(),
        bpffs: config.bpffs.clone(),
        attests: config.attests,
        hold_back: matches!(
            config.source,
            SourceConfig::Cluster {
                hold_back: true,
                ..
            }
        ),
        trace: tracing::enabled!(target: "sealane::capture", tracing::Level::DEBUG),
    }
}

fn proxy(
    config: &AgentConfig,
    store: Reader,
    (flows, kubelet): (Flows, Kubelet),
    credentials: NodeCredentials,
    offload: Offload,
    metrics: Metrics,
) -> Proxy {
    Proxy {
        store,
        tls: TlsConfigs::new(
            Arc::new(credentials),
            &offload::suites(&offload),
            config.client_files.clone(),
        ),
        offload,
        flows,
        kubelet: Arc::new(kubelet),
        connections: Arc::new(Connections::default()),
        pending: Arc::new(Pending::default()),
        pods: Pods::default(),
        recent: RecentFlows::new(config.flow_retention),
        metrics,
        timeouts: Timeouts {
            handshake: config.serve.handshake_timeout,
            detect: config.detect_timeout,
            connect: CONNECT_TIMEOUT,
        },
    }
}

/// Captures until there is a signal and connections have drained, or capture fails.
async fn serve(
    mut captured: JoinHandle<()>,
    connections: &Connections,
    drain: Duration,
    stop: &CancellationToken,
) -> anyhow::Result<()> {
    let told = async {
        told_to_stop().await?;
        let open = connections.len();
        tracing::info!(connections = open, limit = ?drain, "draining, new connections are still taken");
        connections.become_empty(drain - drain / LAST_PART).await;
        anyhow::Ok(true)
    };
    let told = tokio::select! {
        told = told => told,
        _ = &mut captured => Ok(false),
    };
    stop.cancel();
    anyhow::ensure!(told?, "capture has ended by itself: see the log");
    captured.await.context("capture")
}

/// Waits for what has been told to end. A task that hangs is left as it is.
async fn end(tasks: &mut JoinSet<()>) {
    let ended = async { while tasks.join_next().await.is_some() {} };
    if timeout(LAST_STEPS, ended).await.is_err() {
        tracing::error!("a task doesn't end, and is left as it is");
    }
}

async fn told_to_stop() -> anyhow::Result<()> {
    let mut terminate = signal(SignalKind::terminate()).context("SIGTERM")?;
    let mut interrupt = signal(SignalKind::interrupt()).context("SIGINT")?;
    tokio::select! {
        _ = terminate.recv() => {}
        _ = interrupt.recv() => {}
    }
    Ok(())
}

/// From each snapshot: SVIDs for the identities of this node's pods first, then capture.
async fn follow(
    mut reader: Reader,
    node: String,
    (svids, proxy): (Arc<Svids<Issuer>>, Arc<Proxy>),
    desired: watch::Sender<Option<Desired>>,
    stop: CancellationToken,
) {
    loop {
        let snapshot = tokio::select! {
            () = stop.cancelled() => return,
            snapshot = reader.changed() => snapshot,
        };
        let Some(snapshot) = snapshot else { return };
        let identities = identities(&snapshot, &node);
        let selectors = || spire::selectors(own(&snapshot, &node));
        svids.issuer().attend(selectors);
        svids.want(&identities).await;
        let certificates = snapshot.policy.clients().certificates().cloned();
        proxy.tls.retain(identities, certificates.collect());
        let wanted = block_in_place(|| desired::desired(&snapshot, &node));
        desired.send_replace(Some(wanted));
    }
}

/// Keys that are not used any more stay nowhere.
async fn forget(mut published: watch::Receiver<()>, proxy: Arc<Proxy>, stop: CancellationToken) {
    while let Some(Ok(())) = stop.run_until_cancelled(published.changed()).await {
        proxy.tls.retain_current();
    }
}

fn identities(snapshot: &Snapshot, node: &str) -> HashSet<SpiffeId> {
    own(snapshot, node).map(|w| w.identity.clone()).collect()
}

/// The enrolled pods of a node.
fn own<'s>(snapshot: &'s Snapshot, node: &str) -> impl Iterator<Item = &'s Workload> {
    let workloads = snapshot.workloads();
    workloads
        .filter(move |w| w.enrolled && *w.node.name == *node)
        .map(|w| &**w)
}

struct NodeCredentials {
    svids: SvidReader,
    trust: TrustReader,
}

impl Credentials for NodeCredentials {
    fn svid(&self, id: &SpiffeId) -> Option<Arc<Svid>> {
        self.svids.get(id)
    }

    fn anchors(&self) -> Arc<TrustAnchors> {
        self.trust.anchors()
    }
}

#[cfg(test)]
mod tests {
    use std::future;

    use super::*;

    #[tokio::test]
    async fn the_end_comes_whatever_hangs() {
        let mut tasks = JoinSet::new();
        tasks.spawn(future::pending());
        let ended = timeout(LAST_STEPS + Duration::from_secs(5), end(&mut tasks));
        ended.await.expect("it ends");
    }
}
