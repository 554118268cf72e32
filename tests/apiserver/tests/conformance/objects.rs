//! Creation and changes: "Kubernetes API Concepts", "API Conventions".

use std::sync::Arc;

use anyhow::{Result, ensure};
use serde_json::{Value, json};

use crate::{
    Check,
    call::{number, text},
    check,
    stage::Stage,
};

pub const CHECKS: &[Check] = &[
    check!(
        objects::created,
        "a created object has a uid, a creation timestamp and a version, and can be read"
    ),
    check!(
        objects::names,
        "a name that is taken is 409 AlreadyExists, generateName makes one, a bad one is 422"
    ),
    check!(
        objects::missing,
        "what isn't there is 404 NotFound with a Status that names it, for every verb"
    ),
    check!(
        objects::misplaced,
        "another kind, namespace or name than the path's is 400, an unknown namespace 404"
    ),
    check!(
        objects::conflicts,
        "an update with an old version is 409 Conflict, one without a version is not"
    ),
    check!(
        objects::unchanged,
        "an update that changes nothing makes no new version"
    ),
    check!(
        objects::fixed_metadata,
        "uid and creation timestamp can't be changed; a wrong uid is 409"
    ),
    check!(
        objects::merge_patch,
        "a merge patch replaces lists and removes what is null"
    ),
    check!(
        objects::json_patch,
        "a JSON patch is applied as a whole or, when a test in it fails, not at all"
    ),
    check!(
        objects::unknown_patch,
        "a patch of another media type is 415 UnsupportedMediaType"
    ),
    check!(
        objects::patch_with_version,
        "a patch that names an old version is 409 Conflict"
    ),
    check!(
        objects::generation,
        "a change of the spec counts in metadata.generation, labels and status don't"
    ),
    check!(
        objects::slices,
        "endpoint slices, services and endpoints are stored as they are given"
    ),
];

pub async fn created(stage: Arc<Stage>) -> Result<()> {
    let made = stage.config_map("a", &[("x", "y")]).await?;
    for pointer in [
        "/metadata/uid",
        "/metadata/creationTimestamp",
        "/metadata/resourceVersion",
    ] {
        ensure!(!text(&made, pointer).is_empty(), "no {pointer}: {made}");
    }
    let read = stage
        .api
        .get(&format!("{}/a", stage.path("configmaps")))
        .await?
        .is(200)?
        .body;
    ensure!(
        read["metadata"]["uid"] == made["metadata"]["uid"] && read["data"] == made["data"],
        "{read}"
    );
    ensure!(
        read["kind"] == "ConfigMap" && read["apiVersion"] == "v1",
        "{read}"
    );
    Ok(())
}

pub async fn names(stage: Arc<Stage>) -> Result<()> {
    let path = stage.path("configmaps");
    stage.config_map("a", &[]).await?;
    stage
        .api
        .create(&path, json!({"metadata": {"name": "a"}}))
        .await?
        .fails(409, "AlreadyExists")?;
    let made = stage
        .api
        .create(&path, json!({"metadata": {"generateName": "b-"}}))
        .await?
        .is(201)?
        .body;
    let name = text(&made, "/metadata/name");
    ensure!(name.starts_with("b-") && name.len() == 7, "{name}");
    stage
        .api
        .create(&path, json!({"metadata": {"name": "Not_A_Name"}}))
        .await?
        .fails(422, "Invalid")?;
    stage
        .api
        .create(&path, json!({"metadata": {}}))
        .await?
        .fails(422, "Invalid")?;
    Ok(())
}

pub async fn missing(stage: Arc<Stage>) -> Result<()> {
    let path = format!("{}/none", stage.path("configmaps"));
    let got = stage.api.get(&path).await?.fails(404, "NotFound")?;
    ensure!(
        got.body["details"]["name"] == "none" && got.body["details"]["kind"] == "configmaps",
        "{}",
        got.body
    );
    stage
        .api
        .merge(&path, json!({"data": {}}))
        .await?
        .fails(404, "NotFound")?;
    stage.api.delete(&path).await?.fails(404, "NotFound")?;
    stage.api.get(&stage.path("nothings")).await?.is(404)?;
    Ok(())
}

