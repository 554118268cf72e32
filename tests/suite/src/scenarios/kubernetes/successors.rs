//! Addresses that change hands unseen.

use std::time::Duration;

use anyhow::Result;
use sealane_harness::{
    NodeName, PodSpec,
    apps::{Curl, Nginx},
    cluster::ClusterPod,
    objects::MESH,
    until,
};
use serde_json::json;

use super::Shop;
use crate::stage::WEB;

/// A server's address is another's while the API server is away, and nobody is told but by lists, which are slow.
pub(super) fn follow(shop: &Shop<'_>) -> Result<()> {
    // The agents' client waits longer after each failure, up to half a minute, until two minutes went well.
    const LISTED: Duration = Duration::from_secs(90);
    let (world, cluster) = (shop.stage.world, &shop.cluster);
    let host = world.next_host();
    cluster.order(&json!({"populate": {"nodes": 2, "pods": 400, "namespaces": 4}}))?;
    let slow = json!({"verb": "list", "resource": "pods", "effect": {"delay": {"millis": 300}}});
    cluster.order(&json!({"fault": slow}))?;
    let mut before: Option<ClusterPod> = None;
    for round in 0..2 {
        cluster.order(&json!({"away": {"millis": 1500}}))?;
        if let Some(before) = before.take() {
            cluster.forget(&before)?;
        }
        let name = format!("server-{round}");
        let spec = PodSpec::new(NodeName::B, MESH, &name).port("http", WEB);
        let server = cluster.unstarted(world, spec, host)?;
        cluster.running(&server)?;
        cluster.order(&json!("forgetHistory"))?;
        let _nginx = Nginx::http(world, &server.pod, WEB, &name)?;
        let url = format!("http://{}/", server.pod.address(shop.stage.family, WEB));
        until("the successor to be reached", LISTED, || {
            let answer = Curl::new(&shop.customer.pod)?.get(&url)?;
            Ok((answer.status == 200 && answer.body.contains(&name)).then_some(()))
        })?;
        before = Some(server);
    }
    Ok(())
}
