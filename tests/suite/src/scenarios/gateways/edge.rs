//! A mesh with a gateway, and the documents that it is given.

use std::{fmt::Write as _, net::SocketAddr, path::Path, process::Command};

use anyhow::{Context, Result};
use sealane_harness::{
    Gateway, NodeName, Pod, PodSpec,
    apps::{Answer, Curl},
    objects::{MESH, PeerAuthentication},
    pki::LeafFiles,
    until,
};

use crate::stage::{GREETING, SOON, Shop, Stage};

pub(super) const HTTP: u16 = 80;
pub(super) const HTTPS: u16 = 443;
/// The label by which Gateways of the suite find their pod.
const EDGE: &str = "edge";

/// A mesh with a gateway in a pod of it, whose clients are outside.
pub(super) struct Edge<'a> {
    pub(super) shop: Shop<'a>,
    pod: Pod,
    pub(super) gateway: Gateway,
}

impl<'a> Edge<'a> {
    /// The mesh is STRICT, the gateway's own ports are not.
    pub(super) fn new(stage: &Stage<'a>, documents: &str) -> Result<Self> {
        Self::with(stage, documents, &[])
    }

    /// With more flags for the gateway.
    pub(super) fn with(stage: &Stage<'a>, documents: &str, flags: &[&str]) -> Result<Self> {
        let world = stage.world;
        let pod = world.pod(PodSpec::new(NodeName::B, MESH, EDGE))?;
        let open = PeerAuthentication::workload(MESH, EDGE, "PERMISSIVE", &[]);
        world.objects.policy(&open)?;
        world.objects.raw("edge.yaml", documents)?;
        let shop = stage.shop("STRICT")?;
        shop.agents.b.wait_enrolled(&pod, true)?;
        let mut gateway = Gateway::start(world, &pod, flags)?;
        gateway.wait_ready()?;
        Ok(Self { shop, pod, gateway })
    }

    pub(super) fn address(&self, port: u16) -> SocketAddr {
        self.pod.address(self.shop.family(), port)
    }

    /// From outside, with all hosts leading to the gateway.
    pub(super) fn client(&self) -> Result<Curl<'_>> {
        let mut curl = Curl::new(&self.shop.stranger)?;
        for port in [HTTP, HTTPS, 8080] {
            let address = self.address(port);
            let to = format!(":{port}:{}:{port}", bracketed(address));
            curl = curl.arg("--connect-to").arg(to);
        }
        Ok(curl)
    }

    /// A request from outside, for a host that leads to the gateway.
    pub(super) fn curl(&self, url: &str, root: Option<&Path>) -> Result<Answer> {
        let curl = self.client()?;
        match root {
            Some(root) => curl.arg("--cacert").arg(root),
            None => curl,
        }
        .get(url)
    }

    /// Waits for one that is answered.
    pub(super) fn wait_ok(&self, what: &str, ask: impl Fn() -> Result<Answer>) -> Result<()> {
        let mut last = None;
        until(what, SOON, || {
            let answer = ask()?;
            let ok = answer.expect_ok(GREETING).is_ok();
            last = Some(answer);
            Ok(ok.then_some(()))
        })
        .with_context(|| format!("{last:?}"))
    }

    /// Waits until so many connections have been cut.
    pub(super) fn wait_cuts(&self, reason: &str, least: f64) -> Result<()> {
        until("the cut to be counted", SOON, || {
            let cuts = self.gateway.metrics()?;
            let cuts = cuts.sum("sealane_policy_cuts_total", &[("reason", reason)]);
            Ok((cuts >= least).then_some(()))
        })
    }

    pub(super) fn refused(&self, reason: &str) -> Result<f64> {
        let labels = [("reason", reason)];
        let metrics = self.gateway.metrics()?;
        Ok(metrics.sum("sealane_connections_refused_total", &labels))
    }
}

pub(super) fn bracketed(address: SocketAddr) -> String {
    match address {
        SocketAddr::V4(v4) => v4.ip().to_string(),
        SocketAddr::V6(v6) => format!("[{}]", v6.ip()),
    }
}

/// A Secret as `kubectl create secret generic NAME --from-file=KEY=FILE` makes it.
pub(in super::super) fn secret(
    namespace: &str,
    name: &str,
    files: &[(&str, &Path)],
) -> Result<String> {
    let mut text = format!(
        "apiVersion: v1\nkind: Secret\nmetadata: {{name: {name}, namespace: {namespace}}}\ntype: Opaque\ndata:\n"
    );
    for (key, file) in files {
        let mut command = Command::new("openssl");
        let output = command.args(["base64", "-A", "-in"]).arg(file).output()?;
        writeln!(text, "  {key}: {}", String::from_utf8(output.stdout)?)?;
    }
    Ok(text)
}

pub(super) fn pair(name: &str, files: &LeafFiles) -> Result<String> {
    let files = [("tls.crt", &*files.certificate), ("tls.key", &*files.key)];
    secret(MESH, name, &files)
}

/// A Gateway of the suite's pod, with servers as `{…}` in flow style.
pub(super) fn gateway(servers: &[String]) -> String {
    let servers: String = servers.iter().map(|s| format!("  - {s}\n")).collect();
    format!(
        "apiVersion: networking.istio.io/v1\nkind: Gateway\nmetadata: {{name: edge, namespace: {MESH}}}\n\
         spec:\n  selector: {{app: {EDGE}}}\n  servers:\n{servers}---\n"
    )
}

pub(super) fn routed(name: &str, host: &str, list: &str, to: &str) -> String {
    format!(
        "apiVersion: networking.istio.io/v1\nkind: VirtualService\nmetadata: {{name: {name}, namespace: {MESH}}}\n\
         spec:\n  hosts: [\"{host}\"]\n  gateways: [edge]\n  {list}{to}\n---\n"
    )
}

pub(super) fn to(service: &str) -> String {
    format!("route: [{{destination: {{host: {service}}}}}]}}]")
}
