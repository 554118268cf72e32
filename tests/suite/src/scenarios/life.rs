//! Pods that come and go, agents that crash and stop.

use std::{fs, io::Write, net::SocketAddr, time::Duration};

use anyhow::{Context, Result, ensure};
use sealane_harness::{
    Agent, NodeName, Pod, PodSpec,
    apps::Exit,
    netns::listening_ports,
    objects::{MESH, PeerAuthentication},
    until,
    wait::{throughout, until_true},
};
use serde_json::Value;

use super::authorization;
use crate::{
    pair::{self, Pair},
    stage::{GREETING, SOON, Shop, Stage, WEB},
};

const PORT: u16 = 9000;
const LEASE: [&str; 2] = ["--lease", "2s"];
/// From a crash until the kernel has noticed, with some room.
const LAPSE: Duration = Duration::from_secs(5);

/// A running pod joins without a restart: open connections stay as they are, new ones are protected.
pub fn enrol_running(stage: &Stage<'_>) -> Result<()> {
    let world = stage.world;
    let spec = PodSpec {
        inject: Some(false),
        ..PodSpec::new(NodeName::B, MESH, "late")
    };
    let late = world.pod(spec)?;
    let shop = stage.shop("PERMISSIVE")?;
    let listener = late.listen(PORT)?;
    let address = late.address(stage.family, PORT);
    let mut early = Pair::open(&shop.customer, address, &listener)?;
    early.talk()?;
    set_inject(&shop, &late, true)?;
    early.talk().context("a connection from before")?;
    until_true("new connections to be mutual", SOON, || {
        let mut pair = Pair::open(&shop.customer, address, &listener)?;
        pair.talk()?;
        let rows = shop.agents.b.connections()?;
        Ok(rows.iter().any(|row| is_mutual(row, "shop/late")))
    })?;
    early.talk().context("a connection from before")
}

/// A pod leaves while it runs: new connections go directly, and nothing of ours is left in it.
pub fn leave(stage: &Stage<'_>) -> Result<()> {
    let mut shop = stage.shop("STRICT")?;
    let _nginx = shop.nginx()?;
    shop.get(&shop.stranger)?.expect_exit(Exit::RECEIVE_ERROR)?;
    set_inject(&shop, &shop.web, false)?;
    for client in [&shop.stranger, &shop.customer] {
        until_true("the client to go directly", SOON, || {
            Ok(shop.get(client)?.expect_ok(GREETING).is_ok())
        })?;
    }
    expect_listeners(&shop.web, &[WEB])?;
    set_inject(&shop, &shop.web, true)?;
    shop.get(&shop.stranger)?.expect_exit(Exit::RECEIVE_ERROR)?;
    stop_and_clean_up(&mut shop)?;
    shop.get(&shop.stranger)?.expect_ok(GREETING)?;
    shop.get(&shop.customer)?.expect_ok(GREETING)?;
    expect_listeners(&shop.web, &[WEB])?;
    expect_listeners(&shop.customer, &[])
}

/// Where a pod was another one is: what the first has opened doesn't go on in its name.
pub fn replaced(stage: &Stage<'_>) -> Result<()> {
    let shop = stage.shop("STRICT")?;
    let listener = shop.web.listen(PORT)?;
    let mut pair = Pair::open(&shop.customer, shop.web_address(PORT), &listener)?;
    pair.talk()?;
    let mut successor = shop.customer.manifest();
    for name in [&mut successor.spec.name, &mut successor.spec.app] {
        "successor".clone_into(name);
    }
    shop.world().objects.remove_pod(&shop.customer.spec)?;
    shop.world().objects.pod(&successor)?;
    pair::expect_over(&mut pair.client)?;
    let cut = "sealane_policy_cuts_total";
    shop.metric(NodeName::A, cut, &[("reason", "workload_gone")], 1.0)?;
    let id = "spiffe://cluster.local/ns/shop/sa/successor";
    until_true("the successor to be itself", SOON, || {
        // Refused until it is known.
        let Ok(_client) = shop.customer.connect(shop.web_address(PORT)) else {
            return Ok(false);
        };
        let rows = shop.agents.b.connections()?;
        Ok(rows.iter().any(|row| row["source_principal"] == id))
    })
}

fn stop_and_clean_up(shop: &mut Shop<'_>) -> Result<()> {
    for node in NodeName::ALL {
        let world = shop.stage.world;
        let agent = shop.agents.on_mut(node);
        agent.begin_stop()?;
        agent.wait_end()?;
        agent.cleanup(world)?;
        let pins = &world.node(node).bpffs;
        let left: Vec<_> = fs::read_dir(pins).into_iter().flatten().collect();
        ensure!(left.is_empty(), "pins left: {left:?}");
    }
    Ok(())
}

