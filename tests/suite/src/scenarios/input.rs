//! Objects that are wrong: the last good state stays in force, and somebody is told.

use std::path::PathBuf;

use anyhow::Result;
use sealane_harness::{NodeName, PodSpec, apps::Exit, objects::MESH};
use serde_json::Value;

use crate::stage::{GREETING, Shop, Stage};

/// Documents that can't be read, aren't known or aren't enforced: each is named with file and line, and STRICT
/// stays STRICT.
pub fn bad_documents(stage: &Stage<'_>) -> Result<()> {
    const FILE: &str = "broken.yaml";
    let bad = [
        ("apiVersion: v1\nkind: Pod\nmetadata: {name: [\n", ":3"),
        (
            "apiVersion: security.istio.io/v1\nkind: PeerAuthentication\nmetadata:\n  name: x\n  \
             namespace: shop\nspec:\n  mtls:\n    mode: PERMISIVE\n",
            ":8",
        ),
        (
            "apiVersion: security.istio.io/v1\nkind: PeerAuthentication\nmetadata:\n  name: x\n  \
             namespace: shop\nspec:\n  mutualTls:\n    mode: PERMISSIVE\n",
            ":7",
        ),
        (
            "apiVersion: security.istio.io/v1\nkind: PeerAuthorization\nmetadata:\n  name: x\n",
            ":2",
        ),
        (
            "apiVersion: security.istio.io/v1\nkind: RequestAuthentication\nmetadata:\n  name: x\n",
            ":2",
        ),
        (
            "apiVersion: security.istio.io/v1\nkind: AuthorizationPolicy\nmetadata:\n  name: x\nspec:\n  rules:\n  \
             - to:\n    - operation:\n        paths: [/public]\n",
            ":9",
        ),
        ("apiVersion: v1\nkind: Pot\nmetadata:\n  name: x\n", ":2"),
        ("just words\n", ":1"),
    ];
    let shop = stage.shop("STRICT")?;
    let _nginx = shop.nginx()?;
    for (text, line) in bad {
        let objects = &shop.world().objects;
        objects.raw(FILE, text)?;
        let told = |status: &Value| {
            status["source"]["errors"].as_array().is_some_and(|errors| {
                errors.iter().any(|error| {
                    let error = error.as_str().unwrap_or_default();
                    error.contains(&format!("{FILE}{line}"))
                })
            })
        };
        let what = format!("an error of {FILE}{line} for {text}");
        shop.agents.b.wait_status(&what, told)?;
        shop.metric(NodeName::B, "sealane_policy_load_errors", &[], 1.0)?;
        still_strict(&shop)?;
        objects.remove(FILE)?;
        shop.agents.b.wait_status("no errors", |status| {
            status["source"]["errors"] == Value::Array(Vec::new())
        })?;
    }
    Ok(())
}

fn still_strict(shop: &Shop<'_>) -> Result<()> {
    shop.get(&shop.customer)?.expect_ok(GREETING)?;
    shop.get(&shop.stranger)?.expect_exit(Exit::RECEIVE_ERROR)
}

/// A pod whose network namespace is gone fails alone, with a reason.
pub fn vanished_netns(stage: &Stage<'_>) -> Result<()> {
    let shop = stage.shop("STRICT")?;
    let _nginx = shop.nginx()?;
    let spec = PodSpec::new(NodeName::B, MESH, "ghost");
    let pod = shop.world().unpublished_pod(spec)?;
    let mut ghost = pod.manifest();
    ghost.netns = PathBuf::from("/run/netns/no-such-namespace");
    shop.world().objects.pod(&ghost)?;
    shop.agents.b.wait_status("the ghost to fail", |status| {
        sealane_harness::agent::workload(status, "shop/ghost").is_some_and(|ghost| {
            ghost["state"] == "failed"
                && ghost["error"]
                    .as_str()
                    .is_some_and(|error| error.contains("no-such-namespace"))
        })
    })?;
    still_strict(&shop)
}

/// Of two pods with one address the older keeps it; the other is named as a conflict.
pub fn same_address(stage: &Stage<'_>) -> Result<()> {
    let shop = stage.shop("STRICT")?;
    let _nginx = shop.nginx()?;
    let spec = PodSpec::new(NodeName::B, MESH, "zz-twin");
    let pod = shop.world().unpublished_pod(spec)?;
    let mut twin = pod.manifest();
    twin.addresses = shop.web.manifest().addresses;
    shop.world().objects.pod(&twin)?;
    shop.agents
        .b
        .wait_status("the conflict to be told", |status| {
            status["conflicts"].as_array().is_some_and(|conflicts| {
                conflicts
                    .iter()
                    .any(|conflict| conflict.as_str().is_some_and(|c| c.contains("zz-twin")))
            })
        })?;
    still_strict(&shop)
}
