//! The kubelet's probes reach pods where these declare them, and nobody else does.

use std::{
    io::{self, Read, Write},
    net::{SocketAddr, TcpStream},
};

use anyhow::{Context, Result, ensure};
use sealane_harness::{
    HostProcess, NodeName, Pod, PodSpec,
    agent::workload,
    apps::{Listener, Nginx},
    cluster::{Cluster, ClusterPod},
    objects::{MESH, OUTSIDE},
    until,
    world::Agents,
};
use serde_json::json;

use super::kubernetes::{only_from, peer_authentication};
use crate::{
    pair,
    stage::{GREETING, SOON, Stage, WEB},
};

/// Where kubelets listen.
const KUBELET: u16 = 10250;
/// Where nobody probes `web`.
const OTHER: u16 = 9000;
/// Where it does TLS by itself.
const TLS: u16 = 8443;
const RESULTS: &str = "sealane_probe_connections_total";
/// How a ClientHello begins (RFC 8446, sections 5.1 and 4).
const HELLO: &[u8] = &[22, 3, 1, 0, 5, 1, 0, 0, 1, 0];

/// A STRICT pod that is probed by HTTP and HTTPS, and the processes of its node.
struct Node<'a> {
    stage: Stage<'a>,
    agents: Agents,
    _nginx: Nginx,
    web: ClusterPod,
    stranger: ClusterPod,
    /// On the node's network, as `hostNetwork` has it.
    pod: HostProcess,
    service: HostProcess,
    kubelet: HostProcess,
    cluster: Cluster,
}

impl<'a> Node<'a> {
    fn open(stage: &Stage<'a>, flags: &[&str]) -> Result<Self> {
        let world = stage.world;
        let cluster = Cluster::start(world, stage.family)?;
        cluster.namespace(MESH, true)?;
        cluster.namespace(OUTSIDE, false)?;
        cluster.policy(&[("mesh.yaml", &peer_authentication(MESH, "STRICT"))])?;
        let web = cluster.pod(world, probed("web"))?;
        let stranger = cluster.pod(world, PodSpec::stranger(NodeName::B, "stranger"))?;
        let listeners = [WEB, OTHER].map(Listener::Http);
        let nginx = Nginx::start(world, &web.pod, &listeners, GREETING)?;
        let process = |cgroup| HostProcess::start(world, NodeName::B, cgroup);
        let node = Self {
            stage: *stage,
            _nginx: nginx,
            agents: world.start_agents(&[&cluster.flags()[..], flags].concat())?,
            web,
            stranger,
            pod: process("kubepods/burstable/podhost")?,
            service: process("service")?,
            kubelet: process("kubelet")?,
            cluster,
        };
        node.agents.b.wait_enrolled(&node.web.pod, true)?;
        Ok(node)
    }

    fn address(&self, port: u16) -> SocketAddr {
        self.web.pod.address(self.stage.family, port)
    }

    fn ask(&self, process: &HostProcess, port: u16) -> io::Result<String> {
        ask(process.connect(self.address(port))?)
    }

    /// A process of the node is not answered, in mutual TLS or otherwise.
    fn is_refused(&self, who: &str, process: &HostProcess, port: u16) -> Result<()> {
        refused(self.ask(process, port)).with_context(|| format!("{who} on port {port}"))
    }

    fn pod_is_refused(&self, pod: &Pod) -> Result<()> {
        let connected = pod.connect(self.address(WEB));
        refused(connected.and_then(ask)).with_context(|| format!("pod {}", pod.spec.name))
    }

    fn wait_probe(&self, process: &HostProcess) -> Result<()> {
        until("the kubelet to be answered", SOON, || {
            Ok(self.ask(process, WEB).ok())
        })
        .and_then(|answer| ensure_greeting(&answer))
    }

    fn counted(&self, result: &str) -> Result<f64> {
        let metrics = self.agents.b.metrics()?;
        Ok(metrics.sum(RESULTS, &[("result", result)]))
    }
}

/// `GET /` in clear.
fn ask(mut stream: TcpStream) -> io::Result<String> {
    stream.write_all(b"GET / HTTP/1.0\r\nHost: web\r\nUser-Agent: kube-probe/1.32\r\n\r\n")?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer)?;
    Ok(answer)
}

