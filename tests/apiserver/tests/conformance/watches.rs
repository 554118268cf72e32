//! Watches: "Efficient detection of changes", "Watch bookmarks" and "Streaming lists" of the Kubernetes API concepts.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result, ensure};
use serde_json::json;

use crate::{
    Check,
    call::{number, text},
    check,
    stage::Stage,
};

pub const CHECKS: &[Check] = &[
    check!(
        watches::from_a_version,
        "a watch from a version gets every later change in order, and nothing that was before"
    ),
    check!(
        watches::deletions_have_versions,
        "DELETED has the object's last state, at the version of its deletion"
    ),
    check!(
        watches::without_a_version,
        "a watch without a version, or from 0, begins with ADDED for what is there"
    ),
    check!(
        watches::resumed,
        "a watch that is resumed from the last version seen misses nothing and repeats nothing"
    ),
    check!(
        watches::one_namespace,
        "a watch of a namespace sees nothing of others; a watch of all sees them"
    ),
    check!(
        watches::of_one_object,
        "a watch by name from a version sees that object only"
    ),
    check!(
        watches::timeout,
        "after timeoutSeconds the watch ends in order"
    ),
    check!(
        watches::bookmarks,
        "with allowWatchBookmarks there is a bookmark before the time-out, with nothing but a version that is not older than what was seen"
    ),
    check!(
        watches::no_bookmarks,
        "without allowWatchBookmarks there are none"
    ),
    check!(
        watches::from_the_future,
        "a watch from a version of the future begins, and has no events until then"
    ),
    check!(
        watches::match_needs_initial_events,
        "resourceVersionMatch without sendInitialEvents is 422 Invalid, and so is sendInitialEvents without resourceVersionMatch"
    ),
    check!(
        watches::streamed_list,
        "sendInitialEvents gives what is there, then a bookmark with k8s.io/initial-events-end, then changes; or it is refused with 422"
    ),
    check!(
        watches::several,
        "all watches see the same changes in the same order"
    ),
];

pub async fn from_a_version(stage: Arc<Stage>) -> Result<()> {
    let path = stage.path("secrets");
    stage.secret("before").await?;
    let start = stage.api.get(&path).await?.is(200)?.version();
    let mut watch = stage
        .api
        .watch(&format!("{path}?resourceVersion={start}"))
        .await?;
    stage.secret("a").await?;
    stage
        .api
        .merge(
            &format!("{path}/a"),
            json!({"metadata": {"labels": {"x": "y"}}}),
        )
        .await?
        .is(200)?;
    stage.secret("b").await?;
    stage.api.delete(&format!("{path}/a")).await?.is(200)?;
    let mut last = start.parse::<u64>()?;
    for (kind, name) in [
        ("ADDED", "a"),
        ("MODIFIED", "a"),
        ("ADDED", "b"),
        ("DELETED", "a"),
    ] {
        let object = watch.expect(kind).await?;
        ensure!(
            text(&object, "/metadata/name") == name,
            "{kind} {name} was expected, not {object}"
        );
        ensure!(
            text(&object, "/kind") == "Secret" && text(&object, "/apiVersion") == "v1",
            "{object}"
        );
        let version = number(&object)?;
        ensure!(version > last, "{version} after {last}");
        last = version;
    }
    Ok(())
}

pub async fn deletions_have_versions(stage: Arc<Stage>) -> Result<()> {
    let path = stage.path("secrets");
    let made = stage.secret("a").await?;
    let start = number(&made)?;
    stage.api.delete(&format!("{path}/a")).await?.is(200)?;
    let next = number(&stage.secret("b").await?)?;
    let mut watch = stage
        .api
        .watch(&format!("{path}?resourceVersion={start}"))
        .await?;
    let gone = watch.expect("DELETED").await?;
    ensure!(gone["data"] == made["data"], "{gone}");
    ensure!(
        number(&gone)? > start && number(&gone)? < next,
        "deleted at {}",
        number(&gone)?
    );
    Ok(())
}

