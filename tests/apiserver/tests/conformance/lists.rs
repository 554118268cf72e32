//! Lists: "Resource versions" and "Retrieving large results sets in chunks" of the Kubernetes API concepts.

use std::sync::Arc;

use anyhow::{Result, ensure};

use crate::{
    Check,
    call::{number, text},
    check,
    stage::Stage,
};

pub const CHECKS: &[Check] = &[
    check!(
        lists::versions_are_global,
        "later changes have larger resource versions, whatever the resource, and lists have the latest"
    ),
    check!(
        lists::not_older_than,
        "resourceVersionMatch=NotOlderThan gives data at least as new as the version"
    ),
    check!(
        lists::exact,
        "resourceVersionMatch=Exact gives the collection as it was at that version"
    ),
    check!(
        lists::match_alone,
        "resourceVersionMatch without resourceVersion, or unknown, or Exact with 0, is 422 Invalid"
    ),
    check!(
        lists::no_initial_events,
        "sendInitialEvents is forbidden for lists: 422 Invalid"
    ),
    check!(
        lists::future,
        "a version from the future ends in 504 Timeout, Too large resource version, with Retry-After"
    ),
    check!(
        lists::get_from_the_future,
        "a get of a version from the future ends in 504 Timeout"
    ),
    check!(lists::any, "resourceVersion=0 gives data of any version"),
    check!(
        lists::chunks,
        "chunks show the collection as it was when the first was asked for, and how many items remain"
    ),
    check!(
        lists::chunks_of_a_selection,
        "with a selector remainingItemCount is left out, and every chunk is full but the last"
    ),
    check!(
        lists::broken_continue,
        "a continue token that can't be read is 400 BadRequest"
    ),
    check!(
        lists::continue_with_version,
        "continue with a resourceVersion is 400 BadRequest"
    ),
    check!(lists::sorted, "items come in the order of their names"),
    check!(
        lists::empty,
        "an empty collection is a list with no items and a version, and [] rather than null"
    ),
];

pub async fn versions_are_global(stage: Arc<Stage>) -> Result<()> {
    let first = number(&stage.config_map("a", &[]).await?)?;
    let second = number(&stage.secret("b").await?)?;
    let third = number(&stage.config_map("c", &[]).await?)?;
    ensure!(first < second && second < third, "{first} {second} {third}");
    let list = stage.api.get(&stage.path("configmaps")).await?.is(200)?;
    ensure!(
        number(&list.body)? >= third,
        "a list at {} after {third}",
        list.version()
    );
    Ok(())
}

pub async fn not_older_than(stage: Arc<Stage>) -> Result<()> {
    let made = text(&stage.secret("a").await?, "/metadata/resourceVersion");
    let path = format!(
        "{}?resourceVersion={made}&resourceVersionMatch=NotOlderThan",
        stage.path("secrets")
    );
    let list = stage.api.get(&path).await?.is(200)?;
    ensure!(list.names() == ["a"], "{:?}", list.names());
    ensure!(
        list.version().parse::<u64>()? >= made.parse()?,
        "{} < {made}",
        list.version()
    );
    Ok(())
}

pub async fn exact(stage: Arc<Stage>) -> Result<()> {
    stage.secret("a").await?;
    let then = stage
        .api
        .get(&stage.path("secrets"))
        .await?
        .is(200)?
        .version();
    stage.secret("b").await?;
    stage
        .api
        .delete(&format!("{}/a", stage.path("secrets")))
        .await?
        .is(200)?;
    let path = format!(
        "{}?resourceVersion={then}&resourceVersionMatch=Exact",
        stage.path("secrets")
    );
    let list = stage.api.get(&path).await?.is(200)?;
    ensure!(list.names() == ["a"], "{:?}", list.names());
    ensure!(list.version() == then, "at {}, not {then}", list.version());
    Ok(())
}

pub async fn match_alone(stage: Arc<Stage>) -> Result<()> {
    for query in [
        "resourceVersionMatch=Exact",
        "resourceVersion=0&resourceVersionMatch=Exact",
        "resourceVersion=1&resourceVersionMatch=Near",
    ] {
        let path = format!("{}?{query}", stage.path("secrets"));
        stage.api.get(&path).await?.fails(422, "Invalid")?;
    }
    Ok(())
}

pub async fn no_initial_events(stage: Arc<Stage>) -> Result<()> {
    let path = format!(
        "{}?sendInitialEvents=true&resourceVersion=0&resourceVersionMatch=NotOlderThan",
        stage.path("secrets")
    );
    stage.api.get(&path).await?.fails(422, "Invalid")?;
    Ok(())
}

async fn future_of(stage: &Stage) -> Result<u64> {
    let list = stage.api.get(&stage.path("secrets")).await?.is(200)?;
    Ok(number(&list.body)? + 1_000_000_000)
}

