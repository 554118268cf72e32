//! The life of pods, as far as the API server has a part in it: "Pod Lifecycle".

use std::sync::Arc;

use anyhow::{Result, ensure};
use serde_json::json;

use crate::{
    Check,
    call::{number, text},
    check,
    stage::Stage,
};

pub const CHECKS: &[Check] = &[
    check!(
        pods::defaults,
        "a new pod is Pending, whatever status it came with, with defaults in its spec"
    ),
    check!(
        pods::invalid,
        "a pod without containers is 422 Invalid with a cause that names the field"
    ),
    check!(
        pods::status_apart,
        "the status subresource changes the status only, the pod itself all but the status"
    ),
    check!(
        pods::fixed_spec,
        "a pod's spec can't be changed, but for images"
    ),
    check!(
        pods::strategic_merge,
        "a strategic merge patch merges containers and conditions by their keys"
    ),
    check!(
        pods::grace,
        "a pod on a node gets a deletion timestamp and its grace period, and goes with a deletion without grace"
    ),
    check!(
        pods::no_grace_without_node,
        "a pod without a node goes at once"
    ),
    check!(
        pods::name_again,
        "a pod that is made again under the same name has another uid"
    ),
];

pub async fn defaults(stage: Arc<Stage>) -> Result<()> {
    let pod = json!({
        "metadata": {"name": "a"}, "status": {"phase": "Running", "podIP": "10.1.2.3"},
        "spec": {"schedulerName": "nobody", "containers": [{"name": "main", "image": "x", "ports": [{"containerPort": 80}]}]},
    });
    let made = stage
        .api
        .create(&stage.path("pods"), pod)
        .await?
        .is(201)?
        .body;
    ensure!(
        made["status"]["phase"] == "Pending" && made["status"]["podIP"].is_null(),
        "{}",
        made["status"]
    );
    let spec = &made["spec"];
    ensure!(
        spec["restartPolicy"] == "Always" && spec["serviceAccountName"] == "default",
        "{spec}"
    );
    ensure!(
        spec["terminationGracePeriodSeconds"] == 30 && spec["dnsPolicy"] == "ClusterFirst",
        "{spec}"
    );
    ensure!(
        spec["containers"][0]["ports"][0]["protocol"] == "TCP",
        "{spec}"
    );
    Ok(())
}

pub async fn invalid(stage: Arc<Stage>) -> Result<()> {
    let pod = json!({"metadata": {"name": "a"}, "spec": {"containers": []}});
    let refused = stage
        .api
        .create(&stage.path("pods"), pod)
        .await?
        .fails(422, "Invalid")?;
    ensure!(
        text(&refused.body, "/details/causes/0/field") == "spec.containers",
        "{}",
        refused.body
    );
    Ok(())
}

pub async fn status_apart(stage: Arc<Stage>) -> Result<()> {
    let path = format!("{}/a", stage.path("pods"));
    stage.pod("a", None).await?;
    let patch = json!({"status": {"phase": "Running", "podIP": "10.1.2.3", "podIPs": [{"ip": "10.1.2.3"}]}, "spec": {"hostname": "x"}});
    let told = stage
        .api
        .merge(&format!("{path}/status"), patch)
        .await?
        .is(200)?
        .body;
    ensure!(
        told["status"]["phase"] == "Running" && told["spec"]["hostname"].is_null(),
        "{told}"
    );
    let patch = json!({"status": {"phase": "Failed"}, "metadata": {"labels": {"x": "y"}}});
    let changed = stage.api.merge(&path, patch).await?.is(200)?.body;
    ensure!(
        changed["status"]["phase"] == "Running" && text(&changed, "/metadata/labels/x") == "y",
        "{changed}"
    );
    let read = stage
        .api
        .get(&format!("{path}/status"))
        .await?
        .is(200)?
        .body;
    ensure!(read["status"]["podIP"] == "10.1.2.3", "{read}");
    Ok(())
}

