//! A Kubernetes API server for a world, and pods as kubelets show them: objects in the API, cgroups by their UIDs.

mod object;

use std::{
    fs,
    net::{IpAddr, SocketAddr},
    path::{Path, PathBuf},
    time::Duration,
};

use anyhow::{Context, Result, ensure};
use rustix::process::Signal;
use serde_json::{Value, json};

use self::object::{metadata, object};
use crate::{
    enter, http,
    pod::{Family, NodeName, Pod, PodSpec},
    process::Process,
    wait::until,
    world::World,
};

const START: Duration = Duration::from_secs(20);
const API: u16 = 6443;
const ORDERS: u16 = 6444;
/// Of ConfigMaps with policy, and of the agents' account.
pub const SYSTEM: &str = "sealane-system";
/// What agents and the CA may do, as it is shipped.
const ACCESS: [&str; 3] = [
    include_str!("../../../deploy/base/agent-access.yaml"),
    include_str!("../../../deploy/base/ca-access.yaml"),
    include_str!("../../../deploy/base/source-access.yaml"),
];

/// A running API server, on the underlay. Dropping it kills it.
#[derive(Debug)]
pub struct Cluster {
    agent: PathBuf,
    authority: PathBuf,
    netns: PathBuf,
    orders: SocketAddr,
    process: Process,
}

/// A pod with the first of its processes, which holds its namespace as `pause` does.
#[derive(Debug)]
pub struct ClusterPod {
    pause: Process,
    pub pod: Pod,
    pub uid: String,
}

impl Cluster {
    /// Starts it with Istio's custom resources.
    ///
    /// # Errors
    /// When it doesn't answer in time.
    pub fn start(world: &World, family: Family) -> Result<Self> {
        Self::start_with(world, family, &[])
    }

    /// [`Cluster::start`] with more flags for the server.
    ///
    /// # Errors
    /// When it doesn't answer in time.
    pub fn start_with(world: &World, family: Family, flags: &[&str]) -> Result<Self> {
        let binary = world.run.product("sealane-apiserver")?;
        let netns = world.underlay.path();
        let directory = world.scratch("cluster")?;
        let [kubeconfig, agent, authority] =
            ["kubeconfig", "agent", "authority"].map(|name| directory.join(name));
        let address = |port| SocketAddr::new(World::underlay_address(family), port);
        let mut command = enter::command(Some(&netns), None, &binary.to_string_lossy())?;
        command.args(["--istio", "--bookmarks", "2", "--history", "200"]);
        command.args(["--listen", &address(API).to_string()]);
        command.args(["--admin", &address(ORDERS).to_string()]);
        command.arg("--kubeconfig-out").arg(&kubeconfig);
        for (account, file) in [("sealane-agent", &agent), ("sealane-ca", &authority)] {
            let account = format!("{SYSTEM}/{account}={}", file.display());
            command.arg("--account").arg(account);
        }
        command.args(flags);
        let mut process = Process::spawn("apiserver", &world.logs, command)?;
        until("the API server", START, || {
            process.still_runs()?;
            Ok(kubeconfig.exists().then_some(()))
        })?;
        for node in NodeName::ALL {
            for class in ["burstable", "besteffort"] {
                let pods = world.node(node).cgroup.path().join("kubepods").join(class);
                fs::create_dir_all(pods)?;
            }
        }
        let cluster = Self {
            agent,
            authority,
            netns,
            orders: address(ORDERS),
            process,
        };
        cluster.namespace(SYSTEM, false)?;
        ACCESS.iter().try_for_each(|text| cluster.apply(text))?;
        Ok(cluster)
    }

    /// Stores what a manifest of `deploy/base` has, in the namespace into which it is deployed.
    fn apply(&self, manifest: &str) -> Result<()> {
        for mut object in serde_saphyr::from_multiple::<Value>(manifest)? {
            let kind = object["kind"].as_str().unwrap_or_default();
            if !kind.starts_with("Cluster") {
                object["metadata"]["namespace"] = json!(SYSTEM);
            }
            self.put(&object)?;
        }
        Ok(())
    }

    /// What `sealane-apiserver` takes as an order.
    ///
    /// # Errors
    /// When it is refused.
    pub fn order(&self, order: &Value) -> Result<()> {
        let (code, body) = http::post(&self.netns, self.orders, "/", &order.to_string())?;
        ensure!(code == 200, "{order}: {code} {body}");
        Ok(())
    }

    /// Stores an object in place of its namesake.
    ///
    /// # Errors
    /// When the kind isn't known.
    pub fn put(&self, object: &Value) -> Result<()> {
        self.order(&json!({"put": object}))
    }

    /// Removes the object of this kind and name.
    ///
    /// # Errors
    /// When the kind isn't known.
    pub fn remove(&self, object: &Value) -> Result<()> {
        self.order(&json!({"remove": object}))
    }

