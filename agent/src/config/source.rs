//! Where objects come from.

use std::{
    fmt,
    path::{Path, PathBuf},
};

use super::{ConfigError, absolute, directory, dns_name};
use crate::{
    cli::{SourceArgs, UnknownPods},
    tls::ClientFiles,
};

/// For clients of a cluster.
const CLIENT_FILES: &str = "/etc/sealane/client-files";

/// What has the objects.
#[derive(Clone, Debug)]
pub enum SourceConfig {
    /// An existing directory.
    Directory(PathBuf),
    Cluster {
        /// None: the cluster whose pod this is.
        kubeconfig: Option<PathBuf>,
        /// Of the ConfigMaps with policy.
        policy_namespace: String,
        /// Whether pods are kept from the mesh until they are known.
        hold_back: bool,
    },
}

/// For people: a directory, or what a cluster is known by.
impl fmt::Display for SourceConfig {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Directory(dir) => dir.display().fmt(f),
            Self::Cluster {
                kubeconfig: Some(file),
                ..
            } => write!(f, "Kubernetes ({})", file.display()),
            Self::Cluster { .. } => f.write_str("Kubernetes"),
        }
    }
}

/// What was said, if anything.
pub(super) fn source(
    args: &SourceArgs,
    unknown: UnknownPods,
) -> Result<Option<SourceConfig>, ConfigError> {
    if let Some(dir) = &args.source {
        return Ok(Some(SourceConfig::Directory(directory(dir)?)));
    }
    let kubeconfig = args.kubeconfig.as_deref();
    let kubeconfig = kubeconfig
        .map(|path| absolute("--kubeconfig", path))
        .transpose()?;
    if kubeconfig.is_none() && !args.kubernetes {
        return Ok(None);
    }
    Ok(Some(SourceConfig::Cluster {
        kubeconfig,
        policy_namespace: dns_name("--policy-namespace", &args.policy_namespace)?,
        hold_back: unknown == UnknownPods::Refuse,
    }))
}

/// Who may write objects of a cluster may not read the files of its nodes.
pub(super) fn client_files(
    given: Option<&Path>,
    source: &SourceConfig,
) -> Result<ClientFiles, ConfigError> {
    match (given, source) {
        (Some(dir), _) => Ok(ClientFiles::Below(absolute("--client-files", dir)?)),
        (None, SourceConfig::Cluster { .. }) => Ok(ClientFiles::Below(CLIENT_FILES.into())),
        (None, SourceConfig::Directory(_)) => Ok(ClientFiles::Anywhere),
    }
}
