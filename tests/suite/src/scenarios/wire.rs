//! What can be seen from outside: on the wire, of ports, and of addresses.

use std::{io, net::TcpStream};

use anyhow::{Context, Result, ensure};
use sealane_harness::{
    Pod,
    apps::{Capture, Curl},
    pace,
    pcap::{Flow, readable, records},
    sockets::PATIENCE,
    wait::until_true,
};

use crate::{
    pair::{self, Pair},
    stage::{GREETING, SOON, Shop, Stage, WEB},
};

/// On the server's interface a mesh call is TLS records and nothing else; with DISABLE the text is readable.
pub fn capture_ciphertext(stage: &Stage<'_>) -> Result<()> {
    let shop = stage.shop("PERMISSIVE")?;
    let _nginx = shop.nginx()?;
    for mode in ["PERMISSIVE", "STRICT"] {
        shop.set_mode(mode)?;
        let flows = watch_a_call(&shop)?;
        for flow in &flows {
            let records = records(&flow.payload).context(mode)?;
            ensure!(records.len() > 2, "{mode}: {records:?}");
        }
        ensure!(!readable(&flows, GREETING), "{mode}: readable on the wire");
        ensure!(!readable(&flows, "GET /"), "{mode}: readable on the wire");
    }
    shop.set_mode("DISABLE")?;
    shop.agents.a.wait_mode(&shop.customer, "DISABLE")?;
    let flows = watch_a_call(&shop)?;
    ensure!(readable(&flows, GREETING), "DISABLE: {flows:?}");
    Ok(())
}

fn watch_a_call(shop: &Shop<'_>) -> Result<Vec<Flow>> {
    let capture = Capture::start(shop.world(), &shop.web, WEB)?;
    shop.get(&shop.customer)?.expect_ok(GREETING)?;
    let flows = capture.finish()?;
    ensure!(!flows.is_empty(), "nothing was captured");
    Ok(flows)
}

/// A scan of a pod finds its own open ports open, its closed ones closed, and none of ours.
pub fn port_scan(stage: &Stage<'_>) -> Result<()> {
    const MORE: [u16; 3] = [1, 9000, 65535];
    let shop = stage.shop("STRICT")?;
    let _nginx = shop.nginx()?;
    let listeners: Vec<_> = MORE
        .iter()
        .map(|port| shop.web.listen(*port))
        .collect::<Result<_, _>>()?;
    let expected = [1, WEB, 9000, 65535];
    let open = shop.stranger.netns.run(|| scan(&shop, &expected))??;
    ensure!(open == expected, "open: {open:?}");
    for port in [2, 8079, 15001, 15006, 15008] {
        closed_to_the_mesh(&shop, port).with_context(|| format!("port {port}"))?;
    }
    drop(listeners);
    let closed = shop.web_address(9000);
    until_true("a port to close with its listener", SOON, || {
        let refused = shop.stranger.connect(closed).err();
        Ok(refused.is_some_and(|e| e.kind() == io::ErrorKind::ConnectionRefused))
    })
}

/// The ports of `web` that take a connection; on a slow machine of `certain` ones and a sample.
fn scan(shop: &Shop<'_>, certain: &[u16]) -> Result<Vec<u16>> {
    let all = usize::from(u16::MAX);
    let stride = all / pace::amount(all);
    let offset = fastrand::usize(..stride);
    let is_scanned = |port: &u16| usize::from(*port) % stride == offset || certain.contains(port);
    let mut open = Vec::new();
    for port in (1..=u16::MAX).filter(is_scanned) {
        let address = shop.web_address(port);
        match TcpStream::connect_timeout(&address, PATIENCE) {
            Ok(_) => open.push(port),
            Err(error) if error.kind() == io::ErrorKind::ConnectionRefused => {}
            Err(error) => return Err(error).with_context(|| format!("port {port}")),
        }
    }
    Ok(open)
}

/// A captured client is connected before its destination is: a closed port shows as a reset at the latest.
fn closed_to_the_mesh(shop: &Shop<'_>, port: u16) -> Result<()> {
    match shop.customer.connect(shop.web_address(port)) {
        Err(error) => {
            let kind = error.kind();
            let closed = [
                io::ErrorKind::ConnectionRefused,
                io::ErrorKind::ConnectionReset,
            ];
            ensure!(closed.contains(&kind), "{error}");
            Ok(())
        }
        Ok(mut stream) => pair::expect_reset(&mut stream),
    }
}

/// A client that binds its socket to the pod's device is carried like any other.
pub fn bound_to_device(stage: &Stage<'_>) -> Result<()> {
    let shop = stage.shop("STRICT")?;
    let _nginx = shop.nginx()?;
    Curl::new(&shop.customer)?
        .arg("--interface")
        .arg("eth0")
        .get(&shop.url())?
        .expect_ok(GREETING)
}

/// Servers see their clients' own addresses; clients see the addresses that they asked for, and their own.
pub fn client_address(stage: &Stage<'_>) -> Result<()> {
    let shop = stage.shop("PERMISSIVE")?;
    let _nginx = shop.nginx()?;
    let listener = shop.web.listen(9000)?;
    let asked = shop.web_address(9000);
    for pod in [&shop.customer, &shop.stranger] {
        let name = &pod.spec.name;
        let mut pair = Pair::open(pod, asked, &listener)?;
        pair.talk()?;
        let own = pod.ip(shop.family());
        ensure!(pair.peer.ip() == own, "accept: {} for {name}", pair.peer);
        let peer = pair.server.peer_addr()?;
        ensure!(
            peer.ip().to_canonical() == own,
            "getpeername: {peer} for {name}"
        );
        let seen = pair.client.peer_addr()?;
        ensure!(seen == asked, "{name} asked for {asked}, sees {seen}");
        let local = pair.client.local_addr()?;
        ensure!(local.ip() == own, "{name}'s own address reads {local}");
        expect_remote(&shop, pod)?;
    }
    let mut pair = Pair::open(&shop.stranger, asked, &listener)?;
    pair.talk()?;
    let local = pair.client.local_addr()?;
    ensure!(pair.peer == local, "the port: {} for {local}", pair.peer);
    Ok(())
}

/// What nginx takes for the client's address.
fn expect_remote(shop: &Shop<'_>, pod: &Pod) -> Result<()> {
    let url = format!("{}peer", shop.url());
    let address = pod.ip(shop.family()).to_string();
    Curl::new(pod)?.get(&url)?.expect_ok(&address)
}
