//! `/metrics`, `/healthz` and `/readyz` over TCP, for Prometheus and the kubelet. Tells nothing else.

use std::sync::Arc;

use axum::{
    Router,
    extract::State,
    http::{StatusCode, header},
    response::IntoResponse,
    routing::get,
};
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;

use super::{Health, serve::serve};

/// <https://prometheus.io/docs/instrumenting/exposition_formats/>
const TEXT_FORMAT: &str = "text/plain; version=0.0.4; charset=utf-8";

/// Serves until told to stop.
pub async fn serve_http(listener: TcpListener, health: Arc<dyn Health>, stop: CancellationToken) {
    let router = Router::new()
        .route("/metrics", get(metrics))
        .route("/healthz", get(|| async { "ok\n" }))
        .route("/readyz", get(ready))
        .with_state(health);
    serve(listener, router, stop).await;
}

async fn metrics(State(health): State<Arc<dyn Health>>) -> impl IntoResponse {
    ([(header::CONTENT_TYPE, TEXT_FORMAT)], health.metrics())
}

async fn ready(State(health): State<Arc<dyn Health>>) -> (StatusCode, String) {
    let missing = health.unready();
    if !missing.is_empty() {
        let text = list("not ready", &missing);
        return (StatusCode::SERVICE_UNAVAILABLE, text);
    }
    let degraded = health.degraded();
    let text = match degraded.is_empty() {
        true => "ready\n".to_owned(),
        false => list("ready, but", &degraded),
    };
    (StatusCode::OK, text)
}

fn list(title: &str, lines: &[String]) -> String {
    format!("{title}:\n- {}\n", lines.join("\n- "))
}
