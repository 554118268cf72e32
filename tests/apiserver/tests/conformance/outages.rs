//! Requests that fail, and servers that go: what only a server shows that takes orders.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use anyhow::{Result, ensure};
use futures_util::StreamExt as _;
use k8s_openapi::api::core::v1::ConfigMap;
use kube::{
    Client,
    config::{KubeConfigOptions, Kubeconfig},
    runtime::{WatchStreamExt as _, reflector::Store, watcher},
};
use sealane_apiserver::{Break, Config, Effect, How, Order, Rule};

use crate::{
    Check,
    call::number,
    check,
    orders::{order, staged},
    stage::Stage,
};

fn fault(verb: &str, times: u32, effect: Effect) -> Order {
    let (verb, times) = (Some(verb.to_owned()), Some(times));
    Order::Fault(Rule {
        verb,
        times,
        effect: Some(effect),
        ..Rule::default()
    })
}

pub const CHECKS: &[Check] = &[
    check!(
        outages::failing_requests,
        orders,
        "429, 500 and 503 come with a Status, and with Retry-After where it is ordered"
    ),
    check!(
        outages::broken_requests,
        orders,
        "requests are delayed, never answered, dropped, or cut in their answer"
    ),
    check!(
        outages::away,
        orders,
        "while the server is away connections are refused; then all is as before"
    ),
    check!(
        outages::half_closed,
        orders,
        "when the server ends its half of a connection a watch breaks"
    ),
    check!(
        outages::lower_versions,
        orders,
        "after a restore versions are lower, and old ones are from the future"
    ),
    check!(
        outages::a_client_catches_up,
        orders,
        "a watcher as in kube's runtime survives all this and ends with the truth"
    ),
];

pub async fn failing_requests(_: Arc<Stage>) -> Result<()> {
    let stage = staged(Config::default()).await?;
    for (code, reason, retry_after) in [
        (429, "TooManyRequests", Some(7)),
        (500, "InternalError", None),
        (503, "ServiceUnavailable", Some(1)),
    ] {
        order(
            &stage,
            fault("list", 1, Effect::Status { code, retry_after }),
        )
        .await?;
        let refused = stage
            .api
            .get(&stage.path("pods"))
            .await?
            .fails(code, reason)?;
        let told = refused
            .headers
            .get("retry-after")
            .and_then(|value| value.to_str().ok()?.parse::<u32>().ok());
        ensure!(told == retry_after, "Retry-After {told:?}");
        stage.api.get(&stage.path("pods")).await?.is(200)?;
    }
    Ok(())
}

pub async fn broken_requests(_: Arc<Stage>) -> Result<()> {
    let stage = staged(Config::default()).await?;
    let path = stage.path("pods");
    order(&stage, fault("list", 1, Effect::Delay { millis: 700 })).await?;
    let begin = Instant::now();
    stage.api.get(&path).await?.is(200)?;
    ensure!(
        begin.elapsed() >= Duration::from_millis(700),
        "after {:?}",
        begin.elapsed()
    );
    for effect in [Effect::Drop, Effect::Cut { bytes: 10 }] {
        order(&stage, fault("list", 1, effect)).await?;
        ensure!(
            stage.api.get(&path).await.is_err(),
            "{effect:?} is not seen"
        );
    }
    order(&stage, fault("list", 1, Effect::Hang)).await?;
    let hung = tokio::time::timeout(Duration::from_millis(500), stage.api.get(&path)).await;
    ensure!(hung.is_err(), "an answer came");
    stage.api.get(&path).await?.is(200)?;
    Ok(())
}

pub async fn away(_: Arc<Stage>) -> Result<()> {
    let stage = staged(Config::default()).await?;
    stage.secret("a").await?;
    let mut watch = stage
        .api
        .watch(&format!("{}?resourceVersion=0", stage.path("services")))
        .await?;
    order(&stage, Order::Away { millis: 700 }).await?;
    ensure!(watch.next().await.is_err(), "the watch goes on");
    ensure!(stage.api.get("/healthz").await.is_err(), "it is there");
    tokio::time::sleep(Duration::from_millis(1000)).await;
    ensure!(
        stage
            .api
            .get(&stage.path("secrets"))
            .await?
            .is(200)?
            .names()
            == ["a"],
        "a is gone"
    );
    Ok(())
}

