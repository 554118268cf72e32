//! `sealane gateway`: the order in which its parts start, and in which they drain.
//!
//! Ready once the objects have been read and the ports of its Gateways are open. Stop: the ports close first, then
//! connections drain, then the admin side goes.

mod configs;
mod credentials;
mod follow;

use std::{collections::HashMap, sync::Arc};

use anyhow::Context as _;
use arc_swap::ArcSwapOption;
use tokio::{net::TcpListener, sync::watch, task::JoinSet};
use tokio_util::sync::CancellationToken;

use super::{CONNECT_TIMEOUT, notices, offload, raise_descriptor_limit, told_to_stop};
use crate::{
    admin::{Health, serve_http},
    config::GatewayConfig,
    control::{FileSource, Settings, SourceStatus},
    proxy::{Connections, Gateway, Offload, Pending, Timeouts},
    store,
    telemetry::Metrics,
    tls::Terminations,
};
use configs::Configs;
use follow::{Condition, Follower};

/// Runs a gateway until SIGTERM or SIGINT.
///
/// # Errors
/// When something that it can't be without is missing: the error names it and the remedy.
pub async fn run_gateway(config: GatewayConfig) -> anyhow::Result<()> {
    raise_descriptor_limit();
    let http = TcpListener::bind(config.admin)
        .await
        .with_context(|| format!("--admin {}", config.admin))?;
    let metrics = Metrics::new().context("metrics")?;
    let drain = config.serve.drain;
    let (stop, admin_stop) = (CancellationToken::new(), CancellationToken::new());
    let mut tasks = JoinSet::new();
    let gateway = start(config, http, metrics, &mut tasks, &stop, &admin_stop).await;
    let told = told_to_stop().await;
    stop.cancel();
    let open = gateway.connections.len();
    tracing::info!(connections = open, limit = ?drain, "draining");
    gateway.connections.drain(drain).await;
    admin_stop.cancel();
    while tasks.join_next().await.is_some() {}
    tracing::info!("stopped");
    told
}

async fn start(
    config: GatewayConfig,
    http: TcpListener,
    metrics: Metrics,
    tasks: &mut JoinSet<()>,
    stop: &CancellationToken,
    admin_stop: &CancellationToken,
) -> Arc<Gateway> {
    let offload = offload::start(&config.serve, &metrics).await;
    let configs = Configs::new(Terminations::new(&offload::suites(&offload)));
    let (writer, store) = store::store();
    let settings = Settings::from(config.mesh.clone());
    let (source, source_status) = FileSource::new(config.source.clone(), settings, writer);
    let gateway = Arc::new(closed(&config, offload, metrics.clone()));
    let (condition, told) = watch::channel(Condition::unread());
    let health = Arc::new(GatewayHealth {
        metrics: metrics.clone(),
        source: source_status.clone(),
        condition: told,
    });
    tasks.spawn(serve_http(http, health.clone(), admin_stop.clone()));
    tasks.spawn(source.run(stop.clone()));
    let follower = Follower {
        config,
        gateway: Arc::clone(&gateway),
        store,
        configs: Some(configs),
        condition,
        metrics: metrics.clone(),
        files: false,
        open: HashMap::new(),
    };
    tasks.spawn(follower.run(stop.clone()));
    tokio::spawn(notices::watch_source(source_status, metrics));
    tokio::spawn(announce_ready(health, stop.clone()));
    gateway
}

/// One that lets nobody in yet.
fn closed(config: &GatewayConfig, offload: Offload, metrics: Metrics) -> Gateway {
    Gateway {
        entrance: ArcSwapOption::empty(),
        offload,
        connections: Arc::new(Connections::default()),
        pending: Arc::new(Pending::default()),
        metrics,
        timeouts: Timeouts {
            handshake: config.serve.handshake_timeout,
            detect: config.serve.handshake_timeout,
            connect: CONNECT_TIMEOUT,
        },
    }
}

/// Answers what is asked over HTTP.
struct GatewayHealth {
    metrics: Metrics,
    source: watch::Receiver<SourceStatus>,
    condition: watch::Receiver<Condition>,
}

impl Health for GatewayHealth {
    fn unready(&self) -> Vec<String> {
        let source = self.source.borrow();
        if source.generation > 0 {
            return self.condition.borrow().unready.clone();
        }
        let mut missing = vec!["the objects have not been read yet".to_owned()];
        missing.extend_from_slice(&source.errors);
        missing
    }

    fn metrics(&self) -> String {
        self.metrics.render()
    }
}

/// Writes the log line `ready` once nothing is missing any more.
async fn announce_ready(health: Arc<GatewayHealth>, stop: CancellationToken) {
    let (mut source, mut condition) = (health.source.clone(), health.condition.clone());
    while !health.unready().is_empty() {
        tokio::select! {
            () = stop.cancelled() => return,
            changed = source.changed() => if changed.is_err() { return },
            changed = condition.changed() => if changed.is_err() { return },
        }
    }
    tracing::info!("ready");
}
