//! Pods. Of a large cluster there are many, so each has little for itself.

use std::{collections::BTreeMap, net::IpAddr, ops::Deref, sync::Arc};

use smallvec::SmallVec;

use super::{ObjectName, PodHost, Sandbox, TelemetryNames};

/// What the mesh needs to know of a pod.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Pod {
    pub name: ObjectName,
    /// May be shared with other pods.
    pub template: Arc<PodTemplate>,
    /// That it runs on; nameless until it has been given to one.
    pub node: Arc<Node>,
    /// No duplicates, never loopback or unspecified.
    pub addresses: SmallVec<[IpAddr; 2]>,
    /// Not kept of other nodes' pods on a cluster.
    pub local: Option<Box<Local>>,
    /// What it is called in the name of a headless service, if anything.
    pub host_name: Option<Box<PodHost>>,
    /// Seconds of the Unix epoch.
    pub created: Option<i64>,
    /// Never a workload.
    pub finished: bool,
    /// Unless it says that it isn't, or is on its way out.
    pub ready: bool,
    /// Has been deleted, and goes on until it ends.
    pub leaving: bool,
}

/// What pods that are made alike have in common.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct PodTemplate {
    pub labels: Arc<BTreeMap<String, String>>,
    /// What the pod itself says about being in the mesh.
    pub own_enrolment: Option<bool>,
    /// What it says to Istio about a sidecar.
    pub sidecar: Option<bool>,
    /// Whether it has Istio's proxy, as gateways and injected pods do.
    pub own_proxy: bool,
    /// On the network of its node: never a workload.
    pub host_network: bool,
    pub service_account: Arc<str>,
    pub container_ports: Arc<[ContainerPort]>,
    /// Ports on which its kubelet connects to it, for probes and lifecycle hooks, in ascending order.
    pub probe_ports: Arc<[u16]>,
    pub telemetry: Arc<TelemetryNames>,
}

/// As pods tell of it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct Node {
    pub name: Arc<str>,
    pub address: Option<IpAddr>,
}

/// By what a pod is found on its own node.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Local {
    /// Of the pod's object; SPIRE may know it by this.
    pub uid: Option<Arc<str>>,
    /// What kubelet calls the static pod that this one shows.
    pub static_uid: Option<Arc<str>>,
    /// Known for pods of this node that say so.
    pub sandbox: Option<Arc<Sandbox>>,
}

/// A TCP port that a container declares. It may listen on others all the same.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct ContainerPort {
    /// What a service's `targetPort` may name; empty if it has no name.
    pub name: String,
    pub port: u16,
}

impl Pod {
    /// One of which nothing is known but its name.
    #[must_use]
    pub fn named(name: ObjectName) -> Self {
        let unknown = || "unknown".to_owned();
        let telemetry = TelemetryNames {
            workload: name.name.to_string(),
            canonical_service: name.name.to_string(),
            canonical_revision: "latest".to_owned(),
            app: unknown(),
            version: unknown(),
        };
        let template = PodTemplate {
            labels: Arc::default(),
            own_enrolment: None,
            sidecar: None,
            own_proxy: false,
            host_network: false,
            service_account: "default".into(),
            container_ports: [].into(),
            probe_ports: [].into(),
            telemetry: Arc::new(telemetry),
        };
        Self {
            name,
            template: Arc::new(template),
            node: Arc::default(),
            addresses: SmallVec::new(),
            local: None,
            host_name: None,
            created: None,
            finished: false,
            ready: true,
            leaving: false,
        }
    }

    /// The same with other labels.
    #[must_use]
    pub fn labelled(mut self, labels: BTreeMap<String, String>) -> Self {
        Arc::make_mut(&mut self.template).labels = Arc::new(labels);
        self
    }

    #[must_use]
    pub fn uid(&self) -> Option<&Arc<str>> {
        self.local.as_ref()?.uid.as_ref()
    }

    #[must_use]
    pub fn sandbox(&self) -> Option<&Arc<Sandbox>> {
        self.local.as_ref()?.sandbox.as_ref()
    }
}

impl Deref for Pod {
    type Target = PodTemplate;

    fn deref(&self) -> &PodTemplate {
        &self.template
    }
}