pub async fn misplaced(stage: Arc<Stage>) -> Result<()> {
    let path = stage.path("configmaps");
    let wrong = [
        json!({"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "a"}}),
        json!({"metadata": {"name": "a", "namespace": "another"}}),
    ];
    for object in wrong {
        stage
            .api
            .create(&path, object)
            .await?
            .fails(400, "BadRequest")?;
    }
    stage.config_map("a", &[]).await?;
    let renamed = json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "b"}});
    stage
        .api
        .update(&format!("{path}/a"), &renamed)
        .await?
        .fails(400, "BadRequest")?;
    let nowhere = format!("/api/v1/namespaces/{}/configmaps", stage.unique("nowhere"));
    stage
        .api
        .create(&nowhere, json!({"metadata": {"name": "a"}}))
        .await?
        .fails(404, "NotFound")?;
    Ok(())
}

pub async fn conflicts(stage: Arc<Stage>) -> Result<()> {
    let path = format!("{}/a", stage.path("configmaps"));
    let mut object = stage.config_map("a", &[]).await?;
    object["data"]["k"] = json!("2");
    stage.api.update(&path, &object).await?.is(200)?;
    object["data"]["k"] = json!("3");
    let refused = stage
        .api
        .update(&path, &object)
        .await?
        .fails(409, "Conflict")?;
    ensure!(
        text(&refused.body, "/message").contains("the object has been modified"),
        "{}",
        refused.body
    );
    object["metadata"]["resourceVersion"] = json!("");
    let updated = stage.api.update(&path, &object).await?.is(200)?.body;
    ensure!(updated["data"]["k"] == "3", "{updated}");
    Ok(())
}

pub async fn unchanged(stage: Arc<Stage>) -> Result<()> {
    let path = format!("{}/a", stage.path("configmaps"));
    let object = stage.config_map("a", &[]).await?;
    let updated = stage.api.update(&path, &object).await?.is(200)?.body;
    let patched = stage
        .api
        .merge(&path, json!({"data": {"k": "v"}}))
        .await?
        .is(200)?
        .body;
    let versions = (number(&object)?, number(&updated)?, number(&patched)?);
    ensure!(
        versions.0 == versions.1 && versions.0 == versions.2,
        "{versions:?}"
    );
    Ok(())
}

pub async fn fixed_metadata(stage: Arc<Stage>) -> Result<()> {
    let path = format!("{}/a", stage.path("configmaps"));
    let object = stage.config_map("a", &[]).await?;
    let other = json!({"metadata": {"uid": "00000000-0000-4000-8000-000000000000"}});
    stage
        .api
        .merge(&path, other)
        .await?
        .fails(409, "Conflict")?;
    let old =
        json!({"metadata": {"creationTimestamp": "2001-01-01T00:00:00Z"}, "data": {"k": "2"}});
    let patched = stage.api.merge(&path, old).await?.is(200)?.body;
    ensure!(
        patched["metadata"]["creationTimestamp"] == object["metadata"]["creationTimestamp"],
        "{patched}"
    );
    Ok(())
}

pub async fn merge_patch(stage: Arc<Stage>) -> Result<()> {
    let path = format!("{}/a", stage.path("configmaps"));
    stage.config_map("a", &[("x", "1"), ("y", "2")]).await?;
    let patch =
        json!({"metadata": {"labels": {"x": null, "z": "3"}}, "data": {"k": null, "l": "w"}});
    let patched = stage.api.merge(&path, patch).await?.is(200)?.body;
    ensure!(
        patched["metadata"]["labels"] == json!({"y": "2", "z": "3"}),
        "{patched}"
    );
    ensure!(patched["data"] == json!({"l": "w"}), "{patched}");
    Ok(())
}

pub async fn json_patch(stage: Arc<Stage>) -> Result<()> {
    let path = format!("{}/a", stage.path("configmaps"));
    stage.config_map("a", &[]).await?;
    let send = |patch: Value| {
        stage.api.send(
            "PATCH",
            &path,
            "application/json-patch+json",
            patch.to_string(),
        )
    };
    let good = json!([{"op": "test", "path": "/data/k", "value": "v"}, {"op": "add", "path": "/data/l", "value": "w"}]);
    let patched = send(good).await?.is(200)?.body;
    ensure!(patched["data"] == json!({"k": "v", "l": "w"}), "{patched}");
    let bad = json!([{"op": "remove", "path": "/data/l"}, {"op": "test", "path": "/data/k", "value": "?"}]);
    send(bad).await?.fails(422, "Invalid")?;
    let read = stage.api.get(&path).await?.is(200)?.body;
    ensure!(read["data"] == patched["data"], "{read}");
    Ok(())
}

