//! Keys that don't get into the kernel, and agents that are killed on the way: nothing goes out in clear, nothing
//! hangs.

use std::{
    io::{Read, Write},
    net::TcpListener,
};

use anyhow::{Context, Result, ensure};
use sealane_harness::{
    Agent, NodeName,
    apps::Capture,
    fault::{Call, Effect, Fault},
    pcap::readable,
    until,
};

use crate::{
    pair::{self, Pair},
    scenarios::offload::expect_transport,
    stage::{SOON, Shop, Stage},
};

const PORT: u16 = 9000;
const SECRET: &str = "ripe persimmons";

/// A socket that can't be prepared is served in userspace.
pub fn prepare(stage: &Stage<'_>) -> Result<()> {
    let shop = stage.shop("STRICT")?;
    let listener = shop.web.listen(PORT)?;
    let fault = Fault::inject(shop.agents.a.pid(), Call::EnableTls, Effect::Fail)?;
    let mut pair = Pair::open(&shop.customer, shop.web_address(PORT), &listener)?;
    pair.talk()?;
    ensure!(fault.hits() == 1, "{} calls failed", fault.hits());
    fault.end()?;
    expect_transport(&shop, NodeName::A, "userspace_tls")?;
    expect_transport(&shop, NodeName::B, "ktls_splice")?;
    pair.talk()
}

/// A key that the kernel doesn't take ends the connection, at either end, with either key: what the client has
/// said is nowhere on the wire. The next connection is a good one.
pub fn install(stage: &Stage<'_>) -> Result<()> {
    let shop = stage.shop("STRICT")?;
    let listener = shop.web.listen(PORT)?;
    for node in NodeName::ALL {
        for call in [Call::TransmitKey, Call::ReceiveKey] {
            fail(&shop, &listener, node, call)
                .with_context(|| format!("{call:?} at {}", node.name()))?;
        }
    }
    Ok(())
}

fn fail(shop: &Shop<'_>, listener: &TcpListener, node: NodeName, call: Call) -> Result<()> {
    let capture = Capture::start(shop.world(), &shop.web, PORT)?;
    let fault = Fault::inject(shop.agents.on(node).pid(), call, Effect::Fail)?;
    let mut client = shop.customer.connect(shop.web_address(PORT))?;
    // It may be cut while it still writes.
    let _ = client.write_all(SECRET.as_bytes());
    pair::expect_over(&mut client)?;
    ensure!(fault.hits() == 1, "{} calls failed", fault.hits());
    fault.end()?;
    let flows = capture.finish()?;
    ensure!(!flows.is_empty(), "nothing was captured");
    ensure!(!readable(&flows, SECRET), "in clear: {flows:?}");
    expect_nothing_left(shop)?;
    take_all(listener)?;
    shop.metric(node, "sealane_ktls_install_failures_total", &[], 1.0)?;
    let labels = [("reason", "offload_failed")];
    shop.metric(node, "sealane_connections_refused_total", &labels, 1.0)?;
    let mut pair = Pair::open(&shop.customer, shop.web_address(PORT), listener)?;
    pair.talk()
}

fn expect_nothing_left(shop: &Shop<'_>) -> Result<()> {
    for node in NodeName::ALL {
        let agent = shop.agents.on(node);
        until("every connection to end", SOON, || {
            Ok(agent.connections()?.is_empty().then_some(()))
        })?;
    }
    Ok(())
}

/// The other end's agent may have dialled the application before it knew. Nothing was said to it.
fn take_all(listener: &TcpListener) -> Result<()> {
    listener.set_nonblocking(true)?;
    while let Ok((mut stream, _)) = listener.accept() {
        let mut said = Vec::new();
        let _ = stream.read_to_end(&mut said);
        ensure!(said.is_empty(), "the application was told {said:?}");
    }
    Ok(())
}

/// Either agent is killed just before each step: both applications learn that it is over, the other agent keeps
/// nothing, and a new one takes the place.
pub fn killed(stage: &Stage<'_>) -> Result<()> {
    let mut shop = stage.shop("STRICT")?;
    let listener = shop.web.listen(PORT)?;
    for node in NodeName::ALL {
        for call in Call::ALL {
            kill(&mut shop, &listener, node, call)
                .with_context(|| format!("{call:?} at {}", node.name()))?;
        }
    }
    Ok(())
}

fn kill(shop: &mut Shop<'_>, listener: &TcpListener, node: NodeName, call: Call) -> Result<()> {
    let fault = Fault::inject(shop.agents.on(node).pid(), call, Effect::Kill)?;
    let client = shop.customer.connect(shop.web_address(PORT));
    if let Ok(mut client) = client {
        let _ = client.write_all(SECRET.as_bytes());
        pair::expect_over(&mut client)?;
    }
    ensure!(fault.hits() == 1, "{} calls", fault.hits());
    fault.end()?;
    let other = match node {
        NodeName::A => NodeName::B,
        NodeName::B => NodeName::A,
    };
    let survivor = shop.agents.on(other);
    until("every connection to end", SOON, || {
        Ok(survivor.connections()?.is_empty().then_some(()))
    })?;
    let mut agent = Agent::start(shop.world(), node, &[])?;
    agent.wait_ready()?;
    *shop.agents.on_mut(node) = agent;
    let pod = match node {
        NodeName::A => &shop.customer,
        NodeName::B => &shop.web,
    };
    shop.agents.on(node).wait_enrolled(pod, true)?;
    // Not before: the survivor may have dialled late.
    take_all(listener)?;
    let mut pair = Pair::open(&shop.customer, shop.web_address(PORT), listener)?;
    pair.talk()
}