fn refused(answer: io::Result<String>) -> Result<()> {
    match answer {
        Err(error) if error.kind() == io::ErrorKind::ConnectionReset => Ok(()),
        other => anyhow::bail!("a reset was expected: {other:?}"),
    }
}

fn ensure_greeting(answer: &str) -> Result<()> {
    let good = answer.starts_with("HTTP/1.1 200") && answer.ends_with(GREETING);
    ensure!(good, "{answer}");
    Ok(())
}

fn probed(name: &str) -> PodSpec {
    PodSpec::new(NodeName::B, MESH, name)
        .app("web")
        .port("http", WEB)
        .container(
            "livenessProbe",
            json!({"httpGet": {"path": "/", "port": "http"}}),
        )
        .container(
            "readinessProbe",
            json!({"httpGet": {"port": TLS, "scheme": "HTTPS"}}),
        )
}

/// Exactly the declared ports, and exactly the kubelet: no other process of the node, no pod on its network, no pod.
pub fn kubelet(stage: &Stage<'_>) -> Result<()> {
    let node = Node::open(stage, &[])?;
    // As long as there is no kubelet nobody is taken for it, whoever has its port.
    let taken = node.pod.listen(KUBELET)?;
    node.is_refused("a pod on the kubelet's port", &node.pod, WEB)?;
    drop(taken);
    let _api = node.kubelet.listen(KUBELET)?;
    node.wait_probe(&node.kubelet)?;
    let other_processes = node.counted("other_process")?;
    for _ in 0..3 {
        ensure_greeting(&node.ask(&node.kubelet, WEB)?)?;
        node.is_refused("the kubelet", &node.kubelet, OTHER)?;
        node.is_refused("a service", &node.service, WEB)?;
        node.is_refused("a pod on the node's network", &node.pod, WEB)?;
        node.pod_is_refused(&node.stranger.pod)?;
    }
    ensure!(node.counted("passed")? >= 4.0, "probes are not counted");
    let counted = node.counted("other_process")? - other_processes;
    ensure!(counted == 6.0, "{counted} of 6 other processes");
    let opened = node.agents.b.metrics()?;
    let opened = opened.sum("istio_tcp_connections_opened_total", &[]);
    ensure!(opened == 0.0, "probes count as {opened} connections");
    application_tls(&node)?;
    told(&node)?;
    authorized(&node)
}

/// A probe by HTTPS speaks the application's own TLS.
fn application_tls(node: &Node<'_>) -> Result<()> {
    let listener = node.web.pod.listen(TLS)?;
    let mut probe = node.kubelet.connect(node.address(TLS))?;
    probe.write_all(HELLO)?;
    let (mut server, peer) = pair::accept(&listener)?;
    let mut heard = [0; HELLO.len()];
    server.read_exact(&mut heard)?;
    ensure!(heard == HELLO, "the application heard {heard:?}");
    ensure!(
        peer.ip().to_canonical() == node_address(node),
        "the application's client is {peer}"
    );
    let row = node.agents.b.connections()?;
    ensure!(
        row.iter().any(|row| row["security"] == "probe"),
        "live table: {row:?}"
    );
    Ok(())
}

fn node_address(node: &Node<'_>) -> std::net::IpAddr {
    let on = node.stage.world.node(NodeName::B);
    match node.stage.family {
        sealane_harness::Family::V4 => on.v4.into(),
        sealane_harness::Family::V6 => on.v6.into(),
    }
}

fn told(node: &Node<'_>) -> Result<()> {
    let status = node.agents.b.status()?;
    let cgroup = node.kubelet.cgroup.path().to_string_lossy();
    ensure!(status["kubelet"]["cgroup"] == *cgroup, "{status:#}");
    let web = workload(&status, &format!("{MESH}/web"));
    let probes = web.map(|web| &web["probes"]);
    ensure!(probes == Some(&json!([WEB, TLS])), "{status:#}");
    let log = node.agents.b.log()?;
    ensure!(
        log.contains("not a probe of the kubelet: it was made in cgroup"),
        "the access log doesn't say why"
    );
    Ok(())
}