pub async fn unknown_patch(stage: Arc<Stage>) -> Result<()> {
    stage.config_map("a", &[]).await?;
    let path = format!("{}/a", stage.path("configmaps"));
    let refused = stage
        .api
        .send("PATCH", &path, "application/x-other+json", "{}".into())
        .await?;
    refused.fails(415, "UnsupportedMediaType")?;
    Ok(())
}

pub async fn patch_with_version(stage: Arc<Stage>) -> Result<()> {
    let path = format!("{}/a", stage.path("configmaps"));
    let made = stage.config_map("a", &[]).await?;
    let patch = |value: &str| json!({"metadata": {"resourceVersion": made["metadata"]["resourceVersion"]}, "data": {"k": value}});
    stage.api.merge(&path, patch("2")).await?.is(200)?;
    stage
        .api
        .merge(&path, patch("3"))
        .await?
        .fails(409, "Conflict")?;
    Ok(())
}

pub async fn generation(stage: Arc<Stage>) -> Result<()> {
    let path = stage.path_of("apps/v1", "deployments");
    let labels = json!({"app": "a"});
    let containers = json!([{"name": "main", "image": "example.invalid/none"}]);
    let deployment = json!({
        "metadata": {"name": "a"},
        "spec": {
            "replicas": 0, "selector": {"matchLabels": labels},
            "template": {"metadata": {"labels": labels}, "spec": {"containers": containers}},
        },
    });
    let made = stage.api.create(&path, deployment).await?.is(201)?.body;
    ensure!(made["metadata"]["generation"] == 1, "{}", made["metadata"]);
    let path = format!("{path}/a");
    let labelled = stage
        .api
        .merge(&path, json!({"metadata": {"labels": {"x": "y"}}}))
        .await?
        .is(200)?
        .body;
    ensure!(
        labelled["metadata"]["generation"] == 1,
        "{}",
        labelled["metadata"]
    );
    let scaled = stage
        .api
        .merge(&path, json!({"spec": {"paused": true}}))
        .await?
        .is(200)?
        .body;
    ensure!(
        scaled["metadata"]["generation"] == 2,
        "{}",
        scaled["metadata"]
    );
    let status = json!({"status": {"observedGeneration": 1}, "spec": {"paused": false}});
    let told = stage
        .api
        .merge(&format!("{path}/status"), status)
        .await?
        .is(200)?
        .body;
    ensure!(
        told["metadata"]["generation"] == 2 && told["spec"]["paused"] == true,
        "{told}"
    );
    stage.api.delete(&path).await?.is(200)?;
    Ok(())
}

pub async fn slices(stage: Arc<Stage>) -> Result<()> {
    let path = stage.path_of("discovery.k8s.io/v1", "endpointslices");
    let slice = json!({
        "metadata": {"name": "a", "labels": {"kubernetes.io/service-name": "web"}}, "addressType": "IPv4",
        "ports": [{"name": "http", "port": 80, "protocol": "TCP"}],
        "endpoints": [{"addresses": ["10.1.2.3"], "conditions": {"ready": false, "serving": true, "terminating": true}}],
    });
    let made = stage.api.create(&path, slice.clone()).await?.is(201)?.body;
    ensure!(
        made["endpoints"][0]["conditions"] == slice["endpoints"][0]["conditions"],
        "{made}"
    );
    let service = json!({"metadata": {"name": "web"}, "spec": {"ports": [{"port": 80, "targetPort": "http"}], "selector": {"a": "b"}}});
    let made = stage
        .api
        .create(&stage.path("services"), service)
        .await?
        .is(201)?
        .body;
    let address = text(&made, "/spec/clusterIP");
    ensure!(
        address.parse::<std::net::IpAddr>().is_ok(),
        "clusterIP {address:?}"
    );
    ensure!(
        made["spec"]["ports"][0]["protocol"] == "TCP" && made["spec"]["type"] == "ClusterIP",
        "{made}"
    );
    stage
        .api
        .delete(&format!("{}/web", stage.path("services")))
        .await?
        .is(200)?;
    Ok(())
}
