//! What no honest stack sends, on a pod's wire: the programs that watch it must not take plaintext for TLS.

mod cases;

use std::{io::Write, net::SocketAddr};

use anyhow::{Context, Result, bail, ensure};
use sealane_harness::{
    NodeName,
    frames::{self, ACK, Frame, SYN},
};
use serde_json::Value;

use super::attest::{CLIENT_HELLO, PORT, SERVER_HELLO, at_server, flows};
use cases::Case;

use crate::{
    pair::{Pair, expect_reset},
    stage::{Shop, Stage},
};

/// The first port of the clients; each case has its own.
const FIRST: u16 = 20_000;
/// The first sequence numbers of both ends.
const CLIENT: u32 = u32::MAX - 20;
const SERVER: u32 = 7_000;
const TEXT: &[u8] = b"GET / HTTP/1.1\r\n";
/// What a client claims of its frames to its own kernel: LLDP.
const LIE: u16 = 0x88cc;

/// Both ends' frames are made up; what the agent of the server says of them is compared with what they were.
pub fn frames(stage: &Stage<'_>) -> Result<()> {
    let shop = at_server(stage, "DISABLE")?;
    let cases = cases::all();
    let open: Vec<_> = cases
        .iter()
        .zip(FIRST..)
        .map(|(c, port)| opening(&shop, c, port))
        .collect();
    frames::send(shop.world(), &shop.stranger, 0, &open.concat())?;
    let answers: Vec<_> = (FIRST..)
        .take(cases.len())
        .map(|port| answer(&shop, port))
        .collect();
    frames::send(shop.world(), &shop.web, 0, &answers.concat())?;
    let rest: Vec<_> = cases
        .iter()
        .zip(FIRST..)
        .map(|(c, port)| rest(&shop, c, port))
        .collect();
    frames::send(shop.world(), &shop.stranger, 0, &rest.concat())?;
    let seen = flows(&shop.agents.b, &shop.web)?;
    for (case, port) in cases.iter().zip(FIRST..) {
        check(case, of_port(&seen, &shop, port)?)?;
    }
    lie(&shop)
}

/// A pod that lies to its own kernel about its frames is seen to send plaintext all the same.
fn lie(shop: &Shop<'_>) -> Result<()> {
    let port = FIRST + 500;
    let clear = Frame {
        payload: TEXT.to_vec(),
        flags: ACK,
        ..frame(shop, port, false, SERVER + 1)
    };
    frames::send(shop.world(), &shop.web, 0, &answer(shop, port)[..1])?;
    frames::send(shop.world(), &shop.web, LIE, &[clear])?;
    let seen = flows(&shop.agents.b, &shop.web)?;
    let flow = of_port(&seen, shop, port)?;
    ensure!(flow["verdict"] == "PLAINTEXT", "{flow:#}");
    Ok(())
}

/// What a STRICT port answers in clear is told of by name, whoever has let it through; what it refuses is not its fault.
pub fn strict(stage: &Stage<'_>) -> Result<()> {
    let shop = at_server(stage, "STRICT")?;
    let listener = shop.web.listen(PORT)?;
    let mut refused = shop.stranger.connect(shop.web_address(PORT))?;
    refused.write_all(TEXT)?;
    expect_reset(&mut refused)?;
    let mut pair = Pair::open(&shop.customer, shop.web_address(PORT), &listener)?;
    pair.talk()?;
    let name = "sealane_wire_strict_plaintext_bytes_total";
    let labels = [("workload", "web")];
    ensure!(shop.agents.b.metrics()?.sum(name, &labels) == 0.0);
    let syn = Frame {
        flags: SYN,
        ..frame(&shop, FIRST, true, CLIENT)
    };
    frames::send(shop.world(), &shop.stranger, 0, &[syn])?;
    let [opened, _] = &answer(&shop, FIRST)[..] else {
        bail!("no answer")
    };
    let clear = Frame {
        payload: TEXT.to_vec(),
        ..frame(&shop, FIRST, false, SERVER + 1)
    };
    frames::send(shop.world(), &shop.web, 0, &[opened.clone(), clear])?;
    shop.metric(NodeName::B, name, &labels, 16.0)
}

fn frame(shop: &Shop<'_>, port: u16, is_from_client: bool, sequence: u32) -> Frame {
    let client = SocketAddr::new(shop.stranger.ip(shop.family()), port);
    let server = shop.web_address(PORT);
    let (source, destination) = if is_from_client {
        (client, server)
    } else {
        (server, client)
    };
    Frame {
        source,
        destination,
        sequence,
        flags: ACK,
        payload: Vec::new(),
        tags: 0,
        extensions: 0,
        is_fragment: false,
    }
}

fn opening(shop: &Shop<'_>, case: &Case, port: u16) -> Vec<Frame> {
    let mut syn = Frame {
        flags: SYN,
        ..frame(shop, port, true, CLIENT)
    };
    let hello = Frame {
        payload: CLIENT_HELLO.to_vec(),
        ..frame(shop, port, true, CLIENT.wrapping_add(1))
    };
    if case.is_fast_open {
        syn.payload = CLIENT_HELLO.to_vec();
        return vec![syn];
    }
    vec![syn, hello]
}

fn answer(shop: &Shop<'_>, port: u16) -> Vec<Frame> {
    let syn = Frame {
        flags: SYN | ACK,
        ..frame(shop, port, false, SERVER)
    };
    let hello = Frame {
        payload: SERVER_HELLO.to_vec(),
        ..frame(shop, port, false, SERVER + 1)
    };
    vec![syn, hello]
}

fn rest(shop: &Shop<'_>, case: &Case, port: u16) -> Vec<Frame> {
    let start = i64::from(CLIENT) + 1 + i64::try_from(CLIENT_HELLO.len()).unwrap_or(0);
    let made = case.frames.iter().map(|made| {
        let [.., a, b, c, d] = (start + made.at).to_be_bytes();
        let mut frame = frame(shop, port, true, u32::from_be_bytes([a, b, c, d]));
        frame.payload.clone_from(&made.payload);
        (made.shape)(&mut frame);
        frame
    });
    made.collect()
}

fn of_port<'v>(seen: &'v [Value], shop: &Shop<'_>, port: u16) -> Result<&'v Value> {
    let client = SocketAddr::new(shop.stranger.ip(shop.family()), port).to_string();
    let flow = seen.iter().find(|flow| flow["remote"] == client);
    flow.with_context(|| format!("no connection of {client}: {seen:#?}"))
}

fn check(case: &Case, flow: &Value) -> Result<()> {
    let counts = &flow["received"];
    let (records, tls, plaintext) = case.counts;
    let is_so = flow["verdict"] == case.verdict
        && counts["records"] == records
        && counts["tls_bytes"] == tls
        && counts["plaintext_bytes"] == plaintext;
    ensure!(
        is_so,
        "{}: {}, {:?} expected: {flow:#}",
        case.name,
        case.verdict,
        case.counts
    );
    Ok(())
}
