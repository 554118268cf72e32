//! The Kubernetes objects that the agents read, as YAML files in their source directories.
//!
//! Every change is one rename, so an agent sees a file whole or not at all. Does not say whether an agent has
//! read it.

mod projected;

use std::{
    fmt::Write as _,
    fs, io,
    net::IpAddr,
    path::PathBuf,
    sync::{
        Mutex, PoisonError,
        atomic::{AtomicU32, Ordering},
    },
};

use anyhow::{Context, Result};
use jiff::Timestamp;

use crate::pod::{NodeName, PodSpec};

/// The namespace that every world starts with inside the mesh, and the one outside.
pub const MESH: &str = "shop";
pub const OUTSIDE: &str = "wild";
/// Where mesh-wide policy lives.
pub const ROOT: &str = "istio-system";

/// The source directories of all nodes.
#[derive(Debug)]
pub struct Objects {
    pub(crate) directories: Vec<PathBuf>,
    pub(crate) staging: PathBuf,
    pub(crate) next: AtomicU32,
    changed: Mutex<Timestamp>,
}

/// A pod as the API would show it.
#[derive(Clone, Debug)]
pub struct PodManifest {
    pub spec: PodSpec,
    pub addresses: Vec<IpAddr>,
    pub netns: PathBuf,
    pub cgroup: PathBuf,
}

/// A service of pods with the label `app`.
#[derive(Clone, Debug)]
pub struct Service {
    pub namespace: String,
    pub name: String,
    pub app: String,
    /// Of one or both families.
    pub virtual_addresses: Vec<IpAddr>,
    pub port: u16,
    /// A number, or the name of a container port.
    pub target_port: String,
}

/// Istio's `PeerAuthentication`.
#[derive(Clone, Debug)]
pub struct PeerAuthentication {
    pub namespace: String,
    pub name: String,
    pub app: Option<String>,
    pub mode: String,
    pub ports: Vec<(u16, String)>,
}

impl PeerAuthentication {
    /// For a whole namespace.
    #[must_use]
    pub fn namespace(namespace: &str, mode: &str) -> Self {
        Self {
            namespace: namespace.into(),
            name: "default".into(),
            app: None,
            mode: mode.into(),
            ports: Vec::new(),
        }
    }

    /// For the pods of an app, with exceptions by port.
    #[must_use]
    pub fn workload(namespace: &str, app: &str, mode: &str, ports: &[(u16, &str)]) -> Self {
        Self {
            namespace: namespace.into(),
            name: app.into(),
            app: Some(app.into()),
            mode: mode.into(),
            ports: ports.iter().map(|(p, m)| (*p, (*m).to_owned())).collect(),
        }
    }
}

impl Objects {
    pub(crate) fn new(directories: Vec<PathBuf>, staging: PathBuf) -> Self {
        Self {
            directories,
            staging,
            next: AtomicU32::new(0),
            changed: Mutex::new(Timestamp::now()),
        }
    }

    /// When the last change was complete.
    #[must_use]
    pub fn changed(&self) -> Timestamp {
        *self.changed.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn set_changed(&self) {
        *self.changed.lock().unwrap_or_else(PoisonError::into_inner) = Timestamp::now();
    }

    /// Writes a file into every source directory.
    ///
    /// # Errors
    /// When it can't be written.
    pub fn raw(&self, file: &str, text: &str) -> Result<()> {
        self.put(&self.directories, file, text)
    }

    /// Writes a file into the source directory of one node: another mesh doesn't know of it.
    ///
    /// # Errors
    /// When it can't be written.
    pub fn raw_on(&self, node: NodeName, file: &str, text: &str) -> Result<()> {
        let index = match node {
            NodeName::A => 0,
            NodeName::B => 1,
        };
        self.put(&self.directories[index..=index], file, text)
    }

    fn put(&self, directories: &[PathBuf], file: &str, text: &str) -> Result<()> {
        for directory in directories {
            let number = self.next.fetch_add(1, Ordering::Relaxed);
            let staged = self.staging.join(number.to_string());
            fs::write(&staged, text)?;
            fs::rename(&staged, directory.join(file))
                .with_context(|| format!("putting {file} in place"))?;
        }
        self.set_changed();
        Ok(())
    }

    /// Removes a file; one that isn't there is all right.
    ///
    /// # Errors
    /// When it can't be removed.
    pub fn remove(&self, file: &str) -> Result<()> {
        for directory in &self.directories {
            match fs::remove_file(directory.join(file)) {
                Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error.into()),
                _ => {}
            }
        }
        self.set_changed();
        Ok(())
    }

    /// # Errors
    /// When it can't be written.
    pub fn namespace(&self, name: &str, inject: bool) -> Result<()> {
        let label = if inject {
            "\n  labels:\n    sealane.dev/inject: \"true\""
        } else {
            ""
        };
        self.raw(
            &format!("namespace-{name}.yaml"),
            &format!("apiVersion: v1\nkind: Namespace\nmetadata:\n  name: {name}{label}\n"),
        )
    }