pub async fn without_a_version(stage: Arc<Stage>) -> Result<()> {
    let path = stage.path("secrets");
    stage.secret("a").await?;
    stage.secret("b").await?;
    for query in ["", "?resourceVersion=0"] {
        let mut watch = stage.api.watch(&format!("{path}{query}")).await?;
        let mut names = Vec::new();
        for _ in 0..2 {
            names.push(text(&watch.expect("ADDED").await?, "/metadata/name"));
        }
        names.sort();
        ensure!(names == ["a", "b"], "{query}: {names:?}");
        let name = format!("later{}", query.len());
        stage.secret(&name).await?;
        ensure!(
            watch.change().await? == ("ADDED".into(), name.clone()),
            "no {name}"
        );
        stage.api.delete(&format!("{path}/{name}")).await?.is(200)?;
    }
    Ok(())
}

pub async fn resumed(stage: Arc<Stage>) -> Result<()> {
    let path = stage.path("secrets");
    let start = stage.api.get(&path).await?.is(200)?.version();
    for name in ["a", "b", "c", "d"] {
        stage.secret(name).await?;
    }
    let mut watch = stage
        .api
        .watch(&format!("{path}?resourceVersion={start}"))
        .await?;
    watch.expect("ADDED").await?;
    let seen = text(&watch.expect("ADDED").await?, "/metadata/resourceVersion");
    drop(watch);
    let mut watch = stage
        .api
        .watch(&format!("{path}?resourceVersion={seen}"))
        .await?;
    for name in ["c", "d"] {
        ensure!(
            watch.change().await? == ("ADDED".into(), name.into()),
            "not {name}"
        );
    }
    Ok(())
}

pub async fn one_namespace(stage: Arc<Stage>) -> Result<()> {
    let other = stage.unique("other");
    stage.remove_later(&format!("/api/v1/namespaces/{other}"));
    stage
        .api
        .create("/api/v1/namespaces", json!({"metadata": {"name": other}}))
        .await?
        .is(201)?;
    let start = stage
        .api
        .get("/api/v1/secrets?limit=1")
        .await?
        .is(200)?
        .version();
    let mut ours = stage
        .api
        .watch(&format!(
            "{}?resourceVersion={start}",
            stage.path("secrets")
        ))
        .await?;
    let mark = stage.unique("mark");
    let selector = format!("fieldSelector=metadata.name%3D{mark}");
    let mut all = stage
        .api
        .watch(&format!(
            "/api/v1/secrets?resourceVersion={start}&{selector}"
        ))
        .await?;
    let secret = json!({"metadata": {"name": mark}});
    stage
        .api
        .create(
            &format!("/api/v1/namespaces/{other}/secrets"),
            secret.clone(),
        )
        .await?
        .is(201)?;
    stage
        .api
        .create(&stage.path("secrets"), secret)
        .await?
        .is(201)?;
    let first = ours.expect("ADDED").await?;
    ensure!(
        text(&first, "/metadata/namespace") == stage.namespace,
        "{first}"
    );
    for namespace in [&other, &stage.namespace] {
        let object = all.expect("ADDED").await?;
        ensure!(
            text(&object, "/metadata/namespace") == *namespace,
            "{object}"
        );
    }
    Ok(())
}

pub async fn of_one_object(stage: Arc<Stage>) -> Result<()> {
    let path = stage.path("secrets");
    stage.secret("b").await?;
    let made = stage.secret("a").await?;
    let start = number(&made)?;
    let mut watch = stage
        .api
        .watch(&format!(
            "{path}?fieldSelector=metadata.name%3Da&resourceVersion={start}"
        ))
        .await?;
    stage.api.delete(&format!("{path}/b")).await?.is(200)?;
    stage.api.delete(&format!("{path}/a")).await?.is(200)?;
    ensure!(
        watch.change().await? == ("DELETED".into(), "a".into()),
        "not a"
    );
    Ok(())
}

pub async fn timeout(stage: Arc<Stage>) -> Result<()> {
    let begin = Instant::now();
    let mut watch = stage
        .api
        .watch(&format!("{}?timeoutSeconds=3", stage.path("services")))
        .await?;
    ensure!(
        watch.next().await?.is_none(),
        "an event in an empty namespace"
    );
    let took = begin.elapsed();
    ensure!(
        (Duration::from_secs(2)..Duration::from_secs(8)).contains(&took),
        "after {took:?}"
    );
    Ok(())
}

