//! Peer authentication changes and exceptions.

use std::{
    io::{Read, Write},
    net::SocketAddr,
    sync::atomic::{AtomicBool, AtomicU32, Ordering},
    thread,
    time::Duration,
};

use anyhow::{Context, Result, anyhow, ensure};
use sealane_harness::{
    NodeName, Pod,
    apps::{Curl, Exit, Listener, Nginx},
    objects::{MESH, PeerAuthentication},
    pace, until,
    wait::until_true,
};

use crate::{
    pair::{self, Pair},
    stage::{GREETING, Shop, Stage, WEB},
};

/// How soon new connections obey, once the change is seen.
pub(super) const OBEY: Duration = Duration::from_secs(1);
pub(super) const PORT: u16 = 9000;

/// PERMISSIVE -> STRICT -> PERMISSIVE while traffic runs: new connections obey within a second, established
/// plaintext is cut by STRICT, mutual TLS doesn't notice.
pub fn strict_toggle(stage: &Stage<'_>) -> Result<()> {
    let shop = stage.shop("PERMISSIVE")?;
    let _nginx = shop.nginx()?;
    let stop = AtomicBool::new(false);
    let requests = AtomicU32::new(0);
    thread::scope(|scope| {
        let traffic = scope.spawn(|| keep_asking(&shop.customer, &shop, &stop, &requests));
        let toggled = toggle(&shop, &requests);
        stop.store(true, Ordering::Relaxed);
        let traffic = traffic.join().map_err(|_| anyhow!("panicked"))?;
        toggled?;
        traffic.context("the mesh's own traffic")
    })
}

fn toggle(shop: &Shop<'_>, requests: &AtomicU32) -> Result<()> {
    let listener = shop.web.listen(PORT)?;
    let address = shop.web_address(PORT);
    let mut mutual = Pair::open(&shop.customer, address, &listener)?;
    for round in 0..3 {
        let mut plain = Pair::open(&shop.stranger, address, &listener)?;
        plain.talk()?;
        mutual.talk()?;
        shop.set_mode("STRICT")?;
        until_true("plaintext to be refused", OBEY, || {
            Ok(ask(&shop.stranger, shop.web_address(WEB)).is_err())
        })?;
        plain.client.set_read_timeout(Some(pace::span(OBEY)))?;
        pair::expect_over(&mut plain.client).context("the plaintext client")?;
        pair::expect_over(&mut plain.server).context("the plaintext server")?;
        mutual.talk().with_context(|| format!("round {round}"))?;
        shop.set_mode("PERMISSIVE")?;
        until("plaintext to be allowed", OBEY, || {
            Ok(ask(&shop.stranger, shop.web_address(WEB)).ok())
        })?;
        mutual.talk()?;
        let seen = requests.load(Ordering::Relaxed);
        until_true("more requests of the mesh", 5 * OBEY, || {
            Ok(requests.load(Ordering::Relaxed) > seen + 10)
        })?;
    }
    Ok(())
}

/// New connections, one after the other, none of which may fail.
pub(super) fn keep_asking(
    pod: &Pod,
    shop: &Shop<'_>,
    stop: &AtomicBool,
    done: &AtomicU32,
) -> Result<()> {
    while !stop.load(Ordering::Relaxed) {
        ask(pod, shop.web_address(WEB))?;
        done.fetch_add(1, Ordering::Relaxed);
    }
    Ok(())
}

/// A request to nginx in plaintext as the application sees it.
pub(super) fn ask(pod: &Pod, address: SocketAddr) -> Result<()> {
    let mut stream = pod.connect(address)?;
    stream.write_all(b"GET / HTTP/1.0\r\n\r\n")?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer)?;
    ensure!(answer.ends_with(GREETING), "answer: {answer:?}");
    Ok(())
}

/// One line for the whole mesh, as a key of a mounted `ConfigMap` is a file: in force within a second.
pub fn mesh_switch(stage: &Stage<'_>) -> Result<()> {
    let shop = stage.shop("UNSET")?;
    let _nginx = shop.nginx()?;
    for (mode, is_open) in [("STRICT", false), ("PERMISSIVE", true), ("STRICT", false)] {
        shop.world()
            .objects
            .raw("mtls-mode", &format!("{mode}\n"))?;
        until_true(mode, OBEY, || {
            Ok(ask(&shop.stranger, shop.web_address(WEB)).is_ok() == is_open)
        })?;
        ask(&shop.customer, shop.web_address(WEB))?;
    }
    Ok(())
}

/// Connections that never came to an agent are cut as well once policy forbids them; what a pod says to itself isn't.
pub fn unseen(stage: &Stage<'_>) -> Result<()> {
    let shop = stage.shop("DISABLE")?;
    let listener = shop.web.listen(PORT)?;
    let open = |pod| -> Result<Pair> {
        let mut pair = Pair::open(pod, shop.web_address(PORT), &listener)?;
        pair.talk()?;
        Ok(pair)
    };
    let mut forbidden = [open(&shop.customer)?, open(&shop.stranger)?];
    let mut itself = open(&shop.web)?;
    ensure!(
        shop.agents.b.connections()?.is_empty(),
        "somebody came to the agent"
    );
    shop.set_mode("PERMISSIVE")?;
    for pair in &mut forbidden {
        pair.talk().context("while it is allowed")?;
    }
    shop.set_mode("STRICT")?;
    for pair in &mut forbidden {
        pair.client.set_read_timeout(Some(pace::span(OBEY)))?;
        pair::expect_over(&mut pair.client).context("the client's end")?;
        pair::expect_over(&mut pair.server).context("the server's end")?;
    }
    itself.talk().context("within the pod")?;
    let mut mutual = open(&shop.customer)?;
    // Later looks leave what comes through the agent alone.
    std::thread::sleep(pace::span(OBEY));
    mutual.talk()?;
    // The customer's end may have been cut by its own agent first.
    let labels = [("reason", "became_strict")];
    shop.metric(NodeName::B, "sealane_policy_cuts_total", &labels, 1.0)?;
    shop.metric(
        NodeName::B,
        "sealane_policy_cut_duration_seconds_count",
        &[],
        1.0,
    )
}

/// DISABLE on one port of a STRICT workload: that port takes plaintext, the others do not.
pub fn port_level(stage: &Stage<'_>) -> Result<()> {
    const OPEN: u16 = 8081;
    let shop = stage.shop("PERMISSIVE")?;
    let world = shop.world();
    let ports = [Listener::Http(WEB), Listener::Http(OPEN)];
    let _nginx = Nginx::start(world, &shop.web, &ports, GREETING)?;
    let policy = PeerAuthentication::workload(MESH, "web", "STRICT", &[(OPEN, "DISABLE")]);
    world.objects.policy(&policy)?;
    shop.agents.b.wait_mode(&shop.web, "STRICT")?;
    let get = |pod, port| {
        let url = format!("http://{}/", shop.web_address(port));
        Curl::new(pod)?.get(&url)
    };
    get(&shop.stranger, OPEN)?.expect_ok(GREETING)?;
    get(&shop.stranger, WEB)?.expect_exit(Exit::RECEIVE_ERROR)?;
    get(&shop.customer, OPEN)?.expect_ok(GREETING)?;
    get(&shop.customer, WEB)?.expect_ok(GREETING)
}
