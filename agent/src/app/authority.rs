//! The CA service as a process: what it is made of, and the order in which it starts and stops.

mod pods;

use std::{
    sync::Arc,
    time::{Duration, SystemTime},
};

use anyhow::Context as _;
use axum::{Json, Router, extract::State, routing::get};
use tokio::{
    net::TcpListener,
    signal::unix::{SignalKind, signal},
    sync::watch,
    task::JoinSet,
};
use tokio_util::sync::CancellationToken;

use self::pods::Pods;
use super::source::Source;
use crate::{
    admin::{AdminSocket, Health, api, serve_http},
    ca::{
        self, CaService, EmbeddedCa, Reviews, Revocation, ServiceSettings, Stage, TokenKeys, Tokens,
    },
    config::{CaServeConfig, TokenSource},
    control::{Asking, Settings, SourceStatus, TokenReviews, connect},
    identity::TrustDomain,
    store,
    telemetry::CaMetrics,
    tls::CertificateId,
    trust::TrustReader,
};

/// The directory is looked at every second; another process may have it locked for a while.
const OVERDUE: Duration = Duration::from_secs(300);

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
    let (domain, names) = (&config.mesh.trust_domain, &config.names);
    let ca = EmbeddedCa::open_for_service(&config.dir, domain, config.max_ttl, names)?;
    let ca = Arc::new(ca);
    let (trust, trusted) = super::trust::open(&config.trust, ca.bundles())?;
    let (writer, store) = store::store();
    let settings = Settings::from(config.mesh.clone());
    let (source, source_status) = match &config.source {
        Some(source) => Some(Source::open(source, None, settings, writer).await?).unzip(),
        None => (None, None),
    };
    let revocation = Revoked {
        trusted,
        domain: config.mesh.trust_domain.clone(),
    };
    let placement = Arc::new(Pods::new(store));
    let tokens = tokens(&config).await?;
    let keys = match &tokens {
        Tokens::Keys(keys) => Some(Arc::clone(keys)),
        Tokens::Untrusted | Tokens::Reviews(_) => None,
    };
    let vouching = (tokens, placement);
    let service = service(&config, &ca, vouching, Arc::new(revocation), &metrics);
    let inspector = Arc::new(Inspector {
        ca: Arc::clone(&ca),
        metrics: metrics.clone(),
        keys,
        source: source_status,
        listen: config.listen,
        started: SystemTime::now(),
    });

    let (stop, mut tasks) = (told()?, JoinSet::new());
    tasks.spawn(serve_http(http, inspector.clone(), stop.clone()));
    tasks.spawn(socket.serve_router(inspector.router(), stop.clone()));
    super::trust::spawn(trust, &mut tasks, &stop);
    tasks.spawn(Arc::clone(&ca).follow(stop.clone()));
    tasks.spawn(watch_state(ca, metrics, stop.clone()));
    if let Some(source) = source {
        tasks.spawn(source.run(stop.clone()));
    }
    tracing::info!(listen = %config.listen, names = ?config.names, "ready");
    let served = ca::serve(service, listener, config.names, stop.clone()).await;
    stop.cancel();
    super::end(&mut tasks).await;
    tracing::info!("stopped");
    Ok(served?)
}

async fn tokens(config: &CaServeConfig) -> anyhow::Result<Tokens> {
    let rules = config.token_rules.clone();
    Ok(match &config.tokens {
        TokenSource::Nobody => Tokens::Untrusted,
        TokenSource::Keys(path) => Tokens::Keys(Arc::new(TokenKeys::open(path, rules)?)),
        TokenSource::Cluster(kubeconfig) => {
            let reviewer =
                TokenReviews::new(connect(kubeconfig.as_deref(), Asking::CaService).await?);
            Tokens::Reviews(Box::new(Reviews::new(Box::new(reviewer), rules.audience)))
        }
    })
}

fn service(
    config: &CaServeConfig,
    ca: &Arc<EmbeddedCa>,
    (tokens, placement): (Tokens, Arc<Pods>),
    revocation: Arc<Revoked>,
    metrics: &CaMetrics,
) -> CaService {
    let settings = ServiceSettings {
        revocation,
        node_accounts: config.node_accounts.clone(),
        rate: config.rate,
    };
    CaService::new(Arc::clone(ca), tokens, placement, settings, metrics.clone())
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

/// Tells the metrics what becomes of the CA's keys.
async fn watch_state(ca: Arc<EmbeddedCa>, metrics: CaMetrics, stop: CancellationToken) {
    let mut states = ca.state();
    loop {
        let rotation = states.borrow_and_update().rotation;
        let stage = rotation.map_or(Stage::Stable, |rotation| rotation.stage);
        metrics.set_rotation(stage.as_str(), Stage::ALL.map(Stage::as_str));
        metrics.set_expiry(ca.not_after());
        tokio::select! {
            () = stop.cancelled() => return,
            changed = states.changed() => if changed.is_err() { return },
        }
    }
}

/// What `--crl` says.
struct Revoked {
    trusted: TrustReader,
    domain: TrustDomain,
}

impl Revocation for Revoked {
    fn revokes(&self, chain: &[CertificateId]) -> bool {
        !self.trusted.anchors().still_trusts(&self.domain, chain)
    }
}

struct Inspector {
    ca: Arc<EmbeddedCa>,
    metrics: CaMetrics,
    keys: Option<Arc<TokenKeys>>,
    source: Option<watch::Receiver<SourceStatus>>,
    listen: std::net::SocketAddr,
    started: SystemTime,
}

impl Health for Inspector {
    fn unready(&self) -> Vec<String> {
        let mut missing = Vec::new();
        if let Some(source) = self.source.as_ref().map(|source| source.borrow().clone())
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
        let unseen = self.ca.unseen();
        if unseen > OVERDUE {
            missing.push(format!(
                "ca: {} hasn't been looked at for {} s: another process may have it locked",
                self.ca.directory().display(),
                unseen.as_secs()
            ));
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
        let state = self.ca.state().borrow().clone();
        let mut errors = source.map(|source| source.errors).unwrap_or_default();
        errors.extend(self.keys.as_ref().and_then(|keys| keys.fault()));
        api::CaStatus {
            version: env!("CARGO_PKG_VERSION").to_owned(),
            ready: unready.is_empty(),
            unready,
            uptime_seconds: self.started.elapsed().unwrap_or_default().as_secs(),
            listen: self.listen.to_string(),
            trust_domain: self.ca.trust_domain().to_string(),
            keys: api::CaKeys::new(self.ca.directory(), &state),
            max_ttl_seconds: self.ca.ttl().as_secs(),
            signed,
            refused,
            source_errors: errors,
        }
    }
}

async fn status(State(inspector): State<Arc<Inspector>>) -> Json<api::CaStatus> {
    Json(inspector.status())
}