/// A crash of both agents under STRICT: nothing gets in or out in clear, neither before the lease lapses nor
/// after; a new agent takes over what is there.
pub fn agent_killed_strict(stage: &Stage<'_>) -> Result<()> {
    let mut shop = stage.shop_with("STRICT", &LEASE)?;
    let _nginx = shop.nginx()?;
    shop.get(&shop.customer)?.expect_ok(GREETING)?;
    kill_both(&mut shop)?;
    throughout("STRICT without an agent", LAPSE, || {
        Ok(is_refused(&shop, &shop.stranger)? && is_refused(&shop, &shop.customer)?)
    })?;
    start_both(&mut shop, &LEASE)?;
    shop.get(&shop.customer)?.expect_ok(GREETING)?;
    shop.get(&shop.stranger)?.expect_exit(Exit::RECEIVE_ERROR)
}

/// A crash of both agents under PERMISSIVE: once the lease has lapsed, connections go directly; a new agent
/// protects them again.
pub fn agent_killed_permissive(stage: &Stage<'_>) -> Result<()> {
    let mut shop = stage.shop_with("PERMISSIVE", &LEASE)?;
    let _nginx = shop.nginx()?;
    kill_both(&mut shop)?;
    for pod in [&shop.stranger, &shop.customer] {
        until(&format!("{} to get through", pod.spec.name), LAPSE, || {
            Ok(shop.get(pod)?.expect_ok(GREETING).ok())
        })?;
    }
    start_both(&mut shop, &LEASE)?;
    let listener = shop.web.listen(PORT)?;
    let mut mutual = Pair::open(&shop.customer, shop.web_address(PORT), &listener)?;
    mutual.talk()?;
    expect_mutual(&shop, "shop/web")
}

/// A crash of both agents where authorization policies are: nobody can be asked who may, so nobody does, whatever
/// the mode.
pub fn agent_killed_authorized(stage: &Stage<'_>) -> Result<()> {
    let mut shop = stage.shop_with("PERMISSIVE", &LEASE)?;
    let _nginx = shop.nginx()?;
    let objects = &stage.world.objects;
    objects.raw(authorization::FILE, authorization::ALLOW)?;
    for node in NodeName::ALL {
        shop.agents.on(node).wait_current(objects)?;
    }
    until("the policy to be in force", SOON, || {
        Ok((shop.get(&shop.stranger)?.status == 403).then_some(()))
    })?;
    shop.get(&shop.customer)?.expect_ok(GREETING)?;
    kill_both(&mut shop)?;
    throughout("authorization without an agent", LAPSE, || {
        Ok(is_refused(&shop, &shop.stranger)? && is_refused(&shop, &shop.customer)?)
    })?;
    start_both(&mut shop, &LEASE)?;
    shop.get(&shop.customer)?.expect_ok(GREETING)
}

/// A pod made while no agent ran is found by the next one; a pod that vanished meanwhile does no harm.
pub fn restart_finds_changes(stage: &Stage<'_>) -> Result<()> {
    let world = stage.world;
    let mut shop = stage.shop_with("STRICT", &LEASE)?;
    let _nginx = shop.nginx()?;
    let gone = world.pod(PodSpec::new(NodeName::B, MESH, "gone"))?;
    shop.agents.b.wait_enrolled(&gone, true)?;
    kill_both(&mut shop)?;
    world.objects.remove_pod(&gone.spec)?;
    drop(gone);
    let late = world.pod(PodSpec::new(NodeName::B, MESH, "late"))?;
    start_both(&mut shop, &LEASE)?;
    shop.agents.b.wait_enrolled(&late, true)?;
    shop.get(&shop.customer)?.expect_ok(GREETING)?;
    let listener = late.listen(PORT)?;
    let address = late.address(stage.family, PORT);
    Pair::open(&shop.customer, address, &listener)?.talk()?;
    expect_refused(&shop, address)
}

/// SIGTERM: open connections go on until they end, then the agent ends; a connection that doesn't end is cut
/// at the deadline.
pub fn graceful_stop(stage: &Stage<'_>) -> Result<()> {
    let mut shop = stage.shop_with("PERMISSIVE", &["--drain", "4s"])?;
    let listener = shop.web.listen(PORT)?;
    let address = shop.web_address(PORT);
    let mut ending = Pair::open(&shop.customer, address, &listener)?;
    ending.talk()?;
    shop.agents.a.begin_stop()?;
    throughout("an open connection", Duration::from_secs(1), || {
        ending.talk()?;
        Ok(true)
    })?;
    ensure!(!shop.agents.a.ended()?, "ended with a connection open");
    drop(ending);
    shop.agents.a.wait_end()?;

    let mut lasting = Pair::open(&shop.stranger, address, &listener)?;
    lasting.talk()?;
    shop.agents.b.begin_stop()?;
    pair::expect_over(&mut lasting.client).context("at the deadline")?;
    shop.agents.b.wait_end()?;
    Ok(())
}

