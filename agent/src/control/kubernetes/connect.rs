//! The way to the API server.

use std::{
    path::{Path, PathBuf},
    time::Duration,
};

use axum::http::{HeaderValue, header::USER_AGENT};
use kube::{
    Client, Config,
    config::{InClusterError, KubeConfigOptions, Kubeconfig, KubeconfigError},
};

/// To be connected.
const CONNECT: Duration = Duration::from_secs(10);

/// For the next byte of an answer: longer than a watch without news lasts, so that a server that hangs is noticed.
const READ: Duration = Duration::from_secs(super::follow::WATCH as u64 + 10);

/// Why there is no way to the API server.
#[derive(Debug, thiserror::Error)]
pub enum ConnectError {
    #[error(
        "--kubernetes: {0}; it is for pods with a service account: elsewhere name a file with --kubeconfig"
    )]
    InCluster(#[from] InClusterError),
    #[error("--kubeconfig {}: {source}", path.display())]
    Kubeconfig {
        path: PathBuf,
        source: Box<KubeconfigError>,
    },
    #[error("Kubernetes API: {0}")]
    Client(#[from] Box<kube::Error>),
}

/// Who asks, as the server's log has it.
#[derive(Clone, Copy, Debug)]
pub enum Asking {
    /// An agent that follows objects. It tries again itself and tells why; the library would not tell of `429`.
    Agent,
    /// The CA service, where it follows objects as agents do.
    CaSource,
    CaService,
    CaKeep,
}

impl Asking {
    fn name(self) -> &'static str {
        match self {
            Self::Agent => concat!("sealane-agent/", env!("CARGO_PKG_VERSION")),
            Self::CaSource | Self::CaService => concat!("sealane-ca/", env!("CARGO_PKG_VERSION")),
            Self::CaKeep => concat!("sealane-ca-keep/", env!("CARGO_PKG_VERSION")),
        }
    }

    fn retries(self) -> bool {
        match self {
            Self::Agent | Self::CaSource => false,
            Self::CaService | Self::CaKeep => true,
        }
    }
}

/// A client of the API server that the pod's own service account knows, or a kubeconfig's current context. Asks
/// nothing yet. Tokens and certificates are read again by the library when they change.
///
/// # Errors
/// When there is no service account or no such file, or what it says can't be used.
pub async fn connect(kubeconfig: Option<&Path>, asking: Asking) -> Result<Client, ConnectError> {
    let mut config = match kubeconfig {
        None => Config::incluster()?,
        Some(path) => from_file(path)
            .await
            .map_err(|source| ConnectError::Kubeconfig {
                path: path.to_owned(),
                source: Box::new(source),
            })?,
    };
    config.connect_timeout = Some(CONNECT);
    config.read_timeout = Some(READ);
    config.reset_reader_on_write = true;
    config.default_retry = asking.retries();
    let name = HeaderValue::from_static(asking.name());
    config.headers.push((USER_AGENT, name));
    Ok(Client::try_from(config).map_err(Box::new)?)
}

async fn from_file(path: &Path) -> Result<Config, KubeconfigError> {
    let file = Kubeconfig::read_from(path)?;
    Config::from_custom_kubeconfig(file, &KubeConfigOptions::default()).await
}
