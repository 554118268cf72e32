//! One question over the agent's Unix socket.

use std::{
    io,
    path::{Path, PathBuf},
    time::Duration,
};

use http_body_util::{BodyExt, Full};
use hyper::{
    Method, Request, StatusCode, body::Bytes, client::conn::http1, header, header::HeaderValue,
    upgrade::Upgraded,
};
use hyper_util::rt::TokioIo;
use serde::de::DeserializeOwned;
use tokio::{net::UnixStream, time};

use crate::admin::api;

const DEADLINE: Duration = Duration::from_secs(10);

/// Why the agent didn't answer.
#[derive(Debug, thiserror::Error)]
pub enum AskError {
    #[error(
        "no agent at {}: start `sealane agent`, or name its socket with --socket",
        socket.display()
    )]
    NoAgent { socket: PathBuf },
    #[error("{} may only be used by root: try sudo", socket.display())]
    Forbidden { socket: PathBuf },
    #[error("{} can't be connected to: {source}", socket.display())]
    Connect { socket: PathBuf, source: io::Error },
    #[error(
        "the agent at {} did not answer within {DEADLINE:?}: its log may tell why",
        socket.display()
    )]
    Timeout { socket: PathBuf },
    #[error("the agent at {} broke off: {source}", socket.display())]
    Http {
        socket: PathBuf,
        source: hyper::Error,
    },
    #[error(
        "the agent at {} answered {status} to {path}: it may be of another version than this command",
        socket.display()
    )]
    Status {
        socket: PathBuf,
        path: String,
        status: StatusCode,
    },
    #[error("{0}")]
    Complaint(String),
    #[error("the question can't be put into a request")]
    Question,
    #[error(
        "the agent's answer to {path} is not understood ({source}): it may be of another version than this \
         command; -o json prints it as it is"
    )]
    Answer {
        path: String,
        source: serde_json::Error,
    },
}

/// An answer as it came.
pub(super) struct Answer {
    path: String,
    body: Bytes,
}

impl Answer {
    pub(super) fn raw(&self) -> &[u8] {
        &self.body
    }

    pub(super) fn parse<T: DeserializeOwned>(&self) -> Result<T, AskError> {
        serde_json::from_slice(&self.body).map_err(|source| AskError::Answer {
            path: self.path.clone(),
            source,
        })
    }
}

/// `GET path`.
pub(super) async fn ask(socket: &Path, path: &str) -> Result<Answer, AskError> {
    within_deadline(socket, path, Request::new(Full::default())).await
}

/// `POST path` with a question in JSON.
pub(super) async fn ask_about(
    socket: &Path,
    path: &str,
    question: Vec<u8>,
) -> Result<Answer, AskError> {
    let mut request = Request::new(Full::from(question));
    *request.method_mut() = Method::POST;
    let json = HeaderValue::from_static("application/json");
    request.headers_mut().insert(header::CONTENT_TYPE, json);
    within_deadline(socket, path, request).await
}

async fn within_deadline(
    socket: &Path,
    path: &str,
    request: Request<Full<Bytes>>,
) -> Result<Answer, AskError> {
    let request = addressed(path, request)?;
    time::timeout(DEADLINE, exchange(socket, path, request))
        .await
        .unwrap_or_else(|_| Err(late(socket)))
}

fn addressed(
    path: &str,
    mut request: Request<Full<Bytes>>,
) -> Result<Request<Full<Bytes>>, AskError> {
    *request.uri_mut() = path.parse().map_err(|_| AskError::Question)?;
    let host = HeaderValue::from_static("sealane");
    request.headers_mut().insert(header::HOST, host);
    Ok(request)
}