    /// # Errors
    /// When it can't be written.
    pub fn pod(&self, pod: &PodManifest) -> Result<()> {
        self.raw(&pod_file(&pod.spec), &pod_yaml(pod)?)
    }

    /// Tells the agent of the pod's own node alone.
    ///
    /// # Errors
    /// When it can't be written.
    pub fn pod_at_home(&self, pod: &PodManifest) -> Result<()> {
        self.raw_on(pod.spec.node, &pod_file(&pod.spec), &pod_yaml(pod)?)
    }

    /// # Errors
    /// When it can't be removed.
    pub fn remove_pod(&self, spec: &PodSpec) -> Result<()> {
        self.remove(&pod_file(spec))
    }

    /// # Errors
    /// When it can't be written.
    pub fn service(&self, service: &Service) -> Result<()> {
        let file = format!("service-{}-{}.yaml", service.namespace, service.name);
        self.raw(&file, &service_yaml(service)?)
    }

    /// # Errors
    /// When it can't be written.
    pub fn policy(&self, policy: &PeerAuthentication) -> Result<()> {
        self.raw(&policy_file(policy), &policy_yaml(policy)?)
    }
}

fn pod_file(spec: &PodSpec) -> String {
    format!("pod-{}-{}.yaml", spec.namespace, spec.name)
}

fn policy_file(policy: &PeerAuthentication) -> String {
    format!("policy-{}-{}.yaml", policy.namespace, policy.name)
}

fn pod_yaml(pod: &PodManifest) -> Result<String> {
    let PodSpec {
        namespace,
        name,
        node,
        app,
        ..
    } = &pod.spec;
    let node = node.name();
    let mut text = format!(
        "apiVersion: v1\nkind: Pod\nmetadata:\n  name: {name}\n  namespace: {namespace}\n  uid: uid-of-{name}\n  \
         labels:\n    app: {app}\n"
    );
    let mut annotations = String::new();
    if pod.spec.sandbox {
        let (netns, cgroup) = (pod.netns.display(), pod.cgroup.display());
        writeln!(annotations, "    sealane.dev/netns: {netns}")?;
        writeln!(annotations, "    sealane.dev/cgroup: {cgroup}")?;
    }
    if let Some(inject) = pod.spec.inject {
        writeln!(annotations, "    sealane.dev/inject: \"{inject}\"")?;
    }
    if !annotations.is_empty() {
        write!(text, "  annotations:\n{annotations}")?;
    }
    write!(
        text,
        "spec:\n  nodeName: {node}\n  serviceAccountName: {app}\n  containers:\n  \
         - name: main\n    image: example/main\n"
    )?;
    if !pod.spec.ports.is_empty() {
        writeln!(text, "    ports:")?;
    }
    for (name, port) in &pod.spec.ports {
        writeln!(text, "    - name: {name}\n      containerPort: {port}")?;
    }
    text.push_str("status:\n  phase: Running\n  podIPs:\n");
    for address in &pod.addresses {
        writeln!(text, "  - ip: \"{address}\"")?;
    }
    text.push_str("  conditions:\n  - type: Ready\n    status: \"True\"\n");
    Ok(text)
}

fn service_yaml(service: &Service) -> Result<String> {
    let Service {
        namespace,
        name,
        app,
        port,
        target_port,
        ..
    } = service;
    let mut text = format!(
        "apiVersion: v1\nkind: Service\nmetadata:\n  name: {name}\n  namespace: {namespace}\n\
         spec:\n  selector:\n    app: {app}\n  ports:\n  - name: tcp\n    protocol: TCP\n    \
         port: {port}\n    targetPort: {target_port}\n  clusterIPs:\n"
    );
    for address in &service.virtual_addresses {
        writeln!(text, "  - \"{address}\"")?;
    }
    Ok(text)
}

fn policy_yaml(policy: &PeerAuthentication) -> Result<String> {
    let PeerAuthentication {
        namespace,
        name,
        mode,
        ..
    } = policy;
    let mut text = format!(
        "apiVersion: security.istio.io/v1\nkind: PeerAuthentication\nmetadata:\n  name: {name}\n  \
         namespace: {namespace}\nspec:\n  mtls:\n    mode: {mode}\n"
    );
    if let Some(app) = &policy.app {
        write!(text, "  selector:\n    matchLabels:\n      app: {app}\n")?;
    }
    if !policy.ports.is_empty() {
        text.push_str("  portLevelMtls:\n");
    }
    for (port, mode) in &policy.ports {
        writeln!(text, "    {port}:\n      mode: {mode}")?;
    }
    Ok(text)
}
