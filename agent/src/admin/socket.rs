//! The Unix socket of the operator's commands. Who may open the file may ask; nothing can be changed here.

use std::{
    fs::{self, DirBuilder, Permissions},
    io,
    os::unix::{
        fs::{DirBuilderExt, FileTypeExt, MetadataExt, PermissionsExt},
        net::UnixStream,
    },
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use axum::{
    Json, Router,
    extract::{DefaultBodyLimit, Query, State},
    http::StatusCode,
    response::{IntoResponse, Response},
    routing::{get, post},
};
use serde::{Deserialize, Serialize};
use tokio::{net::UnixListener, task::spawn_blocking};
use tokio_util::sync::CancellationToken;

use super::{Inspect, api, capture::capture, serve::serve};
use crate::control::LoadErrors;

/// Why the socket can't be opened.
#[derive(Debug, thiserror::Error)]
pub enum SocketError {
    #[error("the directory of {} can't be made: {source}", path.display())]
    Directory { path: PathBuf, source: io::Error },
    #[error(
        "an agent answers at {} already: stop it, or give this one another --socket",
        path.display()
    )]
    InUse { path: PathBuf },
    #[error("{} is not a socket: remove it, or choose another --socket", path.display())]
    NotSocket { path: PathBuf },
    #[error("{} can't be opened: {source}", path.display())]
    Bind { path: PathBuf, source: io::Error },
}

/// A listening socket. Its file is removed with it.
#[derive(Debug)]
pub struct AdminSocket {
    listener: UnixListener,
    file: SocketFile,
}

/// Known by its inode: a later agent may have put its own in the same place.
#[derive(Debug)]
struct SocketFile {
    path: PathBuf,
    identity: (u64, u64),
}

impl AdminSocket {
    /// Opens the socket, for its owner only. Takes the place of one on which nobody answers.
    ///
    /// # Errors
    /// When somebody answers there, when something else is there, or when the file can't be made.
    pub fn bind(path: &Path) -> Result<Self, SocketError> {
        let directory = path.parent().unwrap_or(Path::new("/"));
        DirBuilder::new()
            .recursive(true)
            .mode(0o755)
            .create(directory)
            .map_err(|source| SocketError::Directory {
                path: path.to_owned(),
                source,
            })?;
        check_vacant(path)?;
        bind_private(path).map_err(|source| SocketError::Bind {
            path: path.to_owned(),
            source,
        })
    }

    /// Serves until told to stop, then removes the file.
    pub async fn serve(self, inspect: Arc<dyn Inspect>, stop: CancellationToken) {
        let router = Router::new()
            .route("/v1/status", get(status))
            .route("/v1/connections", get(connections))
            .route("/v1/certs", get(certificates))
            .route("/v1/explain", get(explain))
            .route("/v1/tls-check", get(tls_check))
            .route("/v1/authz-check", get(authz_check))
            .route("/v1/flows", get(flows))
            .route("/v1/verify", get(verify))
            .route("/v1/capture", get(capture))
            .route("/v1/policy-diff", post(policy_diff))
            .layer(DefaultBodyLimit::max(api::MAX_QUESTION))
            .with_state(inspect);
        self.serve_router(router, stop).await;
    }

    /// Serves answers of another kind until told to stop, then removes the file.
    pub async fn serve_router(self, router: Router, stop: CancellationToken) {
        serve(self.listener, router, stop).await;
        drop(self.file);
    }
}

/// Opens the socket and serves until told to stop.
///
/// # Errors
/// When the socket can't be opened.
pub async fn serve_socket(
    path: &Path,
    inspect: Arc<dyn Inspect>,
    stop: CancellationToken,
) -> Result<(), SocketError> {
    AdminSocket::bind(path)?.serve(inspect, stop).await;
    Ok(())
}

fn check_vacant(path: &Path) -> Result<(), SocketError> {
    let Ok(found) = path.symlink_metadata() else {
        return Ok(());
    };
    if !found.file_type().is_socket() {
        return Err(SocketError::NotSocket {
            path: path.to_owned(),
        });
    }
    match UnixStream::connect(path) {
        Err(error) if error.kind() == io::ErrorKind::ConnectionRefused => Ok(()),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        Ok(_) => Err(SocketError::InUse {
            path: path.to_owned(),
        }),
        Err(source) => Err(SocketError::Bind {
            path: path.to_owned(),
            source,
        }),
    }
}

