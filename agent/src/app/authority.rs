//! The CA service as a process: what it is made of, and the order in which it starts and stops.

use std::{sync::Arc, time::SystemTime};

use anyhow::Context as _;
use axum::{Json, Router, extract::State, routing::get};
use jiff::Timestamp;
use tokio::{
    net::TcpListener,
    signal::unix::{SignalKind, signal},
    sync::watch,
    task::JoinSet,
};
use tokio_util::sync::CancellationToken;

use crate::{
    admin::{AdminSocket, Health, api, serve_http},
    ca::{self, CaService, EmbeddedCa, Placement, ServiceSettings, TokenKeys, Tokens},
    config::CaServeConfig,
    control::{FileSource, Settings, SourceStatus},
    identity::SpiffeId,
    store::{self, Reader},
    telemetry::CaMetrics,
};

/// Runs the CA service until SIGTERM or SIGINT.
///
/// # Errors
/// When something that it can't be without is missing: the error names it and the remedy.
pub async fn serve_ca(config: CaServeConfig) -> anyhow::Result<()> {
    let socket = AdminSocket::bind(&config.socket)?;
    let http = TcpListener::bind(config.admin)
        .await
        .with_context(|| format!("--admin {}", config.admin))?;
    let listener = TcpListener::bind(config.listen)
        .await
        .with_context(|| format!("--listen {}", config.listen))?;
    let metrics = CaMetrics::new().context("metrics")?;
    let ca = EmbeddedCa::open(&config.dir, &config.mesh.trust_domain, config.max_ttl)?;
    let ca = Arc::new(ca);
    metrics.set_expiry(ca.not_after());
    let (writer, store) = store::store();
    let source = config.source.clone().map(|dir| {
        let settings = Settings::from(config.mesh.clone());
        FileSource::new(dir, settings, writer)
    });
    let (source, source_status) = source.unzip();
    let service = service(&config, Arc::clone(&ca), store, metrics.clone())?;
    let inspector = Arc::new(Inspector {
        ca,
        metrics,
        source: source_status,
        listen: config.listen,
        started: SystemTime::now(),
    });

    let (stop, mut tasks) = (told()?, JoinSet::new());
    tasks.spawn(serve_http(http, inspector.clone(), stop.clone()));
    tasks.spawn(socket.serve_router(inspector.router(), stop.clone()));
    if let Some(source) = source {
        tasks.spawn(source.run(stop.clone()));
    }
    tracing::info!(listen = %config.listen, names = ?config.names, "ready");
    let served = ca::serve(service, listener, config.names, stop.clone()).await;
    stop.cancel();
    while tasks.join_next().await.is_some() {}
    tracing::info!("stopped");
    Ok(served?)
}

fn service(
    config: &CaServeConfig,
    ca: Arc<EmbeddedCa>,
    store: Reader,
    metrics: CaMetrics,
) -> anyhow::Result<CaService> {
    let tokens = match config.tokens.clone() {
        Some((path, rules)) => Tokens::Keys(TokenKeys::open(&path, rules)?),
        None => Tokens::Untrusted,
    };
    let settings = ServiceSettings {
        node_accounts: config.node_accounts.clone(),
        rate: config.rate,
    };
    let pods = Arc::new(Pods(store));
    Ok(CaService::new(ca, tokens, pods, settings, metrics))
}

/// Cancelled by a signal.
fn told() -> anyhow::Result<CancellationToken> {
    let mut terminate = signal(SignalKind::terminate()).context("SIGTERM")?;
    let mut interrupt = signal(SignalKind::interrupt()).context("SIGINT")?;
    let stop = CancellationToken::new();
    let told = stop.clone();
    tokio::spawn(async move {
        tokio::select! {
            _ = terminate.recv() => {}
            _ = interrupt.recv() => {}
        }
        told.cancel();
    });
    Ok(stop)
}

/// Pods as the source has them.
struct Pods(Reader);

impl Placement for Pods {
    fn runs_on(&self, identity: &SpiffeId, node: &str) -> bool {
        let snapshot = self.0.current();
        snapshot
            .workloads()
            .any(|w| w.identity == *identity && w.node == node)
    }

    fn exists(&self, identity: &SpiffeId) -> bool {
        let snapshot = self.0.current();
        snapshot.workloads().any(|w| w.identity == *identity)
    }
}

struct Inspector {
    ca: Arc<EmbeddedCa>,
    metrics: CaMetrics,
    source: Option<watch::Receiver<SourceStatus>>,
    listen: std::net::SocketAddr,
    started: SystemTime,
}

impl Health for Inspector {
    fn unready(&self) -> Vec<String> {
        let mut missing = Vec::new();
        if let Some(source) = self.source.as_ref().map(|source| source.borrow())
            && source.generation == 0
        {
            missing.push(match source.errors.first() {
                Some(error) => format!("source: {error}"),
                None => "source: not loaded yet".to_owned(),
            });
        }
        if self.ca.not_after() <= SystemTime::now() {
            missing.push("ca: its certificate, or one above it, has expired".to_owned());
        }
        missing
    }

    fn metrics(&self) -> String {
        self.metrics.render()
    }
}

impl Inspector {
    fn router(self: &Arc<Self>) -> Router {
        Router::new()
            .route("/v1/ca", get(status))
            .with_state(Arc::clone(self))
    }

    fn status(&self) -> api::CaStatus {
        let unready = self.unready();
        let (signed, refused) = self.metrics.totals();
        let source = self.source.as_ref().map(|source| source.borrow().clone());
        api::CaStatus {
            version: env!("CARGO_PKG_VERSION").to_owned(),
            ready: unready.is_empty(),
            unready,
            uptime_seconds: self.started.elapsed().unwrap_or_default().as_secs(),
            listen: self.listen.to_string(),
            trust_domain: self.ca.trust_domain().to_string(),
            not_after: Timestamp::try_from(self.ca.not_after()).unwrap_or(Timestamp::MAX),
            max_ttl_seconds: self.ca.ttl().as_secs(),
            signed,
            refused,
            source_errors: source.map(|source| source.errors).unwrap_or_default(),
        }
    }
}

async fn status(State(inspector): State<Arc<Inspector>>) -> Json<api::CaStatus> {
    Json(inspector.status())
}
