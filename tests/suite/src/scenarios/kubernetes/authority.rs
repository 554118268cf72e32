//! A CA that asks the API server.

use std::{thread, time::Duration};

use anyhow::{Context as _, Result, ensure};
use sealane_harness::{
    NodeName, PodSpec,
    apps::{CertificateCall, csr},
    authority::{AUDIENCE, Authority},
    cluster::SYSTEM,
};
use serde_json::json;

use super::Shop;
use crate::{
    scenarios::authority::{OK, P256, PERMISSION_DENIED, UNAUTHENTICATED},
    stage::{GREETING, Stage},
};

/// A CA that asks the API server whose a token is and where pods run.
pub fn authority(stage: &Stage<'_>) -> Result<()> {
    const HOUR: Duration = Duration::from_secs(3600);
    let world = stage.world;
    let agent = |node: NodeName| {
        let name = format!("agent-{}", node.name());
        PodSpec::new(node, SYSTEM, &name).app("sealane-agent")
    };
    let mut started = None;
    let shop = Shop::open_with(stage, "STRICT", |cluster| {
        for node in NodeName::ALL {
            cluster.declare(&agent(node))?;
        }
        let authority = Authority::start(world, stage.family, &cluster.authority_flags())?;
        let token = |node| cluster.token(&agent(node), AUDIENCE, HOUR);
        let agents = authority.start_agents_with(world, &cluster.flags(), token);
        started = Some(authority);
        agents
    })?;
    let authority = started.context("no CA")?;
    shop.get(&shop.customer)?.expect_ok(GREETING)?;
    ensure!(!world.ca.exists(), "an agent made a CA of its own");

    let ask = |token: String, identity: &str| -> Result<u32> {
        let scratch = world.scratch("grpc")?;
        let call = CertificateCall {
            csr: csr(&shop.stranger.pod, &scratch, &P256)?,
            validity: 60,
            impersonated: Some(identity.to_owned()),
            token: Some(token),
            ..CertificateCall::default()
        };
        Ok(call.send(&shop.stranger.pod, &authority, &scratch)?.status)
    };
    let (here, there) = (shop.customer.pod.identity(), shop.web.pod.identity());
    let token = |audience: &str, life| shop.cluster.token(&agent(NodeName::A), audience, life);
    let good = token(AUDIENCE, HOUR)?;
    ensure!(ask(good.clone(), &here)? == OK, "its own node's pod");
    ensure!(
        ask(good, &there)? == PERMISSION_DENIED,
        "another node's pod"
    );
    let refused = |what: &str, token: String| -> Result<()> {
        ensure!(ask(token, &here)? == UNAUTHENTICATED, "{what} was taken");
        Ok(())
    };
    refused("a token for somebody else", token("vault", HOUR)?)?;
    let short = token(AUDIENCE, Duration::from_secs(1))?;
    thread::sleep(Duration::from_secs(2));
    refused("a token that has expired", short)?;
    // As when the DaemonSet's pod is replaced.
    let orphan = token(AUDIENCE, HOUR)?;
    let gone = json!({
        "apiVersion": "v1", "kind": "Pod",
        "metadata": {"namespace": SYSTEM, "name": agent(NodeName::A).name},
    });
    shop.cluster.remove(&gone)?;
    refused("a token of a pod that is gone", orphan)
}
