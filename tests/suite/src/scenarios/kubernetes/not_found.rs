//! Where pods are, and that it is told when they are nowhere.

use std::{fs, thread, time::Duration};

use anyhow::{Result, ensure};
use sealane_harness::{
    Agent, NodeName, PodSpec, agent, cluster::Cluster, objects::MESH, pace, until,
};

use super::Shop;
use crate::stage::{GREETING, SOON, Stage};

/// As kubelet makes it of a manifest.
const HASH: &str = "0123456789abcdef0123456789abcdef";
/// Longer than pods that don't start are looked for at every moment, and than they are waited for.
const LONG: Duration = Duration::from_secs(40);

/// A pod of the mesh that runs, as the API says, and is nowhere on its node: who, since when and why.
pub fn not_found(stage: &Stage<'_>) -> Result<()> {
    let shop = Shop::open(stage, "STRICT")?;
    let spec = PodSpec::new(NodeName::A, MESH, "lost");
    let address = shop.stranger.pod.ip(stage.family);
    shop.cluster.forget(&shop.stranger)?;
    shop.cluster.declare_at(&spec, &[address])?;
    let name = format!("{MESH}/lost");
    let agent = &shop.agents.a;
    until("the pod to be missed", pace::span(LONG), || {
        let status = agent.status()?;
        let row = agent::workload(&status, &name);
        let error = row.and_then(|row| row["error"].as_str());
        let told = status["source"]["not_found"][0]["pod"] == *name;
        Ok(
            (told && error.is_some_and(|e| e.contains("since") && e.contains("cgroup")))
                .then_some(()),
        )
    })?;
    until("the metric", SOON, || {
        let missed = agent.metrics()?.sum("sealane_pods_not_found", &[]);
        Ok((missed > 0.5).then_some(()))
    })?;
    let (code, text) = agent.get("/readyz")?;
    ensure!(code == 200 && text.contains(&name), "{code} {text}");
    let log = agent.log()?;
    ensure!(log.contains("isn't found on its node"), "{log}");
    shop.get(&shop.customer)?.expect_ok(GREETING)?;
    static_pod(&shop)?;
    moved(&shop)
}

/// Kubelet names the cgroup of a static pod after the hash of its manifest.
fn static_pod(shop: &Shop<'_>) -> Result<()> {
    let spec = PodSpec::new(NodeName::A, MESH, "fixed-a").app("fixed");
    let fixed = shop.cluster.static_pod(shop.stage.world, spec, HASH)?;
    shop.agents.a.wait_enrolled(&fixed.pod, true)?;
    shop.get(&fixed)?.expect_ok(GREETING)
}

/// A pod whose processes leave their network for one of their own stays captured where it was.
fn moved(shop: &Shop<'_>) -> Result<()> {
    let spec = PodSpec::new(NodeName::A, MESH, "mover");
    let mut mover = shop.cluster.pod(shop.stage.world, spec)?;
    let agent = &shop.agents.a;
    agent.wait_enrolled(&mover.pod, true)?;
    let mut own = mover.pod.command("unshare")?;
    own.args(["--net", "sleep", "infinity"]);
    let _own = mover.pod.spawn("own-network", own)?;
    // It must have made its network before nobody is left in the other one.
    thread::sleep(pace::span(Duration::from_millis(500)));
    mover.end_pause()?;
    thread::sleep(pace::span(Duration::from_secs(8)));
    agent.wait_enrolled(&mover.pod, true)?;
    shop.get(&mover)?.expect_ok(GREETING)
}

/// Without kubelet's cgroup nobody can be held back: an agent that should is not ready, and says why.
pub fn unguarded(stage: &Stage<'_>) -> Result<()> {
    let cluster = Cluster::start(stage.world, stage.family)?;
    let pods = stage.world.node(NodeName::A).cgroup.path().join("kubepods");
    for class in ["burstable", "besteffort"] {
        fs::remove_dir(pods.join(class))?;
    }
    fs::remove_dir(&pods)?;
    let mut agent = Agent::start(stage.world, NodeName::A, &cluster.flags())?;
    until("the agent to say why it isn't ready", SOON, || {
        let (code, text) = agent.get("/readyz").unwrap_or_default();
        Ok((code == 503 && text.contains("no kubepods cgroup")).then_some(()))
    })?;
    until("the metric", SOON, || {
        let unguarded = agent.metrics()?.sum("sealane_unknown_pods_unguarded", &[]);
        Ok((unguarded > 0.5).then_some(()))
    })?;
    fs::create_dir_all(pods.join("burstable"))?;
    agent.wait_ready()?;
    drop(agent);
    let lenient = [&cluster.flags()[..], &["--unknown-pods", "pass"]].concat();
    fs::remove_dir(pods.join("burstable"))?;
    fs::remove_dir(&pods)?;
    Agent::start(stage.world, NodeName::A, &lenient)?.wait_ready()
}
