//! Deletion, and what comes and goes with other objects: "Finalizers", "Namespaces", "Custom Resources".

use std::{sync::Arc, time::Duration};

use anyhow::{Result, bail, ensure};
use serde_json::{Value, json};

use crate::{
    Check,
    call::{number, text},
    check,
    stage::Stage,
};

pub const CHECKS: &[Check] = &[
    check!(
        ends::finalizers,
        "an object with finalizers stays, with a deletion timestamp, until they are gone"
    ),
    check!(
        ends::preconditions,
        "a deletion of another uid or version is 409 Conflict"
    ),
    check!(
        ends::collection,
        "deletecollection deletes what is selected"
    ),
    check!(
        ends::dry_run,
        "dryRun=All answers as usual and changes nothing"
    ),
    check!(
        ends::namespace_ends,
        "nothing can be made in a namespace that is being deleted, and what it held goes"
    ),
    check!(
        ends::custom_resources,
        "a custom resource is there while it is defined, and 404 before and after"
    ),
];

pub async fn finalizers(stage: Arc<Stage>) -> Result<()> {
    let path = stage.path("configmaps");
    let object = json!({"metadata": {"name": "a", "finalizers": ["example.com/hold"]}});
    let made = stage.api.create(&path, object).await?.is(201)?.body;
    let mut watch = stage
        .api
        .watch(&format!("{path}?resourceVersion={}", number(&made)?))
        .await?;
    let path = format!("{path}/a");
    stage.api.delete(&path).await?;
    let held = watch.expect("MODIFIED").await?;
    ensure!(held["metadata"]["deletionTimestamp"].is_string(), "{held}");
    stage.api.get(&path).await?.is(200)?;
    stage
        .api
        .merge(&path, json!({"metadata": {"finalizers": null}}))
        .await?
        .is(200)?;
    watch.expect("DELETED").await?;
    stage.api.get(&path).await?.fails(404, "NotFound")?;
    Ok(())
}

pub async fn preconditions(stage: Arc<Stage>) -> Result<()> {
    let path = format!("{}/a", stage.path("configmaps"));
    let made = stage.config_map("a", &[]).await?;
    let delete = |conditions: Value| {
        let options =
            json!({"apiVersion": "v1", "kind": "DeleteOptions", "preconditions": conditions});
        stage
            .api
            .send("DELETE", &path, "application/json", options.to_string())
    };
    delete(json!({"uid": "00000000-0000-4000-8000-000000000000"}))
        .await?
        .fails(409, "Conflict")?;
    delete(json!({"resourceVersion": "1"}))
        .await?
        .fails(409, "Conflict")?;
    delete(json!({"uid": made["metadata"]["uid"]}))
        .await?
        .is(200)?;
    Ok(())
}

pub async fn collection(stage: Arc<Stage>) -> Result<()> {
    stage.config_map("a", &[("x", "1")]).await?;
    stage.config_map("b", &[]).await?;
    stage.config_map("c", &[("x", "1")]).await?;
    let path = stage.path("configmaps");
    stage
        .api
        .delete(&format!("{path}?labelSelector=x%3D1"))
        .await?
        .is(200)?;
    let names = stage.api.get(&path).await?.is(200)?.names();
    ensure!(
        names.contains(&"b".into()) && !names.contains(&"a".into()) && !names.contains(&"c".into()),
        "{names:?}"
    );
    Ok(())
}

pub async fn dry_run(stage: Arc<Stage>) -> Result<()> {
    let path = stage.path("configmaps");
    stage
        .api
        .create(
            &format!("{path}?dryRun=All"),
            json!({"metadata": {"name": "a"}}),
        )
        .await?
        .is(201)?;
    stage
        .api
        .get(&format!("{path}/a"))
        .await?
        .fails(404, "NotFound")?;
    stage.config_map("b", &[]).await?;
    let patch = json!({"data": {"k": "2"}});
    let told = stage
        .api
        .merge(&format!("{path}/b?dryRun=All"), patch)
        .await?
        .is(200)?
        .body;
    ensure!(told["data"]["k"] == "2", "{told}");
    stage
        .api
        .delete(&format!("{path}/b?dryRun=All"))
        .await?
        .is(200)?;
    let kept = stage.api.get(&format!("{path}/b")).await?.is(200)?.body;
    ensure!(kept["data"]["k"] == "v", "{kept}");
    Ok(())
}

