//! Label and field selectors, in lists and in watches: "Labels and Selectors", "Field Selectors".

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
        selections::by_labels,
        "equality, sets and existence select by labels"
    ),
    check!(
        selections::by_name,
        "metadata.name selects one object, != all others"
    ),
    check!(
        selections::by_node,
        "pods are selected by spec.nodeName in the namespace and in the whole cluster"
    ),
    check!(
        selections::unsupported,
        "fields that a resource doesn't support, and selectors that can't be read, are 400 BadRequest"
    ),
    check!(
        selections::labels_enter_and_leave,
        "a watch that selects by labels gets ADDED and DELETED when an object enters and leaves the selection; DELETED has the object as it was, at the version of the change"
    ),
    check!(
        selections::node_enters,
        "a watch by spec.nodeName gets ADDED when a pod is bound to the node"
    ),
    check!(
        selections::phase_leaves,
        "a watch by status.phase gets DELETED when the phase changes, and ADDED when it comes back"
    ),
    check!(
        selections::watch_of_one,
        "a watch by metadata.name sees one object only"
    ),
];

pub async fn by_labels(stage: Arc<Stage>) -> Result<()> {
    stage
        .config_map("a", &[("app", "x"), ("tier", "1")])
        .await?;
    stage.config_map("b", &[("app", "y")]).await?;
    stage
        .config_map("c", &[("app", "x"), ("tier", "2")])
        .await?;
    let cases: [(&str, &[&str]); 7] = [
        ("app%3Dx", &["a", "c"]),
        ("app%3D%3Dx%2Ctier%3D2", &["c"]),
        ("app%20in%20(x%2Cy)", &["a", "b", "c"]),
        ("app%20notin%20(x)%2Capp", &["b"]),
        ("tier", &["a", "c"]),
        ("!tier%2Capp", &["b"]),
        ("tier!%3D1%2Capp", &["b", "c"]),
    ];
    for (selector, expected) in cases {
        let path = format!("{}?labelSelector={selector}", stage.path("configmaps"));
        let names = stage.api.get(&path).await?.is(200)?.names();
        ensure!(names == expected, "{selector}: {names:?}");
    }
    Ok(())
}

pub async fn by_name(stage: Arc<Stage>) -> Result<()> {
    for name in ["a", "b", "c"] {
        stage.secret(name).await?;
    }
    for (selector, expected) in [
        ("metadata.name%3Db", &["b"][..]),
        ("metadata.name!%3Db", &["a", "c"]),
    ] {
        let path = format!("{}?fieldSelector={selector}", stage.path("secrets"));
        let names = stage.api.get(&path).await?.is(200)?.names();
        ensure!(names == expected, "{selector}: {names:?}");
    }
    Ok(())
}

pub async fn by_node(stage: Arc<Stage>) -> Result<()> {
    let node = stage.unique("node");
    stage.pod("a", Some(&node)).await?;
    stage.pod("b", None).await?;
    let query = format!("fieldSelector=spec.nodeName%3D{node}");
    for path in [stage.path("pods"), "/api/v1/pods".to_owned()] {
        let names = stage
            .api
            .get(&format!("{path}?{query}"))
            .await?
            .is(200)?
            .names();
        ensure!(names == ["a"], "{path}: {names:?}");
    }
    Ok(())
}

pub async fn unsupported(stage: Arc<Stage>) -> Result<()> {
    let queries = [
        "fieldSelector=spec.color%3Dred",
        "fieldSelector=nonsense",
        "labelSelector=a%20b",
    ];
    for query in queries {
        stage
            .api
            .get(&format!("{}?{query}", stage.path("pods")))
            .await?
            .fails(400, "BadRequest")?;
    }
    Ok(())
}

