//! The source that was asked for: a directory, or a cluster.

use std::path::PathBuf;

use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use crate::{
    config::SourceConfig,
    control::{
        Asking, ClusterSettings, FileSource, KubernetesSource, Scope, Settings, SourceStatus,
        connect,
    },
    store::Writer,
};

/// What feeds the store.
pub(super) enum Source {
    Directory(Box<FileSource>),
    Cluster(Box<KubernetesSource>),
}

/// Whose pods a process must find.
#[derive(Debug)]
pub(super) struct Node {
    pub(super) name: String,
    pub(super) cgroup_root: PathBuf,
}

impl Source {
    /// Connects to nothing yet. `node`: without one all that counts is where pods run.
    ///
    /// # Errors
    /// When there is no way to the API server.
    pub(super) async fn open(
        config: &SourceConfig,
        node: Option<Node>,
        settings: Settings,
        writer: Writer,
    ) -> anyhow::Result<(Self, watch::Receiver<SourceStatus>)> {
        match config {
            SourceConfig::Directory(dir) => {
                let (source, status) = FileSource::new(dir.clone(), settings, writer);
                Ok((Self::Directory(Box::new(source)), status))
            }
            SourceConfig::Cluster {
                kubeconfig,
                policy_namespace,
                ..
            } => {
                let (scope, asking) = match node {
                    Some(_) => (Scope::Mesh, Asking::Agent),
                    None => (Scope::Pods, Asking::CaSource),
                };
                let client = connect(kubeconfig.as_deref(), asking).await?;
                let (node, cgroup_root) = node.map(|node| (node.name, node.cgroup_root)).unzip();
                let cluster = ClusterSettings {
                    node: node.unwrap_or_default(),
                    cgroup_root,
                    scope,
                    policy_namespace: policy_namespace.clone(),
                };
                let (source, status) = KubernetesSource::new(client, cluster, settings, writer);
                Ok((Self::Cluster(Box::new(source)), status))
            }
        }
    }

    /// Feeds the store until `stop`.
    pub(super) async fn run(self, stop: CancellationToken) {
        match self {
            Self::Directory(source) => source.run(stop).await,
            Self::Cluster(source) => source.run(stop).await,
        }
    }
}
