//! What the agent says was on the wire, held against what was.

use std::{
    fs,
    io::{Read, Write},
    net::{SocketAddr, TcpStream},
};

use anyhow::{Context, Result, ensure};
use sealane_harness::{
    Agent, NodeName, Pod, PodSpec,
    apps::Capture,
    enter,
    objects::MESH,
    pcap::{self, Flow, records},
    until,
    wait::until_true,
    world::Agents,
};
use serde_json::Value;

use super::life::set_inject;
use crate::{
    pair::Pair,
    stage::{SOON, Shop, Stage},
};

pub(super) const PORT: u16 = 9000;
/// For agents, on slow machines too.
const WATCHED: [&str; 2] = ["--attestation", "on"];
/// Exit codes of `sealane verify`.
const ENCRYPTED: i32 = 0;
const PLAINTEXT: i32 = 1;
const UNKNOWN: i32 = 3;
/// What begins TLS, and records after that; nobody looks inside.
pub(super) const CLIENT_HELLO: [u8; 9] = [22, 3, 1, 0, 4, 1, 0, 0, 0];
pub(super) const SERVER_HELLO: [u8; 9] = [22, 3, 3, 0, 4, 2, 0, 0, 0];
pub(super) const DATA: [u8; 8] = [23, 3, 3, 0, 3, 7, 7, 7];

/// Mutual TLS between pods: both ends tell of the same records, those that tcpdump has seen, and who is there.
pub fn mutual(stage: &Stage<'_>) -> Result<()> {
    let shop = stage.shop_with("STRICT", &WATCHED)?;
    wait_watched(&shop.agents.a)?;
    wait_watched(&shop.agents.b)?;
    let listener = shop.web.listen(PORT)?;
    let capture = Capture::start(shop.world(), &shop.web, PORT)?;
    let mut pair = Pair::open(&shop.customer, shop.web_address(PORT), &listener)?;
    for _ in 0..20 {
        pair.talk()?;
    }
    let at_server = flow(&shop.agents.b, &shop.web, "ENCRYPTED")?;
    let at_client = flow(&shop.agents.a, &shop.customer, "ENCRYPTED")?;
    capture.wait_bytes(bytes(&at_server))?;
    let wire = pcap::flows(&capture.stop()?)?;
    let (customer, web) = (shop.customer.identity(), shop.web.identity());
    expect(&at_server, "direction", &"inbound".into())?;
    expect(&at_server, "identity", &web.clone().into())?;
    expect(&at_server, "peer_identity", &customer.clone().into())?;
    expect(&at_server, "policy", &"STRICT".into())?;
    expect(&at_client, "direction", &"outbound".into())?;
    expect(&at_client, "identity", &customer.into())?;
    expect(&at_client, "peer_identity", &web.into())?;
    let server = shop.web_address(PORT);
    let of_server = |flow: &&Flow| flow.source == server;
    let (from_server, to_server): (Vec<_>, Vec<_>) = wire.iter().partition(of_server);
    for (directions, wire) in [
        (
            [(&at_server, "sent"), (&at_client, "received")],
            from_server,
        ),
        ([(&at_server, "received"), (&at_client, "sent")], to_server),
    ] {
        let bytes: usize = wire.iter().map(|flow| flow.payload.len()).sum();
        let count = wire
            .iter()
            .map(|flow| records(&flow.payload).map(|r| r.len()));
        let count: usize = count.sum::<Result<usize>>()?;
        for (flow, direction) in directions {
            expect_counts(flow, direction, (count, bytes, 0))?;
        }
    }
    expect_exit(&shop.agents.b, &shop.web, ENCRYPTED)?;
    drop(pair);
    until_true("the connection to be gone", SOON, || {
        Ok(flows(&shop.agents.b, &shop.web)?.is_empty())
    })
}

/// A PERMISSIVE pod is contacted in clear: every byte is counted, in both directions, once.
pub fn plain(stage: &Stage<'_>) -> Result<()> {
    let shop = at_server(stage, "PERMISSIVE")?;
    let listener = shop.web.listen(PORT)?;
    let mut pair = Pair::open(&shop.stranger, shop.web_address(PORT), &listener)?;
    for _ in 0..3 {
        pair.talk()?;
    }
    let flow = flow(&shop.agents.b, &shop.web, "PLAINTEXT")?;
    expect_counts(&flow, "received", (0, 0, 48))?;
    expect_counts(&flow, "sent", (0, 0, 48))?;
    expect(&flow, "policy", &"PERMISSIVE".into())?;
    expect(&flow, "peer_identity", &Value::Null)?;
    let remote: SocketAddr = flow["remote"].as_str().context("remote")?.parse()?;
    ensure!(remote == pair.client.local_addr()?, "{flow}");
    expect_exit(&shop.agents.b, &shop.web, PLAINTEXT)?;
    let labels = [("workload", "web"), ("direction", "received")];
    let name = "sealane_wire_plaintext_bytes_total";
    shop.metric(NodeName::B, name, &labels, 48.0)?;
    ensure!(shop.agents.b.metrics()?.sum(name, &labels) == 48.0);
    Ok(())
}

