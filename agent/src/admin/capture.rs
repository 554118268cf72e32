//! Packets are no answer: the connection is theirs from then on.

use std::sync::Arc;

use axum::{
    Json,
    extract::{Query, Request, State},
    http::{HeaderValue, StatusCode, header},
    response::{IntoResponse, Response},
};
use hyper::upgrade::OnUpgrade;
use tokio::task::spawn_blocking;

use super::{Inspect, api};

pub(super) async fn capture(
    State(inspect): State<Arc<dyn Inspect>>,
    Query(question): Query<api::CaptureQuestion>,
    mut request: Request,
) -> Response {
    let Some(upgrade) = request.extensions_mut().remove::<OnUpgrade>() else {
        return StatusCode::UPGRADE_REQUIRED.into_response();
    };
    let begun = spawn_blocking(move || inspect.capture(&question)).await;
    let recording = match begun {
        Ok(Ok(recording)) => recording,
        Ok(Err(error)) => {
            let complaint = Json(api::Complaint { error });
            return (StatusCode::UNPROCESSABLE_ENTITY, complaint).into_response();
        }
        Err(_) => return StatusCode::INTERNAL_SERVER_ERROR.into_response(),
    };
    tokio::spawn(async move {
        match upgrade.await {
            Ok(upgraded) => recording(upgraded).await,
            Err(error) => tracing::debug!(%error, "nobody wants the packets any more"),
        }
    });
    let headers = [
        (header::CONNECTION, HeaderValue::from_static("upgrade")),
        (header::UPGRADE, HeaderValue::from_static(api::PACKETS)),
    ];
    (StatusCode::SWITCHING_PROTOCOLS, headers).into_response()
}
