//! Documents that can't be used: they are a matter of their namespace.

use anyhow::{Result, ensure};
use sealane_harness::{
    Agent, NodeName, PodSpec,
    apps::{Curl, Exit, Nginx},
    cluster::ClusterPod,
    until,
};
use serde_json::{Value, json};

use super::{REFUSED, Shop};
use crate::stage::{GREETING, SOON, Stage, WEB};

/// A namespace whose documents are a tenant's own.
const TENANT: &str = "tenant";
const OWN: &str = "of the tenant";
const ROOT: &str = "istio-system";
const HELD: &str = "sealane_policy_namespaces_held_back";

/// One of Istio's resources, as written.
fn mode(namespace: &str, mode: &str) -> Value {
    json!({
        "apiVersion": "security.istio.io/v1", "kind": "PeerAuthentication",
        "metadata": {"name": "default", "namespace": namespace, "uid": format!("p-{namespace}")},
        "spec": {"mtls": {"mode": mode}},
    })
}

/// Who writes nonsense keeps nobody else from changing policy, whether agents have known better or have just started.
pub fn bad_document(stage: &Stage<'_>) -> Result<()> {
    let mut shop = Shop::open(stage, "PERMISSIVE")?;
    shop.cluster.namespace(TENANT, true)?;
    let spec = PodSpec::new(NodeName::B, TENANT, "victim").port("http", WEB);
    let victim = shop.cluster.pod(stage.world, spec)?;
    let _nginx = Nginx::http(stage.world, &victim.pod, WEB, OWN)?;
    shop.agents.b.wait_enrolled(&victim.pod, true)?;

    shop.cluster.put(&mode(TENANT, "STRICTLY"))?;
    let errors = shop.wait_errors("an error", |errors| !errors.is_empty())?;
    ensure!(
        errors[0].starts_with("PeerAuthentication tenant/default: spec.mtls.mode: "),
        "{errors:?}"
    );
    shop.set_mode("STRICT")?;
    shop.get_directly(&shop.stranger)?
        .expect_exit(Exit::RECEIVE_ERROR)?;
    shop.wait_held(TENANT, false)?;
    shop.ask(&shop.stranger, &victim)?.expect_ok(OWN)?;

    shop.restart(stage)?.wait_ready()?;
    shop.wait_held(TENANT, true)?;
    // Ready means that the objects are known; the pods of the node are found a moment later.
    shop.agents.b.wait_enrolled(&shop.web.pod, true)?;
    shop.get(&shop.customer)?.expect_ok(GREETING)?;
    shop.get_directly(&shop.stranger)?
        .expect_exit(Exit::RECEIVE_ERROR)?;
    shop.agents.b.wait_enrolled(&victim.pod, true)?;
    shop.ask(&shop.stranger, &victim)?
        .expect_exit(Exit::RECEIVE_ERROR)?;
    let answer = shop.ask(&shop.customer, &victim)?;
    ensure!(
        answer.status == 403 && answer.body.contains(REFUSED),
        "{}",
        answer.output.describe()
    );
    shop.set_mode("PERMISSIVE")?;

    shop.cluster.put(&mode(TENANT, "PERMISSIVE"))?;
    shop.wait_errors("no error", <[String]>::is_empty)?;
    until("the tenant to be reached", SOON, || {
        Ok((shop.ask(&shop.stranger, &victim)?.status == 200).then_some(()))
    })?;
    root(&mut shop)
}

/// What is said of the whole mesh stays in force; an agent that has never known it lets nobody in and isn't ready.
fn root(shop: &mut Shop<'_>) -> Result<()> {
    let stage = shop.stage;
    shop.cluster.put(&mode(ROOT, "MOSTLY"))?;
    shop.wait_held(ROOT, false)?;
    shop.set_mode("STRICT")?;
    shop.get(&shop.customer)?.expect_ok(GREETING)?;
    let agent = shop.restart(&stage)?;
    until("the agent to say why it isn't ready", SOON, || {
        let text = agent.get("/readyz").unwrap_or_default();
        let told = text.0 == 503 && text.1.contains("PeerAuthentication istio-system/default");
        Ok(told.then_some(()))
    })?;
    shop.wait_held(ROOT, true)?;
    shop.agents.b.wait_enrolled(&shop.web.pod, true)?;
    ensure!(
        shop.get(&shop.customer)?.status == 403,
        "nobody knows whether that is allowed"
    );
    shop.cluster.put(&mode(ROOT, "PERMISSIVE"))?;
    shop.agents.b.wait_ready()?;
    until("connections to be allowed", SOON, || {
        Ok((shop.get(&shop.customer)?.status == 200).then_some(()))
    })
}

impl Shop<'_> {
    /// An agent of the web's node that knows nothing.
    fn restart(&mut self, stage: &Stage<'_>) -> Result<&mut Agent> {
        self.agents.b.kill()?;
        let flags = self.cluster.flags();
        self.agents.b = Agent::start(stage.world, NodeName::B, &flags)?;
        Ok(&mut self.agents.b)
    }

    fn ask(&self, from: &ClusterPod, to: &ClusterPod) -> Result<sealane_harness::apps::Answer> {
        let address = to.pod.address(self.stage.family, WEB);
        Curl::new(&from.pod)?.get(&format!("http://{address}/"))
    }

    /// Waits until exactly this namespace is held back, and status, metric and readiness say so.
    fn wait_held(&self, namespace: &str, closed: bool) -> Result<()> {
        let agent = &self.agents.b;
        let is_it = |status: &Value| {
            let held = status["source"]["held_back"].as_array();
            held.is_some_and(|held| {
                held.len() == 1 && held[0]["namespace"] == namespace && held[0]["closed"] == closed
            })
        };
        until("the namespace to be held back", SOON, || {
            Ok(agent.status().is_ok_and(|s| is_it(&s)).then_some(()))
        })?;
        let state = if closed { "closed" } else { "last_good" };
        until("the metric", SOON, || {
            let count = agent.metrics()?.sum(HELD, &[("state", state)]);
            Ok((count >= 1.0).then_some(()))
        })?;
        let (_, text) = agent.get("/readyz")?;
        ensure!(text.contains(namespace), "{text}");
        Ok(())
    }
}
