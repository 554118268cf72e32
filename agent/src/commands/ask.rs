//! One question over the agent's Unix socket.

use std::{
    io,
    path::{Path, PathBuf},
    time::Duration,
};

use http_body_util::{BodyExt, Empty};
use hyper::{Request, StatusCode, body::Bytes, client::conn::http1, header};
use hyper_util::rt::TokioIo;
use serde::de::DeserializeOwned;
use tokio::{net::UnixStream, time};

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
        path: &'static str,
        status: StatusCode,
    },
    #[error(
        "the agent's answer to {path} is not understood ({source}): it may be of another version than this \
         command; -o json prints it as it is"
    )]
    Answer {
        path: &'static str,
        source: serde_json::Error,
    },
}

/// An answer as it came.
pub(super) struct Answer {
    path: &'static str,
    body: Bytes,
}

impl Answer {
    pub(super) fn raw(&self) -> &[u8] {
        &self.body
    }

    pub(super) fn parse<T: DeserializeOwned>(&self) -> Result<T, AskError> {
        let path = self.path;
        serde_json::from_slice(&self.body).map_err(|source| AskError::Answer { path, source })
    }
}

/// `GET path`.
pub(super) async fn ask(socket: &Path, path: &'static str) -> Result<Answer, AskError> {
    time::timeout(DEADLINE, exchange(socket, path))
        .await
        .unwrap_or_else(|_| {
            Err(AskError::Timeout {
                socket: socket.to_owned(),
            })
        })
}

async fn exchange(socket: &Path, path: &'static str) -> Result<Answer, AskError> {
    let broken = |source| AskError::Http {
        socket: socket.to_owned(),
        source,
    };
    let stream = UnixStream::connect(socket)
        .await
        .map_err(|e| unreachable(socket, e))?;
    let (mut sender, connection) = http1::handshake(TokioIo::new(stream))
        .await
        .map_err(broken)?;
    let mut request = Request::new(Empty::<Bytes>::new());
    *request.uri_mut() = hyper::Uri::from_static(path);
    request
        .headers_mut()
        .insert(header::HOST, header::HeaderValue::from_static("sealane"));
    let answered = async {
        let response = sender.send_request(request).await.map_err(broken)?;
        let status = response.status();
        if status != StatusCode::OK {
            return Err(AskError::Status {
                socket: socket.to_owned(),
                path,
                status,
            });
        }
        let body = response
            .into_body()
            .collect()
            .await
            .map_err(broken)?
            .to_bytes();
        Ok(Answer { path, body })
    };
    let driven = async {
        let ended = connection.await;
        // An orderly end is the answer's to report.
        match ended {
            Ok(()) => std::future::pending().await,
            Err(error) => error,
        }
    };
    tokio::select! {
        biased;
        answer = answered => answer,
        error = driven => Err(broken(error)),
    }
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