/// The socket gets its name when its permissions are right: before that nobody can find it.
fn bind_private(path: &Path) -> io::Result<AdminSocket> {
    // Short: the path of a socket is limited.
    let staged = path.with_file_name(format!(".{:x}", std::process::id()));
    match fs::remove_file(&staged) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        Ok(()) | Err(_) => {}
    }
    let listener = UnixListener::bind(&staged)?;
    fs::set_permissions(&staged, Permissions::from_mode(0o600))?;
    let metadata = staged.symlink_metadata()?;
    let file = SocketFile {
        path: path.to_owned(),
        identity: (metadata.dev(), metadata.ino()),
    };
    fs::rename(&staged, path)?;
    Ok(AdminSocket { listener, file })
}

impl Drop for SocketFile {
    fn drop(&mut self) {
        let ours = |m: fs::Metadata| (m.dev(), m.ino()) == self.identity;
        if self.path.symlink_metadata().is_ok_and(ours)
            && let Err(error) = fs::remove_file(&self.path)
        {
            tracing::warn!(%error, path = %self.path.display(), "the socket's file stays behind");
        }
    }
}

async fn status(State(inspect): State<Arc<dyn Inspect>>) -> Json<super::api::Status> {
    Json(inspect.status())
}

async fn connections(State(inspect): State<Arc<dyn Inspect>>) -> Json<Vec<super::api::Connection>> {
    Json(inspect.connections())
}

async fn certificates(
    State(inspect): State<Arc<dyn Inspect>>,
) -> Json<Vec<super::api::Certificate>> {
    Json(inspect.certificates())
}

/// Whom a question is about.
#[derive(Deserialize)]
struct Ends {
    client: Option<String>,
    server: Option<String>,
}

#[derive(Deserialize)]
struct Whom {
    workload: String,
}

async fn explain(
    State(inspect): State<Arc<dyn Inspect>>,
    Query(Ends { client, server }): Query<Ends>,
) -> Response {
    let (client, server) = (client.unwrap_or_default(), server.unwrap_or_default());
    answer(inspect.explain(&client, &server))
}

async fn tls_check(
    State(inspect): State<Arc<dyn Inspect>>,
    Query(Ends { client, server }): Query<Ends>,
) -> Response {
    answer(inspect.tls_check(client.as_deref(), server.as_deref()))
}

async fn authz_check(
    State(inspect): State<Arc<dyn Inspect>>,
    Query(Whom { workload }): Query<Whom>,
) -> Response {
    answer(inspect.authz_check(&workload))
}

#[derive(Deserialize)]
struct Window {
    /// In seconds.
    last: u64,
}

async fn flows(
    State(inspect): State<Arc<dyn Inspect>>,
    Query(Window { last }): Query<Window>,
) -> Response {
    let flows = spawn_blocking(move || inspect.flows(Duration::from_secs(last))).await;
    flows.map_or_else(|_| failed(), |flows| Json(flows).into_response())
}

/// Whose wire, if not of all pods.
#[derive(Deserialize)]
struct Whose {
    workload: Option<String>,
}

async fn verify(
    State(inspect): State<Arc<dyn Inspect>>,
    Query(Whose { workload }): Query<Whose>,
) -> Response {
    let seen = spawn_blocking(move || inspect.verify(workload.as_deref())).await;
    seen.map_or_else(|_| failed(), answer)
}

async fn policy_diff(
    State(inspect): State<Arc<dyn Inspect>>,
    Json(question): Json<api::PolicyDiff>,
) -> Response {
    let diff = spawn_blocking(move || inspect.policy_diff(&question)).await;
    let texts = |errors: LoadErrors| errors.texts().join("\n");
    diff.map_or_else(|_| failed(), |diff| answer(diff.map_err(texts)))
}

/// The log tells of the panic.
fn failed() -> Response {
    StatusCode::INTERNAL_SERVER_ERROR.into_response()
}

fn answer<T: Serialize>(result: Result<T, impl ToString>) -> Response {
    match result {
        Ok(answer) => Json(answer).into_response(),
        Err(error) => {
            let error = api::Complaint {
                error: error.to_string(),
            };
            (StatusCode::UNPROCESSABLE_ENTITY, Json(error)).into_response()
        }
    }
}