/// An agent that drains takes new connections, for there is nobody else who would; STRICT stays STRICT.
pub fn taken_while_draining(stage: &Stage<'_>) -> Result<()> {
    let mut shop = stage.shop_with("STRICT", &["--drain", "20s"])?;
    let _nginx = shop.nginx()?;
    let listener = shop.web.listen(PORT)?;
    for node in NodeName::ALL {
        let mut open = Pair::open(&shop.customer, shop.web_address(PORT), &listener)?;
        open.talk()?;
        shop.agents.on_mut(node).begin_stop()?;
        throughout("new connections", Duration::from_secs(2), || {
            shop.get(&shop.customer)?.expect_ok(GREETING)?;
            shop.get(&shop.stranger)?.expect_exit(Exit::RECEIVE_ERROR)?;
            open.talk()?;
            Ok(true)
        })
        .with_context(|| format!("{node:?}"))?;
        drop(open);
        shop.agents.on_mut(node).wait_end()?;
        *shop.agents.on_mut(node) = Agent::start(shop.stage.world, node, &[])?;
        shop.agents.on_mut(node).wait_ready()?;
    }
    Ok(())
}

/// A stranger that speaks plaintext is cut off.
fn expect_refused(shop: &Shop<'_>, address: SocketAddr) -> Result<()> {
    let mut stream = shop.stranger.connect(address)?;
    stream.write_all(b"GET / HTTP/1.0\r\n\r\n")?;
    pair::expect_over(&mut stream)
}

/// Refused at once, not left hanging.
fn is_refused(shop: &Shop<'_>, pod: &Pod) -> Result<bool> {
    Ok(shop.get(pod)?.is_reset())
}

/// A crash in the middle of a connection must not read as its regular end, at neither application.
pub fn crash_is_no_end(stage: &Stage<'_>) -> Result<()> {
    let mut shop = stage.shop("STRICT")?;
    let listener = shop.web.listen(PORT)?;
    for node in NodeName::ALL {
        let mut pair = Pair::open(&shop.customer, shop.web_address(PORT), &listener)?;
        pair.talk()?;
        shop.agents.on_mut(node).kill()?;
        pair::expect_reset(&mut pair.client).with_context(|| format!("client, {node:?}"))?;
        pair::expect_reset(&mut pair.server).with_context(|| format!("server, {node:?}"))?;
        *shop.agents.on_mut(node) = Agent::start(shop.stage.world, node, &[])?;
        shop.agents.on_mut(node).wait_ready()?;
    }
    Ok(())
}

pub(super) fn set_inject(shop: &Shop<'_>, pod: &Pod, inject: bool) -> Result<()> {
    let mut manifest = pod.manifest();
    manifest.spec.inject = Some(inject);
    shop.world().objects.pod(&manifest)?;
    let agent = shop.agents.on(pod.spec.node);
    agent.wait_enrolled(pod, inject)
}

fn expect_mutual(shop: &Shop<'_>, workload: &str) -> Result<()> {
    let what = format!("a mutual connection to {workload}");
    for node in NodeName::ALL {
        shop.connection(node, &what, |row| is_mutual(row, workload))?;
    }
    Ok(())
}

fn is_mutual(row: &Value, workload: &str) -> bool {
    row["security"] == "mutual_tls" && row["destination_workload"] == workload
}

fn expect_listeners(pod: &Pod, expected: &[u16]) -> Result<()> {
    let name = &pod.spec.name;
    until_true(
        &format!("{expected:?} alone to listen in {name}"),
        SOON,
        || Ok(pod.netns.run(listening_ports)?? == expected),
    )
    .with_context(|| format!("{:?}", pod.netns.run(listening_ports)))
}

fn kill_both(shop: &mut Shop<'_>) -> Result<()> {
    shop.agents.a.kill()?;
    shop.agents.b.kill()
}

fn start_both(shop: &mut Shop<'_>, flags: &[&str]) -> Result<()> {
    let world = shop.stage.world;
    for node in NodeName::ALL {
        *shop.agents.on_mut(node) = Agent::start(world, node, flags)?;
    }
    for node in NodeName::ALL {
        shop.agents.on_mut(node).wait_ready()?;
    }
    shop.agents.a.wait_enrolled(&shop.customer, true)?;
    shop.agents.b.wait_enrolled(&shop.web, true)
}

/// A policy for one pod that is there before the pod is.
pub fn policy_before_pod(stage: &Stage<'_>) -> Result<()> {
    let shop = stage.shop("PERMISSIVE")?;
    let policy = PeerAuthentication::workload(MESH, "vault", "STRICT", &[]);
    shop.world().objects.policy(&policy)?;
    let vault = shop.world().pod(PodSpec::new(NodeName::B, MESH, "vault"))?;
    shop.agents.b.wait_enrolled(&vault, true)?;
    let listener = vault.listen(PORT)?;
    let address = vault.address(stage.family, PORT);
    expect_refused(&shop, address)?;
    pair::expect_nobody(&listener)?;
    shop.agents.a.wait_current(&shop.world().objects)?;
    until("the mesh to get through", SOON, || {
        let opened = Pair::open(&shop.customer, address, &listener);
        Ok(opened.and_then(|mut pair| pair.talk()).ok())
    })
}