/// `GET path`, and another protocol from there on.
pub(super) async fn upgrade(
    socket: &Path,
    path: &str,
    protocol: &'static str,
) -> Result<TokioIo<Upgraded>, AskError> {
    let mut request = Request::new(Full::default());
    let headers = request.headers_mut();
    headers.insert(header::CONNECTION, HeaderValue::from_static("upgrade"));
    headers.insert(header::UPGRADE, HeaderValue::from_static(protocol));
    let request = addressed(path, request)?;
    let broken = |source| broken(socket, source);
    let (mut sender, connection) = connect(socket).await?;
    tokio::spawn(connection.with_upgrades());
    let answer = time::timeout(DEADLINE, sender.send_request(request)).await;
    let answer = answer.map_err(|_| late(socket))?.map_err(broken)?;
    if answer.status() == StatusCode::SWITCHING_PROTOCOLS {
        let upgraded = hyper::upgrade::on(answer).await.map_err(broken)?;
        return Ok(TokioIo::new(upgraded));
    }
    let status = answer.status();
    let body = answer
        .into_body()
        .collect()
        .await
        .map_err(broken)?
        .to_bytes();
    match answered(socket, path, status, body) {
        Err(error) => Err(error),
        // Whoever answers as if nothing else was asked for doesn't know what was.
        Ok(_) => Err(refused(socket, path, status)),
    }
}

async fn connect(socket: &Path) -> Result<Http, AskError> {
    let stream = UnixStream::connect(socket)
        .await
        .map_err(|e| unreachable(socket, e))?;
    let connected = http1::handshake(TokioIo::new(stream)).await;
    connected.map_err(|source| broken(socket, source))
}

type Http = (
    http1::SendRequest<Full<Bytes>>,
    http1::Connection<TokioIo<UnixStream>, Full<Bytes>>,
);

fn broken(socket: &Path, source: hyper::Error) -> AskError {
    AskError::Http {
        socket: socket.to_owned(),
        source,
    }
}

fn late(socket: &Path) -> AskError {
    AskError::Timeout {
        socket: socket.to_owned(),
    }
}

async fn exchange(
    socket: &Path,
    path: &str,
    request: Request<Full<Bytes>>,
) -> Result<Answer, AskError> {
    let broken = |source| broken(socket, source);
    let (sender, connection) = connect(socket).await?;
    let driven = async {
        match connection.await {
            // An orderly end is the answer's to report.
            Ok(()) => std::future::pending().await,
            Err(error) => error,
        }
    };
    let (status, body) = tokio::select! {
        biased;
        answered = send(sender, request) => answered.map_err(broken)?,
        error = driven => return Err(broken(error)),
    };
    answered(socket, path, status, body)
}

fn answered(
    socket: &Path,
    path: &str,
    status: StatusCode,
    body: Bytes,
) -> Result<Answer, AskError> {
    let path = path.to_owned();
    match status {
        StatusCode::OK => Ok(Answer { path, body }),
        StatusCode::UNPROCESSABLE_ENTITY => {
            let complaint: api::Complaint = Answer { path, body }.parse()?;
            Err(AskError::Complaint(complaint.error))
        }
        _ => Err(refused(socket, &path, status)),
    }
}

fn refused(socket: &Path, path: &str, status: StatusCode) -> AskError {
    AskError::Status {
        socket: socket.to_owned(),
        path: path.to_owned(),
        status,
    }
}

async fn send(
    mut sender: http1::SendRequest<Full<Bytes>>,
    request: Request<Full<Bytes>>,
) -> hyper::Result<(StatusCode, Bytes)> {
    let response = sender.send_request(request).await?;
    let status = response.status();
    Ok((status, response.into_body().collect().await?.to_bytes()))
}

fn unreachable(socket: &Path, error: io::Error) -> AskError {
    let socket = socket.to_owned();
    match error.kind() {
        io::ErrorKind::NotFound | io::ErrorKind::ConnectionRefused => AskError::NoAgent { socket },
        io::ErrorKind::PermissionDenied => AskError::Forbidden { socket },
        _ => AskError::Connect {
            socket,
            source: error,
        },
    }
}
