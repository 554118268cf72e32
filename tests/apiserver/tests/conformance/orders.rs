//! What only a server shows that takes orders: lost history, broken watches, missing abilities. The behaviour is
//! documented all the same; a real server just can't be told to show it.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use anyhow::{Result, ensure};
use sealane_apiserver::{Break, Config, How, Order, Population};
use serde_json::json;

use crate::{
    Check,
    call::{number, text},
    check,
    stage::{Cluster, Stage},
};

pub const CHECKS: &[Check] = &[
    check!(
        orders::forgotten_lists,
        orders,
        "a list of a version that is forgotten is 410 Expired"
    ),
    check!(
        orders::forgotten_chunks,
        orders,
        "a chunk of a forgotten list is 410 Expired, with a token for an inconsistent rest"
    ),
    check!(
        orders::forgotten_watches,
        orders,
        "a watch from a forgotten version gets an ERROR event with 410, or HTTP 410"
    ),
    check!(
        orders::small_history,
        orders,
        "the history is bounded: old versions are forgotten by themselves"
    ),
    check!(
        orders::watches_end,
        orders,
        "watches end in order, with an ERROR event, within an object, or without a word"
    ),
    check!(
        orders::refused_streams,
        orders,
        "a server without streaming lists refuses sendInitialEvents with 422"
    ),
    check!(
        orders::without_bookmarks,
        orders,
        "clients must not rely on bookmarks: a server may send none"
    ),
    check!(
        orders::istio_comes_and_goes,
        orders,
        "Istio's resources are 404 until they are defined, then in all their versions"
    ),
    check!(
        orders::kubelet,
        orders,
        "with a played kubelet pods that are deleted vanish by themselves"
    ),
    check!(
        orders::nobody,
        orders,
        "without credentials one is system:anonymous, 403, or nobody, 401"
    ),
    check!(
        orders::many_pods,
        orders,
        "a list by node finds few pods among many without a long wait"
    ),
];

pub async fn staged(config: Config) -> Result<Stage> {
    Stage::set(Arc::new(Cluster::start(config).await?)).await
}

pub async fn order(stage: &Stage, order: Order) -> Result<()> {
    stage.cluster.server()?.order(order).await
}

pub async fn forgotten_lists(_: Arc<Stage>) -> Result<()> {
    let stage = staged(Config::default()).await?;
    let then = number(&stage.secret("a").await?)?;
    stage.secret("b").await?;
    order(&stage, Order::ForgetHistory).await?;
    let path = format!(
        "{}?resourceVersion={then}&resourceVersionMatch=Exact",
        stage.path("secrets")
    );
    stage.api.get(&path).await?.fails(410, "Expired")?;
    Ok(())
}

pub async fn forgotten_chunks(_: Arc<Stage>) -> Result<()> {
    let stage = staged(Config::default()).await?;
    for name in ["a", "c", "d"] {
        stage.secret(name).await?;
    }
    let path = format!("{}?limit=1", stage.path("secrets"));
    let token = text(
        &stage.api.get(&path).await?.is(200)?.body,
        "/metadata/continue",
    );
    stage.secret("b").await?;
    order(&stage, Order::ForgetHistory).await?;
    let gone = stage
        .api
        .get(&format!("{path}&continue={token}"))
        .await?
        .fails(410, "Expired")?;
    let token = text(&gone.body, "/metadata/continue");
    let rest = stage
        .api
        .get(&format!("{}?continue={token}", stage.path("secrets")))
        .await?
        .is(200)?;
    ensure!(rest.names() == ["b", "c", "d"], "{:?}", rest.names());
    Ok(())
}

pub async fn forgotten_watches(_: Arc<Stage>) -> Result<()> {
    let stage = staged(Config::default()).await?;
    let then = number(&stage.secret("a").await?)?;
    stage.secret("b").await?;
    order(&stage, Order::ForgetHistory).await?;
    let path = format!("{}?resourceVersion={then}", stage.path("secrets"));
    let error = stage.api.watch(&path).await?.expect("ERROR").await?;
    ensure!(
        error["kind"] == "Status" && error["code"] == 410 && error["reason"] == "Expired",
        "{error}"
    );
    order(&stage, Order::RefuseOldWatches(true)).await?;
    stage
        .api
        .get(&format!("{path}&watch=true"))
        .await?
        .fails(410, "Expired")?;
    Ok(())
}

pub async fn small_history(_: Arc<Stage>) -> Result<()> {
    let stage = staged(Config {
        history: 5,
        ..Config::default()
    })
    .await?;
    let then = number(&stage.secret("a").await?)?;
    for index in 0..5 {
        stage.secret(&format!("b{index}")).await?;
    }
    let path = format!("{}?resourceVersion={then}", stage.path("secrets"));
    let mut watch = stage.api.watch(&path).await?;
    watch.expect("ADDED").await?;
    stage.secret("c").await?;
    stage.api.watch(&path).await?.expect("ERROR").await?;
    Ok(())
}