/// Authorization policies are not for probes either, in whatever mode.
fn authorized(node: &Node<'_>) -> Result<()> {
    node.cluster.put(&only_from(MESH, "somebody"))?;
    node.agents.b.wait_status("the policy", |status| {
        status["source"]["loaded_at"].is_string()
    })?;
    for mode in ["PERMISSIVE", "DISABLE"] {
        let text = peer_authentication(MESH, mode);
        node.cluster.policy(&[("mesh.yaml", &text)])?;
        node.agents.b.wait_mode(&node.web.pod, mode)?;
        until("the policy to refuse the service", SOON, || {
            let answer = node.ask(&node.service, WEB).unwrap_or_default();
            Ok(answer.starts_with("HTTP/1.1 403").then_some(()))
        })?;
        ensure_greeting(&node.ask(&node.kubelet, WEB)?).context(mode)?;
        let other = node.ask(&node.kubelet, OTHER)?;
        ensure!(other.starts_with("HTTP/1.1 403"), "{mode}: {other}");
    }
    Ok(())
}

/// What was a probe is none any more when the pod doesn't declare it, or is another; and the kubelet may come back in another
/// cgroup.
pub fn changes(stage: &Stage<'_>) -> Result<()> {
    let mut node = Node::open(stage, &[])?;
    let api = node.kubelet.listen(KUBELET)?;
    node.wait_probe(&node.kubelet)?;
    drop(api);
    let again = HostProcess::start(stage.world, NodeName::B, "kubelet-again")?;
    let _api = again.listen(KUBELET)?;
    node.wait_probe(&again)?;
    node.is_refused("what was the kubelet", &node.kubelet, WEB)?;

    let mut open = again.connect(node.address(WEB))?;
    open.write_all(b"GET / HTTP/1.1\r\nHost: web\r\n\r\n")?;
    let mut answer = Vec::new();
    while !answer.ends_with(GREETING.as_bytes()) {
        let mut part = [0; 512];
        let length = open.read(&mut part)?;
        ensure!(length > 0, "what stays open ended");
        answer.extend_from_slice(&part[..length]);
    }
    node.web.pod.spec.container.clear();
    node.cluster.running(&node.web)?;
    until("the probe to be gone", SOON, || {
        Ok(refused(node.ask(&again, WEB)).ok())
    })?;
    pair::expect_over(&mut open).context("the probe that was open")?;

    let world = stage.world;
    node.web.pod.spec = probed("web");
    node.cluster.running(&node.web)?;
    node.wait_probe(&again)?;
    node.cluster.forget(&node.web)?;
    node.agents.b.wait_enrolled(&node.web.pod, false)?;
    let next = PodSpec::new(NodeName::B, MESH, "next").app("web");
    let next = node.cluster.pod(world, next)?;
    let _nginx = Nginx::http(world, &next.pod, WEB, GREETING)?;
    node.agents.b.wait_enrolled(&next.pod, true)?;
    let address = next.pod.address(stage.family, WEB);
    refused(again.connect(address).and_then(ask)).context("the pod that came after")
}

/// A cgroup that the operator names counts, whoever listens; but never that of pods.
pub fn named(stage: &Stage<'_>) -> Result<()> {
    let cgroup = |name: &str| {
        let path = stage.world.node(NodeName::B).cgroup.path().join(name);
        path.to_string_lossy().into_owned()
    };
    let mut node = Node::open(stage, &["--kubelet-cgroup", &cgroup("kubelet")])?;
    let _api = node.service.listen(KUBELET)?;
    node.wait_probe(&node.kubelet)?;
    node.is_refused("who listens", &node.service, WEB)?;
    let (world, agents) = (stage.world, &mut node.agents);
    agents.b.begin_stop()?;
    agents.b.wait_end()?;
    let pods = cgroup("kubepods/burstable/podhost");
    let flags = [&node.cluster.flags()[..], &["--kubelet-cgroup", &pods]].concat();
    agents.b = sealane_harness::Agent::start(world, NodeName::B, &flags)?;
    agents.b.wait_ready()?;
    agents.b.wait_enrolled(&node.web.pod, true)?;
    for process in [&node.pod, &node.kubelet, &node.service] {
        node.is_refused("with a cgroup that isn't the kubelet's", process, WEB)?;
    }
    ensure!(
        node.counted("no_kubelet")? == 3.0,
        "refusals are not counted"
    );
    Ok(())
}