    /// # Errors
    /// As [`Cluster::put`].
    pub fn namespace(&self, name: &str, inject: bool) -> Result<()> {
        let labels = if inject {
            json!({"sealane.dev/inject": "true"})
        } else {
            json!({})
        };
        self.put(&json!({
            "apiVersion": "v1", "kind": "Namespace",
            "metadata": metadata("", name, &format!("ns-{name}"), &labels),
        }))
    }

    /// Policy documents, by file.
    ///
    /// # Errors
    /// As [`Cluster::put`].
    pub fn policy(&self, documents: &[(&str, &str)]) -> Result<()> {
        let data: serde_json::Map<_, _> = documents
            .iter()
            .map(|(key, text)| ((*key).to_owned(), json!(text)))
            .collect();
        let labels = json!({"sealane.dev/policy": "true"});
        self.put(&json!({
            "apiVersion": "v1", "kind": "ConfigMap", "data": data,
            "metadata": metadata(SYSTEM, "policy", "policy", &labels),
        }))
    }

    /// A service of the pods with the label `app`, and its endpoints.
    ///
    /// # Errors
    /// As [`Cluster::put`].
    pub fn service(
        &self,
        (namespace, app): (&str, &str),
        address: IpAddr,
        (port, target): (u16, u16),
        endpoints: &[IpAddr],
    ) -> Result<()> {
        let labels = json!({"kubernetes.io/service-name": app});
        self.put(&json!({
            "apiVersion": "v1", "kind": "Service", "metadata": metadata(namespace, app, app, &json!({})),
            "spec": {
                "clusterIP": address, "clusterIPs": [address], "selector": {"app": app},
                "ports": [{"name": "web", "protocol": "TCP", "port": port, "targetPort": target}],
            },
        }))?;
        let ready = json!({"ready": true, "serving": true, "terminating": false});
        let listed = endpoints
            .iter()
            .map(|ip| json!({"addresses": [ip], "conditions": ready}));
        let family = if address.is_ipv4() { "IPv4" } else { "IPv6" };
        self.put(&json!({
            "apiVersion": "discovery.k8s.io/v1", "kind": "EndpointSlice", "addressType": family,
            "metadata": metadata(namespace, &format!("{app}-x"), app, &labels),
            "endpoints": listed.collect::<Vec<_>>(),
            "ports": [{"name": "web", "protocol": "TCP", "port": target}],
        }))
    }

    /// Makes a pod and shows it as running.
    ///
    /// # Errors
    /// When it can't be made.
    pub fn pod(&self, world: &World, spec: PodSpec) -> Result<ClusterPod> {
        let pod = self.unstarted(world, spec, world.next_host())?;
        self.running(&pod)?;
        Ok(pod)
    }

    /// Makes a pod whose sandbox is there, and which the API shows as scheduled and nothing more.
    ///
    /// # Errors
    /// When it can't be made.
    pub fn unstarted(&self, world: &World, spec: PodSpec, host: u8) -> Result<ClusterPod> {
        let number = world.scratch("pod")?;
        let number = number.to_string_lossy();
        let number = number.rsplit('-').next().unwrap_or_default();
        let uid = format!("8a2f7e9c-11aa-4c4e-9c5e-{number:0>12}");
        self.put(&object(&spec, &uid, &[]))?;
        sandboxed(world, spec, host, &uid)
    }

    /// Shows a pod of which there is nothing but the object.
    ///
    /// # Errors
    /// As [`Cluster::put`].
    pub fn declare(&self, spec: &PodSpec) -> Result<()> {
        self.declare_at(spec, &[])
    }

    /// [`Cluster::declare`], as running if it has addresses.
    ///
    /// # Errors
    /// As [`Cluster::put`].
    pub fn declare_at(&self, spec: &PodSpec, addresses: &[IpAddr]) -> Result<()> {
        self.put(&object(spec, &format!("uid-{}", spec.name), addresses))
    }

    /// Makes a pod of a manifest of the node, whose hash kubelet calls it by, and shows its mirror as running.
    ///
    /// # Errors
    /// When it can't be made.
    pub fn static_pod(&self, world: &World, spec: PodSpec, hash: &str) -> Result<ClusterPod> {
        let pod = sandboxed(world, spec, world.next_host(), hash)?;
        let addresses = [pod.pod.v4.into(), pod.pod.v6.into()];
        let mut mirror = object(&pod.pod.spec, "mirror-1", &addresses);
        mirror["metadata"]["annotations"] = json!({
            "kubernetes.io/config.hash": hash, "kubernetes.io/config.mirror": hash,
            "kubernetes.io/config.source": "file",
        });
        mirror["metadata"]["ownerReferences"] = json!([{
            "apiVersion": "v1", "kind": "Node", "name": pod.pod.spec.node.name(), "uid": "node-1",
            "controller": true,
        }]);
        self.put(&mirror)?;
        Ok(pod)
    }