pub async fn watches_end(_: Arc<Stage>) -> Result<()> {
    let stage = staged(Config::default()).await?;
    let path = format!("{}?resourceVersion=0", stage.path("services"));
    for how in [How::Close, How::Expired, How::Error, How::Cut, How::Abort] {
        let mut watch = stage.api.watch(&path).await?;
        watch.is_silent(Duration::from_millis(200)).await?;
        order(
            &stage,
            Order::BreakWatches(Break {
                how,
                resource: Some("services".into()),
            }),
        )
        .await?;
        let event = watch.next().await;
        let holds = match (how, &event) {
            (How::Close, Ok(None)) | (How::Cut | How::Abort, Err(_)) => true,
            (How::Expired, Ok(Some(event))) => {
                event["type"] == "ERROR" && event["object"]["code"] == 410
            }
            (How::Error, Ok(Some(event))) => {
                event["type"] == "ERROR" && event["object"]["code"] == 500
            }
            _ => false,
        };
        ensure!(holds, "{how:?}: {event:?}");
    }
    let mut watch = stage.api.watch(&path).await?;
    watch.is_silent(Duration::from_millis(200)).await?;
    order(
        &stage,
        Order::BreakWatches(Break {
            how: How::Silence,
            resource: None,
        }),
    )
    .await?;
    let service = json!({"metadata": {"name": "a"}, "spec": {"ports": [{"port": 80}]}});
    stage
        .api
        .create(&stage.path("services"), service)
        .await?
        .is(201)?;
    watch.is_silent(Duration::from_millis(500)).await
}

pub async fn refused_streams(_: Arc<Stage>) -> Result<()> {
    let stage = staged(Config {
        streaming_lists: false,
        ..Config::default()
    })
    .await?;
    let query = "watch=true&timeoutSeconds=1&sendInitialEvents=true&resourceVersionMatch=NotOlderThan&allowWatchBookmarks=true";
    let path = format!("{}?{query}", stage.path("secrets"));
    let refused = stage.api.get(&path).await?.fails(422, "Invalid")?;
    ensure!(
        text(&refused.body, "/message").contains("WatchList feature gate"),
        "{}",
        refused.body
    );
    order(&stage, Order::StreamingLists(true)).await?;
    stage.api.get(&path).await?.is(200)?;
    Ok(())
}

pub async fn without_bookmarks(_: Arc<Stage>) -> Result<()> {
    let stage = staged(Config {
        bookmarks: Duration::from_millis(300),
        ..Config::default()
    })
    .await?;
    let path = format!(
        "{}?resourceVersion=0&allowWatchBookmarks=true&timeoutSeconds=3",
        stage.path("services")
    );
    let mut watch = stage.api.watch(&path).await?;
    for _ in 0..3 {
        watch.expect("BOOKMARK").await?;
    }
    order(&stage, Order::Bookmarks(false)).await?;
    let mut watch = stage
        .api
        .watch(&format!("{path}&resourceVersionMatch=&resourceVersion=1"))
        .await?;
    let event = watch.next().await?;
    ensure!(
        event
            .as_ref()
            .is_none_or(|event| event["type"] != "BOOKMARK"
                || event["object"]["metadata"]["annotations"].is_object()),
        "{event:?}"
    );
    Ok(())
}

pub async fn istio_comes_and_goes(_: Arc<Stage>) -> Result<()> {
    let stage = staged(Config::default()).await?;
    let path = stage.path_of("security.istio.io/v1", "peerauthentications");
    stage.api.get(&path).await?.is(404)?;
    order(&stage, Order::IstioResources(true)).await?;
    stage
        .api
        .create(
            &path,
            json!({"metadata": {"name": "default"}, "spec": {"mtls": {"mode": "STRICT"}}}),
        )
        .await?
        .is(201)?;
    let old = stage
        .api
        .get(&stage.path_of("security.istio.io/v1beta1", "peerauthentications"))
        .await?
        .is(200)?;
    ensure!(
        old.body["items"][0]["apiVersion"] == "security.istio.io/v1beta1",
        "{}",
        old.body
    );
    let mut watch = stage
        .api
        .watch(&format!("{path}?resourceVersion={}", old.version()))
        .await?;
    order(&stage, Order::IstioResources(false)).await?;
    stage.api.get(&path).await?.is(404)?;
    let event = watch.next().await?;
    ensure!(event.is_none(), "{event:?}");
    Ok(())
}

pub async fn kubelet(_: Arc<Stage>) -> Result<()> {
    let stage = staged(Config {
        kubelet: Some(Duration::from_millis(100)),
        ..Config::default()
    })
    .await?;
    let made = stage.pod("a", Some("node")).await?;
    let path = stage.path("pods");
    let mut watch = stage
        .api
        .watch(&format!("{path}?resourceVersion={}", number(&made)?))
        .await?;
    stage.api.delete(&format!("{path}/a")).await?.is(200)?;
    watch.expect("MODIFIED").await?;
    watch.expect("DELETED").await?;
    Ok(())
}

pub async fn nobody(_: Arc<Stage>) -> Result<()> {
    for (anonymous, code, reason) in [(true, 403, "Forbidden"), (false, 401, "Unauthorized")] {
        let stage = staged(Config {
            anonymous,
            ..Config::default()
        })
        .await?;
        let api = stage.cluster.with_token(None).await?;
        api.get("/api/v1/pods").await?.fails(code, reason)?;
        if anonymous {
            api.get("/healthz").await?.is(200)?;
        }
    }
    Ok(())
}

pub async fn many_pods(_: Arc<Stage>) -> Result<()> {
    let stage = staged(Config::default()).await?;
    order(
        &stage,
        Order::Populate(Population {
            nodes: 100,
            first: 0,
            pods: 2000,
            namespaces: 10,
        }),
    )
    .await?;
    let path = "/api/v1/pods?fieldSelector=spec.nodeName%3Dnode-0007.cluster.example";
    let begin = Instant::now();
    let list = stage.api.get(path).await?.is(200)?;
    let took = begin.elapsed();
    ensure!(list.names().len() == 20, "{} pods", list.names().len());
    ensure!(took < Duration::from_secs(2), "{took:?}");
    let size = list.body["items"][0].to_string().len();
    ensure!((6_000..10_000).contains(&size), "a pod has {size} bytes");
    Ok(())
}
