//! The way of a request: who asks, what faults are ordered, whether they may, and what they get.

mod accept;
mod body;
mod discovery;
mod list;
mod openapi;
mod read;
mod table;
mod watch;
mod write;

use std::{sync::Arc, time::Duration};

use http_body_util::{BodyExt as _, Limited};
use hyper::{Method, Request, Response, StatusCode, body::Incoming, header, http::request::Parts};
use serde_json::Value;

use crate::{
    auth::{self, User},
    faults::Effect,
    request::{Query, Target},
    resources::Resource,
    server::Cluster,
    status::Status,
};

pub use body::{Body, json};

/// As etcd's limit on requests makes it for the real server.
const LONGEST_BODY: usize = 3 * 1024 * 1024;

/// A request that was read.
pub struct Asked {
    pub target: Target,
    pub query: Query,
    pub parts: Parts,
    pub user: User,
    pub body: Vec<u8>,
}

/// The connection is to be closed without an answer.
#[derive(Debug, thiserror::Error)]
#[error("the connection is dropped, as ordered")]
pub struct Dropped;

/// Serves one request. `certified` is whom the connection's certificate names.
///
/// # Errors
/// When a fault is ordered that leaves no answer.
pub async fn serve(
    cluster: Arc<Cluster>,
    certified: Option<User>,
    request: Request<Incoming>,
) -> Result<Response<Body>, Dropped> {
    let (parts, incoming) = request.into_parts();
    let query = Query::new(parts.uri.query().unwrap_or_default());
    let target = Target::new(&parts, &query);
    let user = auth::authenticate(&cluster, certified, &parts);
    let user = match user.and_then(|user| auth::impersonated(&cluster, user, &parts)) {
        Ok(user) => user,
        Err(status) => return Ok(body::status(&status)),
    };
    cluster.count(&user, &target);
    let cut = match suffer(cluster.faults.strike(&user.name, &target)).await? {
        Left::Refusal(status) => return Ok(body::status(&status)),
        Left::Answer { cut } => cut,
    };
    let response = match read_body(incoming).await {
        Ok(body) => {
            answer(
                &cluster,
                Asked {
                    target,
                    query,
                    parts,
                    user,
                    body,
                },
            )
            .await
        }
        Err(status) => Err(status),
    };
    let response = response.unwrap_or_else(|status| body::status(&status));
    Ok(match cut {
        Some(bytes) => body::cut(response, bytes),
        None => response,
    })
}

/// What a fault leaves of a request.
enum Left {
    Refusal(Status),
    /// Cut after so many bytes.
    Answer {
        cut: Option<usize>,
    },
}

async fn suffer(fault: Option<Effect>) -> Result<Left, Dropped> {
    match fault {
        None => {}
        Some(Effect::Status { code, retry_after }) => {
            return Ok(Left::Refusal(Status::ordered(code, retry_after)));
        }
        Some(Effect::Drop) => return Err(Dropped),
        Some(Effect::Hang) => std::future::pending().await,
        Some(Effect::Delay { millis }) => tokio::time::sleep(Duration::from_millis(millis)).await,
        Some(Effect::Cut { bytes }) => return Ok(Left::Answer { cut: Some(bytes) }),
    }
    Ok(Left::Answer { cut: None })
}

async fn read_body(incoming: Incoming) -> Result<Vec<u8>, Status> {
    let collected = Limited::new(incoming, LONGEST_BODY).collect().await;
    let collected = collected.map_err(|_| Status::request_too_large())?;
    Ok(collected.to_bytes().to_vec())
}

async fn answer(cluster: &Arc<Cluster>, asked: Asked) -> Result<Response<Body>, Status> {
    auth::authorize(cluster, &asked.user, &asked.target)?;
    if !asked.target.is_resource {
        return discovery::answer(cluster, &asked);
    }
    if let Some(review) = auth::review(cluster, &asked)? {
        return Ok(json(StatusCode::CREATED, &review));
    }
    let Target {
        group,
        version,
        plural,
        ..
    } = &asked.target;
    let resource = cluster.registry.find(group, version, plural);
    let resource = resource.ok_or_else(Status::no_such_path)?;
    if resource.is_namespaced && asked.target.namespace.is_empty() && !asked.target.name.is_empty()
    {
        return Err(Status::no_such_path());
    }
    if !resource.is_namespaced
        && resource.plural != "namespaces"
        && !asked.target.namespace.is_empty()
    {
        return Err(Status::no_such_path());
    }
    dispatch(cluster, &resource, asked).await
}

async fn dispatch(
    cluster: &Arc<Cluster>,
    resource: &Arc<Resource>,
    asked: Asked,
) -> Result<Response<Body>, Status> {
    match (asked.target.verb, asked.target.subresource.as_str()) {
        ("list", "") => list::list(cluster, resource, &asked).await,
        ("watch", "") => watch::watch(cluster, resource, &asked).await,
        ("get", "") => read::get(cluster, resource, &asked).await,
        ("get" | "update" | "patch", "status") if !resource.has_status => {
            Err(Status::no_such_path())
        }
        ("get", "status") => read::get(cluster, resource, &asked).await,
        ("create", "") if asked.target.name.is_empty() || asked.target.plural == "namespaces" => {
            write::create(cluster, resource, &asked)
        }
        ("create", "token") if resource.plural == "serviceaccounts" => {
            auth::token_request(cluster, &asked)
        }
        ("create", "binding") if resource.plural == "pods" => {
            write::bind(cluster, resource, &asked)
        }
        ("update", "" | "status") => write::update(cluster, resource, &asked),
        ("update", "finalize") if resource.plural == "namespaces" => {
            write::update(cluster, resource, &asked)
        }
        ("patch", "" | "status") => write::patch(cluster, resource, &asked),
        ("delete", "") => write::delete(cluster, resource, &asked),
        ("deletecollection", "") => write::delete_collection(cluster, resource, &asked),
        (_, "") => Err(Status::method_not_allowed()),
        _ => Err(Status::no_such_path()),
    }
}

impl Asked {
    /// The namespace that limits it; none for namespaces themselves.
    pub fn scope(&self, resource: &Resource) -> &str {
        if resource.is_namespaced {
            &self.target.namespace
        } else {
            ""
        }
    }

    pub fn header(&self, name: header::HeaderName) -> &str {
        let value = self
            .parts
            .headers
            .get(name)
            .and_then(|value| value.to_str().ok());
        value.unwrap_or_default()
    }

    /// Whether nothing is to be stored.
    pub fn is_dry_run(&self) -> bool {
        self.query.text("dryRun") == "All"
    }

    /// The body as an object of this type.
    pub fn object(&self) -> Result<Value, Status> {
        let content = self.header(header::CONTENT_TYPE);
        let content = content.split(';').next().unwrap_or_default().trim();
        let value = match content {
            "" | "application/json" | "*/*" => {
                serde_json::from_slice::<Value>(&self.body).map_err(|error| error.to_string())
            }
            _ => return Err(Status::unsupported_media("application/json")),
        };
        let value = value.map_err(|error| {
            Status::bad_request(format!(
                "the object provided is unrecognized (must be of type JSON): {error}"
            ))
        })?;
        if value.is_object() {
            Ok(value)
        } else {
            Err(Status::bad_request("the object provided is not an object"))
        }
    }

    pub fn is_head(&self) -> bool {
        self.parts.method == Method::HEAD
    }
}