pub async fn fixed_spec(stage: Arc<Stage>) -> Result<()> {
    let path = format!("{}/a", stage.path("pods"));
    stage.pod("a", None).await?;
    stage
        .api
        .merge(&path, json!({"spec": {"hostNetwork": true}}))
        .await?
        .fails(422, "Invalid")?;
    let containers = json!([{"op": "replace", "path": "/spec/containers/0/image", "value": "example.invalid/two"}]);
    let patched = stage
        .api
        .send(
            "PATCH",
            &path,
            "application/json-patch+json",
            containers.to_string(),
        )
        .await?
        .is(200)?;
    ensure!(
        patched.body["spec"]["containers"][0]["image"] == "example.invalid/two",
        "{}",
        patched.body
    );
    Ok(())
}

pub async fn strategic_merge(stage: Arc<Stage>) -> Result<()> {
    let path = format!("{}/a", stage.path("pods"));
    stage.pod("a", None).await?;
    let kind = "application/strategic-merge-patch+json";
    let patch = json!({"spec": {"containers": [{"name": "main", "image": "example.invalid/two"}]}});
    let patched = stage
        .api
        .send("PATCH", &path, kind, patch.to_string())
        .await?
        .is(200)?
        .body;
    let containers = patched["spec"]["containers"]
        .as_array()
        .cloned()
        .unwrap_or_default();
    ensure!(
        containers.len() == 1 && containers[0]["image"] == "example.invalid/two",
        "{containers:?}"
    );
    for (kind_of_condition, status) in [
        ("Ready", "False"),
        ("example.com/x", "True"),
        ("Ready", "True"),
    ] {
        let patch =
            json!({"status": {"conditions": [{"type": kind_of_condition, "status": status}]}});
        stage
            .api
            .send("PATCH", &format!("{path}/status"), kind, patch.to_string())
            .await?
            .is(200)?;
    }
    let read = stage.api.get(&path).await?.is(200)?.body;
    let conditions = read["status"]["conditions"]
        .as_array()
        .cloned()
        .unwrap_or_default();
    let ready: Vec<_> = conditions
        .iter()
        .filter(|condition| condition["type"] == "Ready")
        .collect();
    ensure!(
        conditions.len() >= 2 && ready.len() == 1 && ready[0]["status"] == "True",
        "{conditions:?}"
    );
    Ok(())
}

pub async fn grace(stage: Arc<Stage>) -> Result<()> {
    let path = stage.path("pods");
    let made = stage.pod("a", Some(&stage.unique("node"))).await?;
    let mut watch = stage
        .api
        .watch(&format!("{path}?resourceVersion={}", number(&made)?))
        .await?;
    let path = format!("{path}/a");
    let leaving = stage.api.delete(&path).await?.is(200)?.body;
    ensure!(
        leaving["metadata"]["deletionGracePeriodSeconds"] == 20,
        "{}",
        leaving["metadata"]
    );
    let seen = watch.expect("MODIFIED").await?;
    ensure!(seen["metadata"]["deletionTimestamp"].is_string(), "{seen}");
    let now = json!({"gracePeriodSeconds": 0}).to_string();
    stage
        .api
        .send("DELETE", &path, "application/json", now)
        .await?
        .is(200)?;
    while watch.change().await?.0 != "DELETED" {}
    stage.api.get(&path).await?.fails(404, "NotFound")?;
    Ok(())
}

pub async fn no_grace_without_node(stage: Arc<Stage>) -> Result<()> {
    let path = format!("{}/a", stage.path("pods"));
    stage.pod("a", None).await?;
    stage.api.delete(&path).await?.is(200)?;
    stage.api.get(&path).await?.fails(404, "NotFound")?;
    Ok(())
}

pub async fn name_again(stage: Arc<Stage>) -> Result<()> {
    let path = format!("{}/a", stage.path("pods"));
    let first = stage.pod("a", None).await?;
    stage.api.delete(&path).await?.is(200)?;
    let second = stage.pod("a", None).await?;
    ensure!(
        first["metadata"]["uid"] != second["metadata"]["uid"],
        "{second}"
    );
    Ok(())
}
