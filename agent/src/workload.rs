//! Workloads and services as the mesh sees them. No I/O: `control` makes these from Kubernetes objects.

mod bystanders;
mod service;
mod visibility;

use std::{collections::BTreeMap, fmt, net::IpAddr, path::PathBuf, sync::Arc};

use serde::{Deserialize, Serialize};

pub use bystanders::{Bystander, Bystanders, Outward, PodHost};
pub use service::{Endpoint, Outside, Protocol, Service, ServicePort};
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

/// Where a pod of this node lives: `sealane.dev/netns` and `sealane.dev/cgroup`.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Sandbox {
    /// A file that can be opened and handed to `setns(2)`.
    pub netns: PathBuf,
    /// The pod's directory in the cgroup v2 hierarchy.
    pub cgroup: PathBuf,
}

/// A TCP port that a container declares. It may listen on others all the same.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct ContainerPort {
    /// What a service's `targetPort` may name; empty if it has no name.
    pub name: String,
    pub port: u16,
}

/// A running pod with addresses of its own.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Workload {
    pub name: ObjectName,
    /// Of the pod's object; SPIRE may know it by this.
    pub uid: Option<String>,
    pub identity: SpiffeId,
    /// Name of the node that it runs on.
    pub node: String,
    /// At least one, no duplicates, never loopback or unspecified.
    pub addresses: Vec<IpAddr>,
    pub labels: BTreeMap<String, String>,
    pub container_ports: Vec<ContainerPort>,
    /// Whether its namespace and its own annotations put it into the mesh.
    pub enrolled: bool,
    /// Known for pods of this node that say so.
    pub sandbox: Option<Sandbox>,
    pub telemetry: TelemetryNames,
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