/// Headers that come a byte at a time are headers all the same, and what only looks like TLS is not taken for it.
pub fn bytewise(stage: &Stage<'_>) -> Result<()> {
    let shop = at_server(stage, "DISABLE")?;
    let listener = shop.web.listen(PORT)?;
    let open = || Pair::open(&shop.stranger, shop.web_address(PORT), &listener);
    let mut pair = open()?;
    trickle(&mut pair.client, &mut pair.server, &CLIENT_HELLO)?;
    trickle(&mut pair.server, &mut pair.client, &SERVER_HELLO)?;
    trickle(&mut pair.client, &mut pair.server, &DATA)?;
    let seen = flow(&shop.agents.b, &shop.web, "ENCRYPTED")?;
    expect_counts(&seen, "received", (2, 17, 0))?;
    expect_counts(&seen, "sent", (1, 9, 0))?;
    trickle(&mut pair.client, &mut pair.server, b"\x17in clear")?;
    let seen = flow(&shop.agents.b, &shop.web, "PLAINTEXT")?;
    expect_counts(&seen, "received", (2, 17, 9))?;
    drop(pair);
    let mut pair = open()?;
    trickle(&mut pair.client, &mut pair.server, &DATA)?;
    trickle(&mut pair.server, &mut pair.client, &DATA)?;
    let seen = flow(&shop.agents.b, &shop.web, "UNKNOWN")?;
    expect_counts(&seen, "received", (1, 8, 0))
}

/// What was there before it was watched stays unknown, whatever it carries.
pub fn before(stage: &Stage<'_>) -> Result<()> {
    let spec = PodSpec {
        inject: Some(false),
        ..PodSpec::new(NodeName::B, MESH, "late")
    };
    let late = stage.world.pod(spec)?;
    let shop = at_server(stage, "PERMISSIVE")?;
    let listener = late.listen(PORT)?;
    let address = late.address(stage.family, PORT);
    let mut early = Pair::open(&shop.stranger, address, &listener)?;
    trickle(&mut early.client, &mut early.server, &CLIENT_HELLO)?;
    set_inject(&shop, &late, true)?;
    shop.agents.b.wait_status("both to be watched", |status| {
        status["capture"]["attestation"]["watched"] == 2
    })?;
    trickle(&mut early.server, &mut early.client, &SERVER_HELLO)?;
    trickle(&mut early.client, &mut early.server, &DATA)?;
    let flow = flow(&shop.agents.b, &late, "UNKNOWN")?;
    let reason = flow["reason"].as_str().context("no reason")?;
    ensure!(reason.contains("beginning"), "{reason}");
    expect_exit(&shop.agents.b, &late, UNKNOWN)
}

/// What is sent while there is no agent is counted all the same, and by the next one not twice. A pod that leaves has
/// nothing of ours on its interfaces.
pub fn restart(stage: &Stage<'_>) -> Result<()> {
    let mut shop = at_server(stage, "DISABLE")?;
    let listener = shop.web.listen(PORT)?;
    let mut pair = Pair::open(&shop.stranger, shop.web_address(PORT), &listener)?;
    trickle(&mut pair.client, &mut pair.server, &CLIENT_HELLO)?;
    shop.agents.b.kill()?;
    trickle(&mut pair.server, &mut pair.client, &SERVER_HELLO)?;
    shop.agents.b = Agent::start(stage.world, NodeName::B, &WATCHED)?;
    shop.agents.b.wait_ready()?;
    shop.agents.b.wait_enrolled(&shop.web, true)?;
    wait_watched(&shop.agents.b)?;
    trickle(&mut pair.client, &mut pair.server, &DATA)?;
    let seen = flow(&shop.agents.b, &shop.web, "ENCRYPTED")?;
    expect_counts(&seen, "received", (2, 17, 0))?;
    expect_counts(&seen, "sent", (1, 9, 0))?;
    ensure!(!programs(&shop)?.is_empty(), "nothing to be taken off");
    set_inject(&shop, &shop.web, false)?;
    until("the programs to be gone", SOON, || {
        Ok(programs(&shop)?.is_empty().then_some(()))
    })
}