pub async fn labels_enter_and_leave(stage: Arc<Stage>) -> Result<()> {
    let path = stage.path("configmaps");
    let start = stage.api.get(&path).await?.is(200)?.version();
    let mut watch = stage
        .api
        .watch(&format!(
            "{path}?resourceVersion={start}&labelSelector=in%3Dyes"
        ))
        .await?;
    stage.config_map("a", &[]).await?;
    let labelled = |value| json!({"metadata": {"labels": {"in": value}}});
    stage
        .api
        .merge(&format!("{path}/a"), labelled(json!("yes")))
        .await?
        .is(200)?;
    stage
        .api
        .merge(&format!("{path}/a"), json!({"data": {"k": "2"}}))
        .await?
        .is(200)?;
    let left = stage
        .api
        .merge(&format!("{path}/a"), labelled(json!("no")))
        .await?
        .is(200)?;
    stage
        .api
        .merge(&format!("{path}/a"), json!({"data": {"k": "3"}}))
        .await?
        .is(200)?;
    watch.expect("ADDED").await?;
    watch.expect("MODIFIED").await?;
    let gone = watch.expect("DELETED").await?;
    ensure!(
        text(&gone, "/metadata/labels/in") == "yes",
        "not as it was: {gone}"
    );
    ensure!(
        number(&gone)? == number(&left.body)?,
        "at {}, not {}",
        number(&gone)?,
        number(&left.body)?
    );
    stage
        .api
        .merge(&format!("{path}/a"), labelled(json!("yes")))
        .await?
        .is(200)?;
    let back = watch.expect("ADDED").await?;
    ensure!(text(&back, "/data/k") == "3", "{back}");
    Ok(())
}

pub async fn node_enters(stage: Arc<Stage>) -> Result<()> {
    let (node, path) = (stage.unique("node"), stage.path("pods"));
    stage.pod("a", None).await?;
    stage.pod("other", None).await?;
    let start = stage.api.get(&path).await?.is(200)?.version();
    let query = format!("resourceVersion={start}&fieldSelector=spec.nodeName%3D{node}");
    let mut watch = stage.api.watch(&format!("/api/v1/pods?{query}")).await?;
    let binding = json!({
        "apiVersion": "v1", "kind": "Binding", "metadata": {"name": "a"},
        "target": {"apiVersion": "v1", "kind": "Node", "name": node},
    });
    stage
        .api
        .create(&format!("{path}/a/binding"), binding)
        .await?
        .is(201)?;
    let added = watch.expect("ADDED").await?;
    ensure!(
        text(&added, "/metadata/name") == "a" && text(&added, "/spec/nodeName") == node,
        "{added}"
    );
    Ok(())
}

pub async fn phase_leaves(stage: Arc<Stage>) -> Result<()> {
    let path = stage.path("pods");
    stage.pod("a", None).await?;
    let start = stage.api.get(&path).await?.is(200)?.version();
    let mut watch = stage
        .api
        .watch(&format!(
            "{path}?resourceVersion={start}&fieldSelector=status.phase%3DPending"
        ))
        .await?;
    let phase = |phase: &str| json!({"status": {"phase": phase}});
    stage
        .api
        .merge(&format!("{path}/a/status"), phase("Running"))
        .await?
        .is(200)?;
    let gone = watch.expect("DELETED").await?;
    ensure!(text(&gone, "/status/phase") == "Pending", "{gone}");
    let running = stage
        .api
        .get(&format!("{path}?fieldSelector=status.phase%3DRunning"))
        .await?
        .is(200)?;
    ensure!(running.names() == ["a"], "{:?}", running.names());
    stage
        .api
        .merge(&format!("{path}/a/status"), phase("Pending"))
        .await?
        .is(200)?;
    watch.expect("ADDED").await?;
    Ok(())
}

pub async fn watch_of_one(stage: Arc<Stage>) -> Result<()> {
    let path = stage.path("secrets");
    let start = stage.api.get(&path).await?.is(200)?.version();
    let mut watch = stage
        .api
        .watch(&format!(
            "{path}?resourceVersion={start}&fieldSelector=metadata.name%3Db"
        ))
        .await?;
    for name in ["a", "b", "c"] {
        stage.secret(name).await?;
    }
    stage.api.delete(&format!("{path}/b")).await?.is(200)?;
    ensure!(
        watch.change().await? == ("ADDED".into(), "b".into()),
        "not b"
    );
    ensure!(
        watch.change().await? == ("DELETED".into(), "b".into()),
        "not b"
    );
    Ok(())
}
