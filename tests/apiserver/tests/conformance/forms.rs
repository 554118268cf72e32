//! Forms of objects by Accept header: "Metadata-only fetches" and "Receiving resources as Tables".

use std::sync::Arc;

use anyhow::{Result, ensure};
use serde_json::json;

use crate::{
    Check,
    call::{number, text},
    check,
    stage::Stage,
};

const METADATA: &str = "application/json;as=PartialObjectMetadata;g=meta.k8s.io;v=v1";
const METADATA_LIST: &str = "application/json;as=PartialObjectMetadataList;g=meta.k8s.io;v=v1";
const TABLE: &str = "application/json;as=Table;g=meta.k8s.io;v=v1";

pub const CHECKS: &[Check] = &[
    check!(
        forms::metadata_of_one,
        "PartialObjectMetadata has an object's metadata and nothing else"
    ),
    check!(
        forms::metadata_of_many,
        "PartialObjectMetadataList has the collection's version and metadata-only items"
    ),
    check!(
        forms::metadata_watched,
        "a watch as PartialObjectMetadata has metadata-only objects in all events"
    ),
    check!(
        forms::table,
        "a Table has columns, the first of them the name, and a row for each item"
    ),
    check!(
        forms::table_watched,
        "a watch as Table has tables with one row as its objects"
    ),
    check!(
        forms::alternatives,
        "the first media type that the server can make is taken"
    ),
    check!(
        forms::unacceptable,
        "when there is none the answer is 406 NotAcceptable"
    ),
    check!(
        forms::discovery,
        "discovery names groups, versions, resources, their kinds, scopes and verbs"
    ),
    check!(
        forms::health,
        "healthz and readyz say ok, version names the server"
    ),
];

pub async fn metadata_of_one(stage: Arc<Stage>) -> Result<()> {
    let made = stage.config_map("a", &[("x", "y")]).await?;
    let path = format!("{}/a", stage.path("configmaps"));
    let one = stage.api.get_as(&path, METADATA).await?.is(200)?.body;
    ensure!(
        one["kind"] == "PartialObjectMetadata" && one["apiVersion"] == "meta.k8s.io/v1",
        "{one}"
    );
    ensure!(
        one["data"].is_null() && text(&one, "/metadata/labels/x") == "y",
        "{one}"
    );
    ensure!(number(&one)? == number(&made)?, "{one}");
    Ok(())
}

pub async fn metadata_of_many(stage: Arc<Stage>) -> Result<()> {
    stage.pod("a", None).await?;
    let list = stage
        .api
        .get_as(&stage.path("pods"), METADATA_LIST)
        .await?
        .is(200)?;
    ensure!(
        list.body["kind"] == "PartialObjectMetadataList",
        "{}",
        list.body
    );
    number(&list.body)?;
    let item = &list.body["items"][0];
    ensure!(
        text(item, "/metadata/name") == "a" && item["spec"].is_null(),
        "{item}"
    );
    Ok(())
}

pub async fn metadata_watched(stage: Arc<Stage>) -> Result<()> {
    let path = stage.path("configmaps");
    let start = stage.api.get(&path).await?.is(200)?.version();
    let query = format!("resourceVersion={start}&allowWatchBookmarks=true&timeoutSeconds=5");
    let mut watch = stage
        .api
        .watch_as(&format!("{path}?{query}"), METADATA)
        .await?;
    stage.config_map("a", &[]).await?;
    stage.api.delete(&format!("{path}/a")).await?.is(200)?;
    for kind in ["ADDED", "DELETED", "BOOKMARK"] {
        let object = watch.expect(kind).await?;
        ensure!(
            object["kind"] == "PartialObjectMetadata" && object["data"].is_null(),
            "{kind}: {object}"
        );
    }
    Ok(())
}

