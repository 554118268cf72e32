//! Workloads and services as the mesh sees them. No I/O: `control` makes these from Kubernetes objects.

mod bystanders;
mod pod;
mod service;
mod visibility;

use std::{
    fmt,
    hash::{Hash, Hasher},
    ops::Deref,
    os::fd::{AsRawFd as _, OwnedFd},
    path::{Path, PathBuf},
    sync::Arc,
};

use serde::{Deserialize, Serialize};

pub use bystanders::{Bystander, Bystanders, Outward, PodHost};
pub use pod::{ContainerPort, Local, Node, Pod, PodTemplate};
pub use service::{Endpoint, Endpoints, Outside, Protocol, Service, ServicePort};
pub use visibility::Visibility;

use crate::identity::SpiffeId;

/// `NAMESPACE/NAME`, unique in a cluster.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct ObjectName {
    pub namespace: Arc<str>,
    pub name: Arc<str>,
}

impl ObjectName {
    #[must_use]
    pub fn new(namespace: &str, name: &str) -> Self {
        Self {
            namespace: namespace.into(),
            name: name.into(),
        }
    }
}

impl fmt::Display for ObjectName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.namespace, self.name)
    }
}

/// Why a text names no object.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} is not NAMESPACE/NAME")]
pub struct ParseObjectNameError(String);

impl TryFrom<String> for ObjectName {
    type Error = ParseObjectNameError;

    fn try_from(text: String) -> Result<Self, Self::Error> {
        match text.split_once('/') {
            Some((namespace, name))
                if !namespace.is_empty() && !name.is_empty() && !name.contains('/') =>
            {
                Ok(Self::new(namespace, name))
            }
            _ => Err(ParseObjectNameError(text)),
        }
    }
}

impl From<ObjectName> for String {
    fn from(name: ObjectName) -> Self {
        name.to_string()
    }
}

/// Where a pod of this node lives.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Sandbox {
    pub netns: NetnsFile,
    /// The pod's directory in the cgroup v2 hierarchy.
    pub cgroup: PathBuf,
}

/// A file that can be opened and handed to `setns(2)`.
#[derive(Clone, Debug)]
pub struct NetnsFile {
    path: PathBuf,
    /// Keeps the path from leading elsewhere.
    _held: Option<Arc<OwnedFd>>,
}

impl NetnsFile {
    /// A file such as `/run/netns/NAME`, wherever it leads.
    #[must_use]
    pub fn at(path: PathBuf) -> Self {
        Self { path, _held: None }
    }

    /// A namespace that is open already: the path leads to it for as long as this or a clone of it lives, also when
    /// its processes are gone and their numbers are those of others.
    #[must_use]
    pub fn open(netns: OwnedFd) -> Self {
        Self {
            path: format!("/proc/self/fd/{}", netns.as_raw_fd()).into(),
            _held: Some(Arc::new(netns)),
        }
    }

    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }
}

/// Of two that are alive, no two descriptors have one path.
impl PartialEq for NetnsFile {
    fn eq(&self, other: &Self) -> bool {
        self.path == other.path
    }
}

impl Eq for NetnsFile {}

impl Hash for NetnsFile {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.path.hash(state);
    }
}

/// A running pod with addresses of its own, at least one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Workload {
    /// Shared with the source: of a large cluster there are many.
    pub pod: Arc<Pod>,
    pub identity: SpiffeId,
    /// Whether its namespace and its own annotations put it into the mesh.
    pub enrolled: bool,
}

impl Deref for Workload {
    type Target = Pod;

    fn deref(&self) -> &Pod {
        &self.pod
    }
}

/// What Istio's standard metrics call a workload
/// (<https://istio.io/latest/docs/reference/config/metrics/>).
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct TelemetryNames {
    /// Name of the owner: the deployment rather than the replica set or pod.
    pub workload: String,
    pub canonical_service: String,
    pub canonical_revision: String,
    /// Labels `app` and `version`; `unknown` when absent.
    pub app: String,
    pub version: String,
}

impl Workload {
    #[must_use]
    pub fn namespace(&self) -> &str {
        &self.name.namespace
    }
}