/// What watches the server's wire: classifiers, and pinned links.
fn programs(shop: &Shop<'_>) -> Result<String> {
    let mut found = String::new();
    for side in ["ingress", "egress"] {
        let mut command = enter::command(Some(&shop.web.netns.path()), None, "tc")?;
        command.args(["filter", "show", "dev", "eth0", side]);
        found += &shop.web.run("tc", command, SOON)?.success()?.stdout;
    }
    for layout in fs::read_dir(&shop.world().node(NodeName::B).bpffs)? {
        for link in fs::read_dir(layout?.path().join("links"))? {
            let name = link?.file_name().to_string_lossy().into_owned();
            found += if name.starts_with("wire") { &name } else { "" };
        }
    }
    Ok(found)
}

/// A segment for each byte.
fn trickle(from: &mut TcpStream, to: &mut TcpStream, bytes: &[u8]) -> Result<()> {
    from.set_nodelay(true)?;
    for byte in bytes {
        from.write_all(&[*byte])?;
        let mut got = [0];
        to.read_exact(&mut got)?;
        ensure!(got == [*byte]);
    }
    Ok(())
}

/// [`Stage::shop`] where what the server's end sees is all that counts.
pub(super) fn at_server<'a>(stage: &Stage<'a>, mode: &str) -> Result<Shop<'a>> {
    let world = stage.world;
    let shop = stage.shop_of(mode, || {
        let a = Agent::start(world, NodeName::A, &["--attestation", "off"])?;
        let b = Agent::start(world, NodeName::B, &WATCHED)?;
        let mut agents = Agents { a, b };
        agents.a.wait_ready()?;
        agents.b.wait_ready()?;
        Ok(agents)
    })?;
    wait_watched(&shop.agents.b)?;
    Ok(shop)
}

/// Waits until the wire of all enrolled pods of a node is watched.
fn wait_watched(agent: &Agent) -> Result<()> {
    agent.wait_status("the wire to be watched", |status| {
        let attestation = &status["capture"]["attestation"];
        attestation["watched"].as_u64() > Some(0)
            && attestation["unwatched"] == Value::Array(vec![])
    })
}

fn name(pod: &Pod) -> String {
    format!("{}/{}", pod.spec.namespace, pod.spec.name)
}

pub(super) fn flows(agent: &Agent, pod: &Pod) -> Result<Vec<Value>> {
    let output = agent.operator(&["verify", &name(pod), "-o", "json"])?;
    let verification: Value =
        serde_json::from_str(&output.stdout).with_context(|| output.describe())?;
    let flows = verification["flows"].as_array();
    flows.cloned().with_context(|| output.describe())
}

/// The pod's connection, once it is what it should be.
fn flow(agent: &Agent, pod: &Pod, verdict: &str) -> Result<Value> {
    let mut last = Vec::new();
    until(verdict, SOON, || {
        last = flows(agent, pod)?;
        Ok(last.iter().find(|flow| flow["verdict"] == verdict).cloned())
    })
    .with_context(|| format!("{last:#?}"))
}

/// TCP payload of both directions.
pub(super) fn bytes(flow: &Value) -> usize {
    let fields = ["tls_bytes", "plaintext_bytes", "unclassified_bytes"];
    let of = |direction: &str| fields.map(|field| flow[direction][field].as_u64().unwrap_or(0));
    let sum: u64 = ["sent", "received"].iter().flat_map(|way| of(way)).sum();
    usize::try_from(sum).unwrap_or(usize::MAX)
}

fn expect(flow: &Value, field: &str, value: &Value) -> Result<()> {
    ensure!(flow[field] == *value, "{field} is not {value}: {flow:#}");
    Ok(())
}

/// Records, bytes of records and plaintext bytes of one direction; nothing may be unclassified.
fn expect_counts(flow: &Value, direction: &str, expected: (usize, usize, usize)) -> Result<()> {
    let counts = &flow[direction];
    let (records, tls, plaintext) = expected;
    let as_expected = counts["records"] == records
        && counts["tls_bytes"] == tls
        && counts["plaintext_bytes"] == plaintext
        && counts["unclassified_bytes"] == 0;
    ensure!(as_expected, "{direction}: {counts} is not {expected:?}");
    Ok(())
}

fn expect_exit(agent: &Agent, pod: &Pod, code: i32) -> Result<()> {
    let output = agent.operator(&["verify", &name(pod)])?;
    ensure!(output.code() == Some(code), "{}", output.describe());
    ensure!(
        output.stdout.contains("not cryptography"),
        "{}",
        output.describe()
    );
    Ok(())
}