pub async fn table(stage: Arc<Stage>) -> Result<()> {
    stage.pod("a", None).await?;
    let table = stage
        .api
        .get_as(&stage.path("pods"), TABLE)
        .await?
        .is(200)?
        .body;
    ensure!(
        table["kind"] == "Table" && table["apiVersion"] == "meta.k8s.io/v1",
        "{table}"
    );
    number(&table)?;
    ensure!(
        table["columnDefinitions"][0]["name"] == "Name",
        "{}",
        table["columnDefinitions"]
    );
    let row = &table["rows"][0];
    ensure!(
        row["cells"][0] == "a" && row["object"]["kind"] == "PartialObjectMetadata",
        "{row}"
    );
    let cells = row["cells"].as_array().map(Vec::len);
    ensure!(
        cells == table["columnDefinitions"].as_array().map(Vec::len),
        "{row}"
    );
    Ok(())
}

pub async fn table_watched(stage: Arc<Stage>) -> Result<()> {
    let path = stage.path("pods");
    let start = stage.api.get(&path).await?.is(200)?.version();
    let mut watch = stage
        .api
        .watch_as(&format!("{path}?resourceVersion={start}"), TABLE)
        .await?;
    stage.pod("a", None).await?;
    let table = watch.expect("ADDED").await?;
    ensure!(
        table["kind"] == "Table" && table["rows"][0]["cells"][0] == "a",
        "{table}"
    );
    Ok(())
}

pub async fn alternatives(stage: Arc<Stage>) -> Result<()> {
    let accept = format!("application/json;as=Nothing;g=x;v=v1, {TABLE}, application/json");
    let table = stage
        .api
        .get_as(&stage.path("pods"), &accept)
        .await?
        .is(200)?
        .body;
    ensure!(table["kind"] == "Table", "{table}");
    Ok(())
}

pub async fn unacceptable(stage: Arc<Stage>) -> Result<()> {
    stage
        .api
        .get_as(&stage.path("pods"), "text/html")
        .await?
        .is(406)?;
    Ok(())
}

pub async fn discovery(stage: Arc<Stage>) -> Result<()> {
    let core = stage.api.get("/api").await?.is(200)?.body;
    ensure!(core["versions"] == json!(["v1"]), "{core}");
    let groups = stage.api.get("/apis").await?.is(200)?.body;
    let named = |name: &str| {
        groups["groups"]
            .as_array()
            .is_some_and(|groups| groups.iter().any(|group| group["name"] == name))
    };
    for group in [
        "apps",
        "discovery.k8s.io",
        "rbac.authorization.k8s.io",
        "authentication.k8s.io",
        "apiextensions.k8s.io",
    ] {
        ensure!(named(group), "no group {group}");
    }
    let resources = stage.api.get("/api/v1").await?.is(200)?.body;
    let found = resources["resources"]
        .as_array()
        .into_iter()
        .flatten()
        .find(|resource| resource["name"] == "pods");
    let pods = found.cloned().unwrap_or_default();
    ensure!(
        pods["kind"] == "Pod" && pods["namespaced"] == true,
        "{pods}"
    );
    for verb in [
        "get",
        "list",
        "watch",
        "create",
        "update",
        "patch",
        "delete",
        "deletecollection",
    ] {
        ensure!(
            pods["verbs"]
                .as_array()
                .is_some_and(|verbs| verbs.contains(&json!(verb))),
            "{verb}: {pods}"
        );
    }
    let slices = stage
        .api
        .get("/apis/discovery.k8s.io/v1")
        .await?
        .is(200)?
        .body;
    ensure!(
        slices["resources"][0]["kind"] == "EndpointSlice",
        "{slices}"
    );
    stage.api.get("/apis/nowhere.example/v1").await?.is(404)?;
    Ok(())
}

pub async fn health(stage: Arc<Stage>) -> Result<()> {
    for path in ["/healthz", "/readyz"] {
        stage.api.get(path).await?.is(200)?;
    }
    let version = stage.api.get("/version").await?.is(200)?.body;
    ensure!(
        version["major"] == "1" && version["gitVersion"].is_string(),
        "{version}"
    );
    Ok(())
}
