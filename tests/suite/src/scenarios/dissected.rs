//! What `sealane verify` says of many connections, beside what tshark makes of the same packets.

use std::{
    io::{Read, Write},
    net::SocketAddr,
    thread,
};

use anyhow::{Context, Result, ensure};
use sealane_harness::{
    Pod,
    apps::{Capture, Dissected, dissect},
    until,
};
use serde_json::Value;

use super::attest::{PORT, at_server, bytes, flows};
use crate::{
    pair::{Pair, accept},
    stage::{SOON, Shop, Stage},
};

const CONNECTIONS: usize = 100;
const WORD: [u8; 16] = *b"once upon a time";

/// In clear and under mutual TLS, with few bytes and with many.
pub fn hundred(stage: &Stage<'_>) -> Result<()> {
    let shop = at_server(stage, "PERMISSIVE")?;
    let listener = shop.web.listen(PORT)?;
    let capture = Capture::start(shop.world(), &shop.web, PORT)?;
    let pods = [&shop.customer, &shop.stranger];
    let pairs = (0..CONNECTIONS).map(|index| {
        let mut pair = open(pods[index % 2], &shop, &listener)?;
        for _ in 0..index % 4 {
            pair.say(WORD)?;
        }
        if index % 10 < 2 {
            bulk(&mut pair, 3000 * index)?;
        }
        Ok(pair)
    });
    let pairs = pairs.collect::<Result<Vec<_>>>()?;
    let verified = verified(&shop)?;
    capture.wait_bytes(verified.iter().map(bytes).sum())?;
    let dissected = dissect(shop.world(), &capture.save()?, PORT)?;
    ensure!(
        dissected.len() == CONNECTIONS,
        "tshark has {}",
        dissected.len()
    );
    for flow in &verified {
        let client: SocketAddr = flow["remote"].as_str().context("no remote")?.parse()?;
        let dissected = dissected
            .get(&client)
            .with_context(|| format!("no {client}"))?;
        compare(flow, dissected)?;
    }
    let encrypted = verified
        .iter()
        .filter(|flow| flow["verdict"] == "ENCRYPTED");
    ensure!(encrypted.count() == CONNECTIONS / 2);
    drop(pairs);
    Ok(())
}

/// The client speaks first: nobody has to wait whether it will.
fn open(pod: &Pod, shop: &Shop<'_>, listener: &std::net::TcpListener) -> Result<Pair> {
    let mut client = pod.connect(shop.web_address(PORT))?;
    client.write_all(&WORD)?;
    let (mut server, peer) = accept(listener)?;
    let mut got = WORD;
    server.read_exact(&mut got)?;
    server.write_all(&got)?;
    client.read_exact(&mut got)?;
    Ok(Pair {
        client,
        server,
        peer,
    })
}

fn bulk(pair: &mut Pair, length: usize) -> Result<()> {
    let bytes = vec![b'x'; length];
    let mut got = vec![0; length];
    thread::scope(|scope| {
        let sent = scope.spawn(|| pair.server.write_all(&bytes));
        pair.client.read_exact(&mut got)?;
        sent.join()
            .ok()
            .context("the sender panicked")?
            .context("sending")
    })
}

fn verified(shop: &Shop<'_>) -> Result<Vec<Value>> {
    until("a verdict on each connection", SOON, || {
        let flows = flows(&shop.agents.b, &shop.web)?;
        let known = flows.iter().filter(|flow| flow["verdict"] != "UNKNOWN");
        Ok((known.count() == CONNECTIONS).then_some(flows))
    })
}

fn compare(flow: &Value, dissected: &Dissected) -> Result<()> {
    let both = |field: &str| {
        let of = |direction: &str| flow[direction][field].as_u64().unwrap_or_default();
        of("sent") + of("received")
    };
    let is_tls = dissected.client_hello && dissected.server_hello;
    let verdict = if is_tls { "ENCRYPTED" } else { "PLAINTEXT" };
    let in_clear = if is_tls { 0 } else { dissected.bytes };
    let agrees = flow["verdict"] == verdict
        && both("records") == dissected.records
        && both("tls_bytes") + both("plaintext_bytes") == dissected.bytes
        && both("plaintext_bytes") == in_clear
        && both("unclassified_bytes") == 0;
    ensure!(agrees, "tshark: {dissected:?}, {flow:#}");
    Ok(())
}