pub async fn namespace_ends(stage: Arc<Stage>) -> Result<()> {
    let name = stage.unique("doomed");
    let path = format!("/api/v1/namespaces/{name}");
    stage
        .api
        .create("/api/v1/namespaces", json!({"metadata": {"name": name}}))
        .await?
        .is(201)?;
    let held = json!({"metadata": {"name": "a", "finalizers": ["example.com/hold"]}});
    stage
        .api
        .create(&format!("{path}/configmaps"), held)
        .await?
        .is(201)?;
    let gone = stage.api.delete(&path).await?.is(200)?.body;
    ensure!(text(&gone, "/status/phase") == "Terminating", "{gone}");
    let refused = stage
        .api
        .create(
            &format!("{path}/secrets"),
            json!({"metadata": {"name": "b"}}),
        )
        .await?;
    let refused = refused.fails(403, "Forbidden")?;
    ensure!(
        text(&refused.body, "/details/causes/0/reason") == "NamespaceTerminating",
        "{}",
        refused.body
    );
    stage
        .api
        .merge(
            &format!("{path}/configmaps/a"),
            json!({"metadata": {"finalizers": null}}),
        )
        .await?
        .is(200)?;
    Ok(())
}

pub async fn custom_resources(stage: Arc<Stage>) -> Result<()> {
    let group = format!("{}.example", stage.namespace);
    let name = format!("things.{group}");
    let definitions = "/apis/apiextensions.k8s.io/v1/customresourcedefinitions";
    stage.remove_later(&format!("{definitions}/{name}"));
    let path = stage.path_of(&format!("{group}/v1"), "things");
    stage.api.get(&path).await?.is(404)?;
    let schema = json!({"type": "object", "x-kubernetes-preserve-unknown-fields": true});
    let definition = json!({
        "apiVersion": "apiextensions.k8s.io/v1", "kind": "CustomResourceDefinition", "metadata": {"name": name},
        "spec": {
            "group": group, "scope": "Namespaced",
            "names": {"plural": "things", "singular": "thing", "kind": "Thing", "listKind": "ThingList"},
            "versions": [{"name": "v1", "served": true, "storage": true, "schema": {"openAPIV3Schema": schema}}],
        },
    });
    stage.api.create(definitions, definition).await?.is(201)?;
    becomes(&stage, &path, 200).await?;
    let thing = json!({"apiVersion": format!("{group}/v1"), "kind": "Thing", "metadata": {"name": "a"}, "spec": {"x": 1}});
    let made = stage.api.create(&path, thing).await?.is(201)?.body;
    ensure!(made["kind"] == "Thing" && made["spec"]["x"] == 1, "{made}");
    let list = stage.api.get(&path).await?.is(200)?.body;
    ensure!(
        list["kind"] == "ThingList" && list["items"][0]["kind"] == "Thing",
        "{list}"
    );
    let (one, kind) = (
        format!("{path}/a"),
        "application/strategic-merge-patch+json",
    );
    stage
        .api
        .send("PATCH", &one, kind, "{}".into())
        .await?
        .is(415)?;
    stage
        .api
        .delete(&format!("{definitions}/{name}"))
        .await?
        .is(200)?;
    becomes(&stage, &path, 404).await
}

async fn becomes(stage: &Stage, path: &str, code: u16) -> Result<()> {
    for _ in 0..100 {
        if stage.api.get(path).await?.code == code {
            return Ok(());
        }
        tokio::time::sleep(Duration::from_millis(200)).await;
    }
    bail!("{path} does not become {code}")
}