pub async fn half_closed(_: Arc<Stage>) -> Result<()> {
    let stage = staged(Config::default()).await?;
    let mut watch = stage
        .api
        .watch(&format!("{}?resourceVersion=0", stage.path("services")))
        .await?;
    order(&stage, Order::HalfClose).await?;
    ensure!(watch.next().await.is_err(), "the watch goes on");
    Ok(())
}

pub async fn lower_versions(_: Arc<Stage>) -> Result<()> {
    let stage = staged(Config {
        patience: Duration::from_millis(100),
        ..Config::default()
    })
    .await?;
    for index in 0..50 {
        stage.secret(&format!("a{index}")).await?;
        stage
            .api
            .delete(&format!("{}/a{index}", stage.path("secrets")))
            .await?
            .is(200)?;
    }
    let before = number(&stage.secret("b").await?)?;
    order(&stage, Order::Restart { first: 1 }).await?;
    let list = stage.api.get(&stage.path("secrets")).await?.is(200)?;
    ensure!(
        number(&list.body)? < before && list.names() == ["b"],
        "{}",
        list.body
    );
    let path = format!(
        "{}?resourceVersion={before}&resourceVersionMatch=NotOlderThan",
        stage.path("secrets")
    );
    stage.api.get(&path).await?.fails(504, "Timeout")?;
    Ok(())
}

pub async fn a_client_catches_up(_: Arc<Stage>) -> Result<()> {
    let stage = staged(Config::default()).await?;
    let config = Kubeconfig::from_yaml(&stage.cluster.kubeconfig)?;
    let config =
        kube::Config::from_custom_kubeconfig(config, &KubeConfigOptions::default()).await?;
    let maps = kube::Api::<ConfigMap>::namespaced(Client::try_from(config)?, &stage.namespace);
    let (reader, writer) = kube::runtime::reflector::store();
    let events = watcher(maps, watcher::Config::default()).default_backoff();
    let mut events = kube::runtime::reflector(writer, events).boxed();
    let reflects = tokio::spawn(async move { while events.next().await.is_some() {} });
    let orders = [
        Order::BreakWatches(Break {
            how: How::Expired,
            resource: None,
        }),
        Order::BreakWatches(Break {
            how: How::Cut,
            resource: None,
        }),
        Order::ForgetHistory,
        Order::HalfClose,
        Order::Reset,
        fault(
            "list",
            2,
            Effect::Status {
                code: 500,
                retry_after: None,
            },
        ),
        Order::Away { millis: 200 },
    ];
    for (index, ordered) in orders.into_iter().enumerate() {
        stage.config_map(&format!("m{index}"), &[]).await?;
        order(&stage, ordered).await?;
        tokio::time::sleep(Duration::from_millis(400)).await;
    }
    order(&stage, Order::ClearFaults).await?;
    let wanted = stage
        .api
        .get(&stage.path("configmaps"))
        .await?
        .is(200)?
        .names();
    holds(&reader, &wanted).await?;
    reflects.abort();
    Ok(())
}

/// Waits until the store has these, and nothing else.
async fn holds(reader: &Store<ConfigMap>, wanted: &[String]) -> Result<()> {
    let deadline = Instant::now() + Duration::from_secs(40);
    loop {
        let mut names: Vec<_> = reader
            .state()
            .iter()
            .filter_map(|map| map.metadata.name.clone())
            .collect();
        names.sort();
        if names == wanted {
            return Ok(());
        }
        ensure!(Instant::now() < deadline, "{names:?} instead of {wanted:?}");
        tokio::time::sleep(Duration::from_millis(200)).await;
    }
}
