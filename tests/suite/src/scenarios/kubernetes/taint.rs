//! A node that keeps pods away until its agent is ready.

use anyhow::{Result, ensure};
use sealane_harness::{cluster::SYSTEM, until};
use serde_json::json;

use super::Shop;
use crate::stage::{SOON, Stage};

const TAINT: &str = "sealane.dev/agent-not-ready";

/// The agent takes the taint off as soon as it may.
pub fn startup_taint(stage: &Stage<'_>) -> Result<()> {
    let shop = Shop::open_with(stage, "STRICT", |cluster| {
        cluster.put(&json!({
            "apiVersion": "v1", "kind": "Node", "metadata": {"name": "node-a"},
            "spec": {"taints": [
                {"key": TAINT, "effect": "NoSchedule"}, {"key": "dedicated", "value": "mesh", "effect": "NoSchedule"},
            ]},
        }))?;
        let [kubeconfig, file] = cluster.flags();
        let flags = [kubeconfig, file, "--startup-taint", TAINT];
        stage.world.start_agents(&flags)
    })?;
    let told = |text: &str| {
        until(text, SOON, || {
            Ok(shop.agents.a.log()?.contains(text).then_some(()))
        })
    };
    told("can't be taken off the node")?;
    let account = json!({"kind": "ServiceAccount", "name": "sealane-agent", "namespace": SYSTEM});
    let role =
        json!({"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": "nodes"});
    for object in [
        json!({
            "apiVersion": "rbac.authorization.k8s.io/v1", "kind": "ClusterRole", "metadata": {"name": "nodes"},
            "rules": [{"apiGroups": [""], "resources": ["nodes"], "verbs": ["get", "patch"]}],
        }),
        json!({
            "apiVersion": "rbac.authorization.k8s.io/v1", "kind": "ClusterRoleBinding",
            "metadata": {"name": "nodes"}, "subjects": [account], "roleRef": role,
        }),
    ] {
        shop.cluster.put(&object)?;
    }
    told("taken off the node: pods may come")?;
    // A node that isn't there is tried again, and hurts nobody.
    let (code, text) = shop.agents.b.get("/readyz")?;
    ensure!(code == 200, "{code} {text}");
    Ok(())
}