pub async fn bookmarks(stage: Arc<Stage>) -> Result<()> {
    let path = stage.path("secrets");
    let made = number(&stage.secret("a").await?)?;
    let query = format!("resourceVersion={made}&allowWatchBookmarks=true&timeoutSeconds=6");
    let mut watch = stage.api.watch(&format!("{path}?{query}")).await?;
    let added = number(&stage.secret("b").await?)?;
    watch.expect("ADDED").await?;
    let bookmark = watch.expect("BOOKMARK").await?;
    ensure!(number(&bookmark)? >= added, "{bookmark}");
    ensure!(
        text(&bookmark, "/kind") == "Secret" && text(&bookmark, "/metadata/name").is_empty(),
        "{bookmark}"
    );
    Ok(())
}

pub async fn no_bookmarks(stage: Arc<Stage>) -> Result<()> {
    let path = format!(
        "{}?resourceVersion=0&timeoutSeconds=4",
        stage.path("services")
    );
    let mut watch = stage.api.watch(&path).await?;
    let event = watch.next().await?;
    ensure!(event.is_none(), "{event:?}");
    Ok(())
}

pub async fn from_the_future(stage: Arc<Stage>) -> Result<()> {
    let list = stage.api.get(&stage.path("secrets")).await?.is(200)?;
    let future = number(&list.body)? + 1_000_000_000;
    let mut watch = stage
        .api
        .watch(&format!(
            "{}?resourceVersion={future}",
            stage.path("secrets")
        ))
        .await?;
    stage.secret("a").await?;
    watch.is_silent(Duration::from_secs(2)).await
}

pub async fn match_needs_initial_events(stage: Arc<Stage>) -> Result<()> {
    for query in [
        "resourceVersionMatch=NotOlderThan&resourceVersion=0",
        "sendInitialEvents=true",
    ] {
        let path = format!("{}?watch=true&{query}", stage.path("secrets"));
        stage.api.get(&path).await?.fails(422, "Invalid")?;
    }
    Ok(())
}

pub async fn streamed_list(stage: Arc<Stage>) -> Result<()> {
    let path = stage.path("secrets");
    stage.secret("a").await?;
    let made = number(&stage.secret("b").await?)?;
    let query = "sendInitialEvents=true&resourceVersionMatch=NotOlderThan&allowWatchBookmarks=true";
    let probe = stage
        .api
        .get(&format!("{path}?watch=true&timeoutSeconds=1&{query}"))
        .await?;
    if probe.code == 422 {
        probe.fails(422, "Invalid")?;
        return Ok(());
    }
    let mut watch = stage.api.watch(&format!("{path}?{query}")).await?;
    for name in ["a", "b"] {
        let object = watch.expect("ADDED").await?;
        ensure!(text(&object, "/metadata/name") == name, "{object}");
    }
    let end = watch.expect("BOOKMARK").await?;
    let is_end = text(&end, "/metadata/annotations/k8s.io~1initial-events-end") == "true";
    ensure!(is_end && number(&end)? >= made, "{end}");
    stage.secret("c").await?;
    ensure!(
        watch.change().await? == ("ADDED".into(), "c".into()),
        "not c"
    );
    Ok(())
}

pub async fn several(stage: Arc<Stage>) -> Result<()> {
    let path = stage.path("secrets");
    let start = stage.api.get(&path).await?.is(200)?.version();
    let mut watches = Vec::new();
    for _ in 0..5 {
        watches.push(
            stage
                .api
                .watch(&format!("{path}?resourceVersion={start}"))
                .await?,
        );
    }
    let names: Vec<String> = (0..20).map(|index| format!("s{index:02}")).collect();
    for name in &names {
        stage.secret(name).await?;
    }
    for watch in &mut watches {
        for name in &names {
            let (kind, seen) = watch.change().await.with_context(|| name.clone())?;
            ensure!(kind == "ADDED" && seen == *name, "{kind} {seen} for {name}");
        }
    }
    Ok(())
}
