//! A handshake within its time, counted: what both directions have in common.

use std::{future::Future, time::Duration};

use tokio::time::{Instant, timeout};

use super::outcome::{Failure, handshake_failure, handshake_timeout};
use crate::{
    telemetry::{Metrics, RefusalReason, Side},
    tls::{Established, HandshakeError},
};

/// Drives `handshake` to its end, at most for `within`.
///
/// # Errors
/// When it failed or took too long; the socket is closed then.
pub(super) async fn shake<P>(
    metrics: &Metrics,
    side: Side,
    within: Duration,
    handshake: impl Future<Output = Result<Established<P>, HandshakeError>>,
) -> Result<Established<P>, Failure> {
    let begun = Instant::now();
    // Boxed: a handshake's state is large, and the task of every idle connection has room for the largest.
    match timeout(within, Box::pin(handshake)).await {
        Ok(Ok(established)) => {
            metrics.handshake_succeeded(side, begun.elapsed());
            Ok(established)
        }
        Ok(Err(error)) => {
            metrics.handshake_failed(side, handshake_failure(&error));
            let reason = RefusalReason::HandshakeFailed;
            Err(Failure::RefusedBecause(reason, error.to_string()))
        }
        Err(_elapsed) => Err(handshake_timeout(metrics, side)),
    }
}
