//! One HTTP server for both listeners, within bounds: a request per connection, few connections, deadlines.

use std::{sync::Arc, time::Duration};

use axum::{Router, serve::Listener};
use hyper::server::conn::http1;
use hyper_util::{
    rt::{TokioIo, TokioTimer},
    service::TowerToHyperService,
};
use tokio::{sync::Semaphore, task::JoinSet, time};
use tokio_util::sync::CancellationToken;

/// How long a client may take to send its request's head.
const HEADER_DEADLINE: Duration = Duration::from_secs(5);
/// How long a whole exchange may take: also for clients that read slowly.
const EXCHANGE_DEADLINE: Duration = Duration::from_secs(30);
const MAX_CONNECTIONS: usize = 32;
/// What an exchange in progress gets when the agent stops.
const LAST_WORDS: Duration = Duration::from_secs(1);

/// Serves until told to stop.
pub(super) async fn serve<L: Listener>(mut listener: L, router: Router, stop: CancellationToken) {
    let room = Arc::new(Semaphore::new(MAX_CONNECTIONS));
    let mut exchanges = JoinSet::new();
    loop {
        let place = tokio::select! {
            () = stop.cancelled() => break,
            place = Arc::clone(&room).acquire_owned() => place,
        };
        // The semaphore is never closed.
        let Ok(place) = place else { break };
        let io = tokio::select! {
            () = stop.cancelled() => break,
            (io, _) = listener.accept() => io,
        };
        let service = TowerToHyperService::new(router.clone());
        exchanges.spawn(async move {
            let exchange = http1::Builder::new()
                .timer(TokioTimer::new())
                .header_read_timeout(HEADER_DEADLINE)
                .keep_alive(false)
                .serve_connection(TokioIo::new(io), service)
                .with_upgrades();
            match time::timeout(EXCHANGE_DEADLINE, exchange).await {
                Ok(Ok(())) => {}
                Ok(Err(error)) => tracing::debug!(%error, "admin request"),
                Err(_) => tracing::debug!("admin request took too long"),
            }
            drop(place);
        });
        while exchanges.try_join_next().is_some() {}
    }
    drop(listener);
    let finished = async { while exchanges.join_next().await.is_some() {} };
    // What isn't finished then is aborted with the set.
    let _ = time::timeout(LAST_WORDS, finished).await;
}