    /// Shows a pod as running, with its addresses.
    ///
    /// # Errors
    /// As [`Cluster::put`].
    pub fn running(&self, pod: &ClusterPod) -> Result<()> {
        let addresses = [pod.pod.v4.into(), pod.pod.v6.into()];
        self.put(&object(&pod.pod.spec, &pod.uid, &addresses))
    }

    /// Shows a running pod with another answer to whether it is in the mesh.
    ///
    /// # Errors
    /// As [`Cluster::put`].
    pub fn inject(&self, pod: &ClusterPod, inject: bool) -> Result<()> {
        let addresses = [pod.pod.v4.into(), pod.pod.v6.into()];
        let spec = PodSpec {
            inject: Some(inject),
            ..pod.pod.spec.clone()
        };
        self.put(&object(&spec, &pod.uid, &addresses))
    }

    /// Takes a pod out of the API.
    ///
    /// # Errors
    /// As [`Cluster::remove`].
    pub fn forget(&self, pod: &ClusterPod) -> Result<()> {
        self.remove(&object(&pod.pod.spec, &pod.uid, &[]))
    }

    /// A service account, and a token of it that is bound to a pod.
    ///
    /// # Errors
    /// When there is no such pod.
    pub fn token(&self, pod: &PodSpec, audience: &str, life: Duration) -> Result<String> {
        let PodSpec {
            namespace,
            name,
            app,
            ..
        } = pod;
        self.put(&json!({
            "apiVersion": "v1", "kind": "ServiceAccount",
            "metadata": metadata(namespace, app, &format!("sa-{app}"), &json!({})),
        }))?;
        let wanted = json!({
            "namespace": namespace, "account": app, "pod": name, "audience": audience,
            "seconds": life.as_secs(),
        });
        let wanted = wanted.to_string();
        let (code, token) = http::post(&self.netns, self.orders, "/token", &wanted)?;
        ensure!(
            code == 200,
            "a token for {namespace}/{name}: {code} {token}"
        );
        Ok(token.trim().to_owned())
    }

    /// Runs `sealane ca keep --once` by the CA's account.
    ///
    /// # Errors
    /// When the directory and the Secret can't be made to agree.
    pub fn keep(&self, world: &World, directory: &Path) -> Result<()> {
        let binary = world.run.product("sealane")?;
        let mut command = enter::command(Some(&self.netns), None, &binary.to_string_lossy())?;
        command.args(["ca", "keep", "--once", "--log-level", "debug"]);
        command.arg("--directory").arg(directory);
        command.arg("--secret").arg(format!("{SYSTEM}/sealane-ca"));
        command
            .arg("--roots")
            .arg(format!("{SYSTEM}/sealane-ca-roots"));
        command.args(self.authority_flags());
        let output = command.output()?;
        let told = String::from_utf8_lossy(&output.stderr);
        ensure!(output.status.success(), "sealane ca keep: {told}");
        Ok(())
    }

    /// What it has served.
    ///
    /// # Errors
    /// When it doesn't answer.
    pub fn stats(&self) -> Result<Value> {
        let (_, body) = http::get(&self.netns, self.orders, "/")?;
        serde_json::from_str(&body).context("stats of the API server")
    }

    /// Its process, to be stopped and continued.
    #[must_use]
    pub fn process(&self) -> &Process {
        &self.process
    }

    /// Flags for agents that use it, by their account.
    #[must_use]
    pub fn flags(&self) -> [&str; 2] {
        ["--kubeconfig", path_text(&self.agent)]
    }

    /// Flags for a CA that uses it, by its account.
    #[must_use]
    pub fn authority_flags(&self) -> [&str; 2] {
        ["--kubeconfig", path_text(&self.authority)]
    }
}

impl ClusterPod {
    /// Ends the process that was the first.
    ///
    /// # Errors
    /// When it has ended already.
    pub fn end_pause(&mut self) -> Result<()> {
        self.pause.signal(Signal::KILL)?;
        self.pause.wait(START)?;
        Ok(())
    }
}

/// A pod's cgroup, network and first process.
fn sandboxed(world: &World, spec: PodSpec, host: u8, uid: &str) -> Result<ClusterPod> {
    let cgroup = format!("kubepods/burstable/pod{uid}");
    let pod = world.sandbox(spec, host, &cgroup)?;
    let mut pause = pod.command("sleep")?;
    pause.arg("infinity");
    Ok(ClusterPod {
        pause: pod.spawn("pause", pause)?,
        pod,
        uid: uid.to_owned(),
    })
}

fn path_text(path: &Path) -> &str {
    path.to_str().unwrap_or_default()
}
