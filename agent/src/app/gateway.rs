//! `sealane gateway`: the order in which its parts start, and in which they drain.
//!
//! Ready once the objects have been read and the ports of its Gateways are open. Stop: the ports close first, then
//! connections drain, then the admin side goes.

mod configs;
mod credentials;
mod follow;
mod objections;
mod status;

use std::{collections::HashMap, fmt, sync::Arc, time::SystemTime};

use anyhow::Context as _;
use tokio::{net::TcpListener, sync::watch, task::JoinSet};
use tokio_util::sync::CancellationToken;

use super::{CONNECT_TIMEOUT, end, notices, offload, raise_descriptor_limit, told_to_stop, trust};
use crate::{
    admin::{AdminSocket, serve_http},
    config::GatewayConfig,
    control::{FileSource, Settings},
    identity::TrustBundle,
    proxy::{Gateway, Timeouts},
    store,
    telemetry::Metrics,
    tls::{Revocations, Terminations, TrustAnchors},
    trust::{Trust, TrustReader},
};
use configs::Configs;
use follow::{Condition, Follower};
use status::Inspector;

/// Runs a gateway until SIGTERM or SIGINT.
///
/// # Errors
/// When something that it can't be without is missing: the error names it and the remedy.
pub async fn run_gateway(config: GatewayConfig) -> anyhow::Result<()> {
    raise_descriptor_limit();
    let socket = config.socket.as_deref().map(AdminSocket::bind);
    let socket = socket.transpose()?;
    let http = TcpListener::bind(config.admin)
        .await
        .with_context(|| format!("--admin {}", config.admin))?;
    let metrics = Metrics::new().context("metrics")?;
    let (authorities, own) = watch::channel(Arc::default());
    let trust = trust::open(&config.trust, own)?;
    let drain = config.serve.drain;
    let (stop, admin_stop) = (CancellationToken::new(), CancellationToken::new());
    let mut tasks = JoinSet::new();
    let doors = Doors { http, socket };
    let gateway = start(
        config,
        doors,
        (trust, authorities),
        metrics,
        &mut tasks,
        (&stop, &admin_stop),
    )
    .await;
    let told = told_to_stop().await;
    stop.cancel();
    let open = gateway.connections.len();
    tracing::info!(connections = open, limit = ?drain, "draining");
    gateway.connections.drain(drain).await;
    admin_stop.cancel();
    end(&mut tasks).await;
    tracing::info!("stopped");
    told
}

/// Where the admin side is asked.
struct Doors {
    http: TcpListener,
    socket: Option<AdminSocket>,
}

async fn start(
    config: GatewayConfig,
    doors: Doors,
    ((trust, trusted), authorities): ((Trust, TrustReader), watch::Sender<Arc<TrustBundle>>),
    metrics: Metrics,
    tasks: &mut JoinSet<()>,
    (stop, admin_stop): (&CancellationToken, &CancellationToken),
) -> Arc<Gateway> {
    let offload = offload::start(&config.serve, &metrics).await;
    let revocations = Arc::new(Revoked(trusted.clone()));
    let configs = Configs::new(Terminations::new(&offload::suites(&offload), revocations));
    let (writer, store) = store::store();
    let settings = Settings::from(config.mesh.clone());
    let (source, source_status) = FileSource::new(config.source.clone(), settings, writer);
    let timeouts = Timeouts {
        handshake: config.serve.handshake_timeout,
        detect: config.serve.handshake_timeout,
        connect: CONNECT_TIMEOUT,
    };
    let gateway = Arc::new(Gateway::new(offload, metrics.clone(), timeouts));
    let (condition, told) = watch::channel(Condition::unread());
    let inspector = Arc::new(Inspector {
        started: SystemTime::now(),
        config: config.clone(),
        gateway: Arc::clone(&gateway),
        source: source_status.clone(),
        condition: told,
        trust: trusted.clone(),
    });
    tasks.spawn(serve_http(
        doors.http,
        inspector.clone(),
        admin_stop.clone(),
    ));
    if let Some(socket) = doors.socket {
        tasks.spawn(socket.serve_router(inspector.router(), admin_stop.clone()));
    }
    tasks.spawn(source.run(stop.clone()));
    trust::spawn(trust, tasks, stop);
    let follower = Follower {
        config,
        gateway: Arc::clone(&gateway),
        store,
        trust: trusted,
        configs: Some(configs),
        authorities,
        condition,
        metrics: metrics.clone(),
        files: false,
        open: HashMap::new(),
    };
    tasks.spawn(follower.run(stop.clone()));
    tokio::spawn(notices::watch_source(source_status, metrics));
    tokio::spawn(status::announce_ready(inspector, stop.clone()));
    gateway
}

struct Revoked(TrustReader);

impl fmt::Debug for Revoked {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Revoked")
    }
}

impl Revocations for Revoked {
    fn anchors(&self) -> Arc<TrustAnchors> {
        self.0.anchors()
    }
}
