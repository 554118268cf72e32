//! What scenarios start from: a world, and the usual cast in it.

use anyhow::{Context, Result};
use sealane_harness::{
    Family, NodeName, Pod, PodSpec, World,
    apps::{Answer, Curl, MariaDbTemplate, Nginx},
    objects::{MESH, PeerAuthentication, Service},
    until,
    world::Agents,
};
use serde_json::Value;

use std::time::Duration;

/// The port of the shop's web server, and what it answers.
pub const WEB: u16 = 8080;
pub const GREETING: &str = "fresh pomegranates";

/// How long what happens soon may take.
pub const SOON: Duration = Duration::from_secs(10);

/// A world for one trial.
#[derive(Clone, Copy)]
pub struct Stage<'a> {
    pub world: &'a World,
    pub family: Family,
    pub mariadb: &'a MariaDbTemplate,
}

/// Two mesh pods on two nodes, and one outside the mesh.
pub struct Shop<'a> {
    pub stage: Stage<'a>,
    pub agents: Agents,
    /// In the mesh, on node A.
    pub customer: Pod,
    /// In the mesh, on node B.
    pub web: Pod,
    /// Outside the mesh, on node A.
    pub stranger: Pod,
}

impl<'a> Stage<'a> {
    /// Pods and agents, with the mesh's namespace in `mode`.
    pub fn shop(&self, mode: &str) -> Result<Shop<'a>> {
        self.shop_with(mode, &[])
    }

    /// [`Stage::shop`] with more flags for the agents.
    pub fn shop_with(&self, mode: &str, flags: &[&str]) -> Result<Shop<'a>> {
        self.shop_of(mode, || self.world.start_agents(flags))
    }

    /// [`Stage::shop`] with agents that are started in another way.
    pub fn shop_of(&self, mode: &str, start: impl FnOnce() -> Result<Agents>) -> Result<Shop<'a>> {
        let world = self.world;
        let customer = world.pod(PodSpec::new(NodeName::A, MESH, "customer"))?;
        let web = world.pod(PodSpec::new(NodeName::B, MESH, "web").port("http", WEB))?;
        let stranger = world.pod(PodSpec::stranger(NodeName::A, "stranger"))?;
        let policy = PeerAuthentication::namespace(MESH, mode);
        world.objects.policy(&policy)?;
        let agents = start()?;
        agents.a.wait_enrolled(&customer, true)?;
        agents.b.wait_enrolled(&web, true)?;
        Ok(Shop {
            stage: *self,
            agents,
            customer,
            web,
            stranger,
        })
    }
}

impl Shop<'_> {
    pub fn world(&self) -> &World {
        self.stage.world
    }

    pub fn family(&self) -> Family {
        self.stage.family
    }

    /// nginx in `web`.
    pub fn nginx(&self) -> Result<Nginx> {
        Nginx::http(self.world(), &self.web, WEB, GREETING)
    }

    /// The address of a port of `web`.
    pub fn web_address(&self, port: u16) -> std::net::SocketAddr {
        self.web.address(self.family(), port)
    }

    pub fn url(&self) -> String {
        format!("http://{}/", self.web_address(WEB))
    }

    /// One request with curl to nginx in `web`.
    pub fn get(&self, from: &Pod) -> Result<Answer> {
        Curl::new(from)?.get(&self.url())
    }

    /// Puts the mesh's namespace into `mode` and waits until the web server's agent says so.
    pub fn set_mode(&self, mode: &str) -> Result<()> {
        let policy = PeerAuthentication::namespace(MESH, mode);
        self.world().objects.policy(&policy)?;
        self.agents.b.wait_mode(&self.web, mode)
    }

    /// A row of an agent's live table, as soon as `wanted` finds one.
    pub fn connection(
        &self,
        node: NodeName,
        what: &str,
        wanted: impl Fn(&Value) -> bool,
    ) -> Result<Value> {
        let agent = self.agents.on(node);
        let mut last = Vec::new();
        until(what, SOON, || {
            last = agent.connections()?;
            Ok(last.iter().find(|row| wanted(row)).cloned())
        })
        .with_context(|| format!("live table of {}: {last:?}", node.name()))
    }

    /// Waits until the sum of an agent's samples is at least `least`.
    pub fn metric(
        &self,
        node: NodeName,
        name: &str,
        labels: &[(&str, &str)],
        least: f64,
    ) -> Result<()> {
        let agent = self.agents.on(node);
        until(&format!("{name}{labels:?} >= {least}"), SOON, || {
            Ok((agent.metrics()?.sum(name, labels) >= least).then_some(()))
        })
        .with_context(|| agent.metrics_text().unwrap_or_default())
    }
}

/// A service of the mesh's namespace for pods of its name: its port 80 goes to `target_port`, at addresses that `index`
/// stands for.
pub fn service(name: &str, index: u8, target_port: &impl ToString) -> Service {
    Service {
        namespace: MESH.into(),
        name: name.into(),
        app: name.into(),
        virtual_addresses: Family::ALL
            .map(|family| World::virtual_address(family, index))
            .to_vec(),
        port: 80,
        target_port: target_port.to_string(),
    }
}
