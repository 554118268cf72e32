//! What a test can order while the server runs, in the process or as JSON over the admin address.
//!
//! `POST /` takes an [`Order`], `POST /token` a [`TokenFor`] and gives that token, `GET /` gives [`Stats`]. The admin address is plain HTTP, without authentication: for
//! loopback only.

use std::{convert::Infallible, sync::Arc, time::Duration};

use http_body_util::{BodyExt as _, Full};
use hyper::{Method, Request, Response, StatusCode, body::Incoming, service::service_fn};
use hyper_util::rt::TokioIo;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use tokio::net::TcpListener;

use crate::{
    auth::{self, TokenFor},
    faults::{Break, Rule},
    server::Running,
    status::Status,
    synthetic,
};

/// One order.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Order {
    /// Something happens to requests from now on.
    Fault(Rule),
    /// No rule is left; bookmarks are sent again, and old watches get events.
    ClearFaults,
    BreakWatches(Break),
    /// Everything older than now is gone.
    ForgetHistory,
    Bookmarks(bool),
    /// Off: 422 for `sendInitialEvents`.
    StreamingLists(bool),
    /// On: HTTP 410 for watches from forgotten versions. Off: an ERROR event, as the real server's cache does.
    RefuseOldWatches(bool),
    /// All connections are reset and none is accepted for so long.
    Away {
        millis: u64,
    },
    /// All connections are reset.
    Reset,
    /// The server's half of all connections is closed; what clients send is still read.
    HalfClose,
    /// As after a restore of a backup: versions begin anew after `first`, and all connections are reset.
    #[serde(rename_all = "camelCase")]
    Restart {
        first: u64,
    },
    /// Istio's custom resources are defined, or not any more.
    IstioResources(bool),
    /// Makes nodes and running pods.
    Populate(synthetic::Population),
    /// A pod of a population goes, and its successor has its addresses at once. Rounds count from 1.
    Succeed {
        of: synthetic::Population,
        pod: u32,
        round: u32,
    },
    /// Stores an object as it is, with its status, in place of its namesake. Nothing is checked.
    Put(Value),
    /// Removes the object of this kind and name at once, whatever its finalizers.
    Remove(Value),
}

/// What the server has seen and holds.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Stats {
    pub resource_version: u64,
    /// By resource.
    pub objects: Vec<(String, usize)>,
    /// Bytes of JSON that are held, without history.
    pub bytes: usize,
    pub connections: usize,
    pub requests: Vec<Counted>,
    /// Faults that were ordered, with how often they are to happen still.
    pub rules: Vec<Rule>,
}

/// Requests of one kind.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Counted {
    pub user: String,
    pub verb: String,
    /// `plural/subresource.group`, or the path.
    pub resource: String,
    pub count: u64,
}

impl Running {
    /// Does what is ordered; it has happened when this returns.
    ///
    /// # Errors
    /// When objects that the order needs can't be made.
    pub async fn order(self: &Arc<Self>, order: Order) -> Result<(), Status> {
        let faults = &self.cluster.faults;
        match order {
            Order::Fault(rule) => faults.add(rule),
            Order::ClearFaults => faults.clear(),
            Order::BreakWatches(order) => faults.break_watches(order),
            Order::ForgetHistory => self.cluster.store.forget(),
            Order::Bookmarks(on) => faults.set_bookmarks(on),
            Order::StreamingLists(on) => faults.set_streaming_lists(on),
            Order::RefuseOldWatches(on) => faults.set_refuses_old_watches(on),
            Order::Away { millis } => self.leave(Duration::from_millis(millis)).await,
            Order::Reset => self.connections.reset(),
            Order::HalfClose => self.connections.half_close(),
            Order::Restart { first } => {
                self.cluster.store.renumber(first)?;
                self.connections.reset();
            }
            Order::IstioResources(on) => synthetic::istio(&self.cluster, on)?,
            Order::Populate(population) => population.make(&self.cluster)?,
            Order::Succeed { of, pod, round } => of.succeed(&self.cluster, pod, round)?,
            Order::Put(object) => synthetic::replace(&self.cluster, object)?,
            Order::Remove(object) => synthetic::remove(&self.cluster, &object)?,
        }
        Ok(())
    }

    #[must_use]
    pub fn stats(&self) -> Stats {
        let state = self.cluster.store.read();
        let tables = state.ids().filter_map(|id| Some((id, state.table(id)?)));
        let objects = tables.map(|(id, table)| (id.to_owned(), table.objects.len()));
        let held = state
            .ids()
            .filter_map(|id| state.table(id))
            .flat_map(|table| table.objects.values());
        Stats {
            resource_version: state.version,
            objects: objects.collect(),
            bytes: held.map(|object| object.size()).sum(),
            connections: self.connections.count(),
            requests: self.cluster.counted(),
            rules: self.cluster.faults.rules(),
        }
    }
}

/// Serves the admin address until the server stops.
pub async fn serve(listener: TcpListener, running: Arc<Running>) {
    loop {
        let Ok((stream, _)) = listener.accept().await else {
            continue;
        };
        let running = Arc::clone(&running);
        tokio::spawn(async move {
            let service = service_fn(|request| answer(Arc::clone(&running), request));
            let io = TokioIo::new(stream);
            let _ = hyper::server::conn::http1::Builder::new()
                .serve_connection(io, service)
                .await;
        });
    }
}

async fn answer(
    running: Arc<Running>,
    request: Request<Incoming>,
) -> Result<Response<Full<hyper::body::Bytes>>, Infallible> {
    let is_token = request.uri().path() == "/token";
    let (code, text) = if request.method() == Method::POST {
        let body = request
            .into_body()
            .collect()
            .await
            .map(|body| body.to_bytes())
            .unwrap_or_default();
        let done = if is_token {
            let wanted = serde_json::from_slice::<TokenFor>(&body);
            wanted.map(|wanted| auth::token(&running.cluster, &wanted))
        } else {
            match serde_json::from_slice::<Order>(&body) {
                Ok(order) => Ok(running.order(order).await.map(|()| "{}".to_owned())),
                Err(error) => Err(error),
            }
        };
        match done {
            Ok(Ok(text)) => (StatusCode::OK, text),
            Ok(Err(status)) => (StatusCode::INTERNAL_SERVER_ERROR, status.to_string()),
            Err(error) => (StatusCode::BAD_REQUEST, error.to_string()),
        }
    } else {
        (
            StatusCode::OK,
            serde_json::to_string(&running.stats()).unwrap_or_default(),
        )
    };
    let mut response = Response::new(Full::from(text + "\n"));
    *response.status_mut() = code;
    Ok(response)
}
