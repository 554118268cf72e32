//! Answers what the admin side of a gateway asks.

use std::{sync::Arc, time::SystemTime};

use axum::{Json, Router, extract::State, routing::get};
use jiff::Timestamp;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use super::follow::Condition;
use crate::{
    admin::{Health, api},
    app::{inspect, offload, trust},
    config::GatewayConfig,
    control::SourceStatus,
    policy::{Clients, Family, Served, Work},
    proxy::Gateway,
    trust::TrustReader,
};

/// Handles on everything that can be asked for.
pub(super) struct Inspector {
    pub(super) started: SystemTime,
    pub(super) config: GatewayConfig,
    pub(super) gateway: Arc<Gateway>,
    pub(super) source: watch::Receiver<SourceStatus>,
    pub(super) condition: watch::Receiver<Condition>,
    pub(super) trust: TrustReader,
}

/// Writes the log line `ready` once nothing is missing any more.
pub(super) async fn announce_ready(inspector: Arc<Inspector>, stop: CancellationToken) {
    let (mut source, mut condition) = (inspector.source.clone(), inspector.condition.clone());
    while !inspector.unready().is_empty() {
        tokio::select! {
            () = stop.cancelled() => return,
            changed = source.changed() => if changed.is_err() { return },
            changed = condition.changed() => if changed.is_err() { return },
        }
    }
    tracing::info!("ready");
}

impl Health for Inspector {
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
        self.gateway.metrics.render()
    }
}

impl Inspector {
    /// What the Unix socket answers.
    pub(super) fn router(self: &Arc<Self>) -> Router {
        Router::new()
            .route("/v1/status", get(status))
            .route("/v1/connections", get(connections))
            .with_state(Arc::clone(self))
    }

    fn status(&self) -> api::GatewayStatus {
        let unready = self.unready();
        let source = self.source.borrow().clone();
        let condition = self.condition.borrow().clone();
        let (pending, limit) = self.gateway.pending.usage();
        api::GatewayStatus {
            role: api::GATEWAY.to_owned(),
            version: env!("CARGO_PKG_VERSION").to_owned(),
            pod: self.config.pod.to_string(),
            ready: unready.is_empty(),
            unready,
            started_at: inspect::timestamp(self.started),
            uptime_seconds: self.started.elapsed().unwrap_or_default().as_secs(),
            generation: source.generation,
            changed_at: condition.changed_at,
            enrolled: self.gateway.entrance().map(|e| e.own.enrolled),
            listeners: condition.listeners.iter().map(listener).collect(),
            servers: self.servers(),
            credentials: credentials(&condition),
            problems: condition.problems,
            source: inspect::source(self.config.source.display().to_string(), source),
            trusted: trust::status(&self.trust),
            kernel_tls: offload::status(&self.gateway.offload),
            connections: self.gateway.connections.len() as u64,
            limits: vec![inspect::pending(pending, limit)],
        }
    }

    fn servers(&self) -> Vec<api::GatewayServer> {
        let Some(entrance) = self.gateway.entrance() else {
            return Vec::new();
        };
        let gateways = entrance.snapshot.policy.routes().gateways();
        gateways.of(&entrance.own.labels).map(server).collect()
    }
}

fn listener(listener: &super::follow::Listener) -> api::Listener {
    api::Listener {
        port: listener.port,
        listen: listener.bound,
        protocol: match listener.family {
            Family::Http => "HTTP",
            Family::Tcp => "TCP",
            Family::Tls => "TLS",
        }
        .to_owned(),
        error: listener.error.clone(),
    }
}

fn server(served: Served<'_>) -> api::GatewayServer {
    let (mode, credential) = match &served.server.work {
        Work::Redirect => ("redirect", None),
        Work::Http => ("HTTP", None),
        Work::Tcp => ("TCP", None),
        Work::Passthrough => ("PASSTHROUGH", None),
        Work::Terminate(tls) => {
            let mode = match tls.clients {
                Clients::Anybody => "SIMPLE",
                Clients::Optional => "OPTIONAL_MUTUAL",
                Clients::Certified => "MUTUAL",
            };
            (mode, Some(tls.credential.to_string()))
        }
    };
    api::GatewayServer {
        gateway: served.gateway.to_string(),
        port: served.server.port,
        hosts: served.server.hosts().collect(),
        mode: mode.to_owned(),
        credential,
    }
}

fn credentials(condition: &Condition) -> Vec<api::Credential> {
    let all = condition.credentials.iter();
    let shown = all.map(|(credential, state)| api::Credential {
        name: credential.to_string(),
        in_force: state.not_after.is_some(),
        not_after: state.not_after.and_then(|s| Timestamp::from_second(s).ok()),
        error: state.error.clone(),
    });
    shown.collect()
}

async fn status(State(inspector): State<Arc<Inspector>>) -> Json<api::GatewayStatus> {
    Json(inspector.status())
}

async fn connections(State(inspector): State<Arc<Inspector>>) -> Json<Vec<api::Connection>> {
    let list = inspector.gateway.connections.list();
    Json(list.iter().map(|c| inspect::connection::shown(c)).collect())
}
