//! Service addresses: resolved by the client's agent, since nothing in the network answers there.

use std::{collections::BTreeMap, net::SocketAddr, time::Instant};

use anyhow::{Context, Result, ensure};
use sealane_harness::{
    Family, NodeName, PodSpec, World,
    apps::{Curl, Nginx},
    objects::{MESH, Service},
    pace,
};

use crate::stage::{SOON, Stage, WEB, service};

/// It goes to the named port of its pods.
fn fruit(name: &str, index: u8) -> Service {
    service(name, index, &"http")
}

fn url(family: Family, index: u8) -> String {
    let address = SocketAddr::new(World::virtual_address(family, index), 80);
    format!("http://{address}/")
}

/// Connections to a service's address spread over its endpoints, over mutual TLS; clients see the address
/// that they asked for.
pub fn spread(stage: &Stage<'_>) -> Result<()> {
    const REQUESTS: usize = 40;
    let world = stage.world;
    world.objects.service(&fruit("fruit", 7))?;
    let shop = stage.shop("STRICT")?;
    let (mut pods, mut servers) = (Vec::new(), Vec::new());
    for (name, node) in [
        ("fruit-1", NodeName::A),
        ("fruit-2", NodeName::B),
        ("fruit-3", NodeName::B),
    ] {
        let spec = PodSpec::new(node, MESH, name).app("fruit");
        let pod = world.pod(spec.port("http", WEB))?;
        shop.agents.on(node).wait_enrolled(&pod, true)?;
        servers.push(Nginx::http(world, &pod, WEB, name)?);
        pods.push(pod);
    }
    let mut answers = BTreeMap::new();
    for _ in 0..REQUESTS {
        let answer = Curl::new(&shop.customer)?.get(&url(stage.family, 7))?;
        ensure!(answer.status == 200, "{}", answer.output.describe());
        *answers.entry(answer.body).or_insert(0) += 1;
    }
    ensure!(answers.len() == 3, "{answers:?}");
    let asked = SocketAddr::new(World::virtual_address(stage.family, 7), 80);
    let stream = shop.customer.connect(asked)?;
    ensure!(
        stream.peer_addr()? == asked,
        "sees {:?}",
        stream.peer_addr()
    );
    let labels = [
        ("reporter", "source"),
        ("connection_security_policy", "mutual_tls"),
        ("destination_service_name", "fruit"),
    ];
    let opened = "istio_tcp_connections_opened_total";
    shop.metric(NodeName::A, opened, &labels, 40.0)
}

/// A service without endpoints refuses at once; so does a port that it doesn't have.
pub fn no_endpoint(stage: &Stage<'_>) -> Result<()> {
    stage.world.objects.service(&fruit("nobody", 8))?;
    let shop = stage.shop("PERMISSIVE")?;
    let start = Instant::now();
    let answer = Curl::new(&shop.customer)?.get(&url(stage.family, 8))?;
    ensure!(answer.is_reset(), "{}", answer.output.describe());
    ensure!(
        start.elapsed() < pace::span(SOON),
        "took {:?}",
        start.elapsed()
    );
    Ok(())
}

/// An endpoint that can't be reached is passed over for one that can.
pub fn dead_endpoint(stage: &Stage<'_>) -> Result<()> {
    let world = stage.world;
    world.objects.service(&fruit("fruit", 9))?;
    let shop = stage.shop("PERMISSIVE")?;
    let spec = |name| {
        PodSpec::new(NodeName::B, MESH, name)
            .app("fruit")
            .port("http", WEB)
    };
    let alive = world.pod(spec("alive"))?;
    let dead = world.pod(spec("dead"))?;
    let _nginx = Nginx::http(world, &alive, WEB, "alive")?;
    shop.agents.b.wait_enrolled(&alive, true)?;
    shop.agents.b.wait_enrolled(&dead, true)?;
    for number in 0..10 {
        Curl::new(&shop.customer)?
            .get(&url(stage.family, 9))?
            .expect_ok("alive")
            .with_context(|| format!("request {number}"))?;
    }
    Ok(())
}