pub async fn future(stage: Arc<Stage>) -> Result<()> {
    let future = future_of(&stage).await?;
    let path = format!(
        "{}?resourceVersion={future}&resourceVersionMatch=NotOlderThan",
        stage.path("secrets")
    );
    let refused = stage.api.get(&path).await?.fails(504, "Timeout")?;
    let cause = text(&refused.body, "/details/causes/0/reason");
    ensure!(cause == "ResourceVersionTooLarge", "cause {cause:?}");
    ensure!(
        text(&refused.body, "/message").contains("Too large resource version"),
        "{}",
        refused.body
    );
    ensure!(
        refused.headers.contains_key("retry-after"),
        "no Retry-After"
    );
    Ok(())
}

pub async fn get_from_the_future(stage: Arc<Stage>) -> Result<()> {
    stage.secret("a").await?;
    let future = future_of(&stage).await?;
    let path = format!("{}/a?resourceVersion={future}", stage.path("secrets"));
    stage.api.get(&path).await?.fails(504, "Timeout")?;
    Ok(())
}

pub async fn any(stage: Arc<Stage>) -> Result<()> {
    let path = format!("{}?resourceVersion=0", stage.path("secrets"));
    let list = stage.api.get(&path).await?.is(200)?;
    ensure!(number(&list.body)? > 0, "no version");
    Ok(())
}

pub async fn chunks(stage: Arc<Stage>) -> Result<()> {
    for name in ["a", "b", "c", "d", "e"] {
        stage.secret(name).await?;
    }
    let path = stage.path("secrets");
    let first = stage.api.get(&format!("{path}?limit=2")).await?.is(200)?;
    ensure!(first.names() == ["a", "b"], "{:?}", first.names());
    ensure!(
        first.body["metadata"]["remainingItemCount"] == 3,
        "{}",
        first.body["metadata"]
    );
    stage.secret("bb").await?;
    stage.api.delete(&format!("{path}/d")).await?.is(200)?;
    let token = text(&first.body, "/metadata/continue");
    let second = stage
        .api
        .get(&format!("{path}?limit=2&continue={token}"))
        .await?
        .is(200)?;
    ensure!(second.names() == ["c", "d"], "{:?}", second.names());
    ensure!(
        second.version() == first.version(),
        "{} after {}",
        second.version(),
        first.version()
    );
    ensure!(
        second.body["metadata"]["remainingItemCount"] == 1,
        "{}",
        second.body["metadata"]
    );
    let token = text(&second.body, "/metadata/continue");
    let third = stage
        .api
        .get(&format!("{path}?limit=2&continue={token}"))
        .await?
        .is(200)?;
    ensure!(third.names() == ["e"], "{:?}", third.names());
    ensure!(
        text(&third.body, "/metadata/continue").is_empty(),
        "{}",
        third.body["metadata"]
    );
    Ok(())
}

pub async fn chunks_of_a_selection(stage: Arc<Stage>) -> Result<()> {
    for (name, kind) in [("a", "x"), ("b", "y"), ("c", "x"), ("d", "y"), ("e", "x")] {
        stage.config_map(name, &[("kind", kind)]).await?;
    }
    let path = format!(
        "{}?labelSelector=kind%3Dx&limit=2",
        stage.path("configmaps")
    );
    let first = stage.api.get(&path).await?.is(200)?;
    ensure!(first.names() == ["a", "c"], "{:?}", first.names());
    ensure!(
        first.body["metadata"]["remainingItemCount"].is_null(),
        "{}",
        first.body["metadata"]
    );
    let token = text(&first.body, "/metadata/continue");
    let second = stage
        .api
        .get(&format!("{path}&continue={token}"))
        .await?
        .is(200)?;
    ensure!(second.names() == ["e"], "{:?}", second.names());
    Ok(())
}

pub async fn broken_continue(stage: Arc<Stage>) -> Result<()> {
    let path = format!("{}?limit=1&continue=nonsense", stage.path("secrets"));
    stage.api.get(&path).await?.fails(400, "BadRequest")?;
    Ok(())
}

pub async fn continue_with_version(stage: Arc<Stage>) -> Result<()> {
    for name in ["a", "b"] {
        stage.secret(name).await?;
    }
    let path = format!("{}?limit=1", stage.path("secrets"));
    let first = stage.api.get(&path).await?.is(200)?;
    let (token, version) = (text(&first.body, "/metadata/continue"), first.version());
    let path = format!("{path}&continue={token}&resourceVersion={version}");
    stage.api.get(&path).await?.fails(400, "BadRequest")?;
    Ok(())
}

pub async fn sorted(stage: Arc<Stage>) -> Result<()> {
    for name in ["b", "c.a", "a", "c-a", "c"] {
        stage.secret(name).await?;
    }
    let list = stage.api.get(&stage.path("secrets")).await?.is(200)?;
    ensure!(
        list.names() == ["a", "b", "c", "c-a", "c.a"],
        "{:?}",
        list.names()
    );
    Ok(())
}

pub async fn empty(stage: Arc<Stage>) -> Result<()> {
    let list = stage.api.get(&stage.path("services")).await?.is(200)?;
    ensure!(
        list.body["items"].as_array().is_some_and(Vec::is_empty),
        "{}",
        list.body
    );
    ensure!(
        list.body["kind"] == "ServiceList" && list.body["apiVersion"] == "v1",
        "{}",
        list.body
    );
    number(&list.body)?;
    Ok(())
}
