//! The steps of the demonstration. Each shows something and checks it.

use anyhow::{Context, Result, bail, ensure};
use sealane_harness::{
    NodeName, Pod, PodSpec,
    apps::{Answer, Capture, Exit, MariaDb, leaf, show_certificates},
    objects::MESH,
    pcap::{Flow, Record, readable, records},
};

use super::narrator::Narrator;
use crate::{
    pair::Pair,
    stage::{GREETING, Shop, WEB},
};

type Step = fn(&Shop<'_>, &mut Narrator) -> Result<()>;

pub const ALL: [(&str, Step); 6] = [
    (
        "mTLS off (DISABLE): whoever sees the wire can read it",
        plaintext,
    ),
    (
        "mTLS on (PERMISSIVE): the same call is TLS records and nothing else",
        ciphertext,
    ),
    ("STRICT: a stranger is refused, the mesh isn't", strict),
    (
        "Certificates: every pod has an identity of its own, for a day at most",
        certificates,
    ),
    (
        "Live connections and metrics say what is protected",
        observation,
    ),
    (
        "A protocol in which the server speaks first: MariaDB, STRICT",
        database,
    ),
];

fn plaintext(shop: &Shop<'_>, narrator: &mut Narrator) -> Result<()> {
    let flows = watch_a_call(shop, narrator)?;
    for flow in &flows {
        let text = String::from_utf8_lossy(&flow.payload).into_owned();
        let first = text.lines().next().unwrap_or_default();
        let last = text.lines().last().unwrap_or_default();
        let (from, to) = (flow.source, flow.destination);
        narrator.output(&format!("{from} > {to}: {first} ... {last}"))?;
    }
    ensure!(readable(&flows, GREETING), "the answer was not readable");
    Ok(())
}

fn ciphertext(shop: &Shop<'_>, narrator: &mut Narrator) -> Result<()> {
    set_mode(shop, narrator, "PERMISSIVE")?;
    let flows = watch_a_call(shop, narrator)?;
    for flow in &flows {
        let records = records(&flow.payload)?;
        ensure!(!records.is_empty(), "no record from {}", flow.source);
        narrator.output(&format!("{} > {}:", flow.source, flow.destination))?;
        narrator.output(&table(&records))?;
    }
    ensure!(!readable(&flows, GREETING), "the answer was readable");
    narrator.says("  No other byte was sent in either direction.")
}

fn strict(shop: &Shop<'_>, narrator: &mut Narrator) -> Result<()> {
    set_mode(shop, narrator, "STRICT")?;
    let refused = call(shop, narrator, &shop.stranger)?;
    refused.expect_exit(Exit::RECEIVE_ERROR)?;
    call(shop, narrator, &shop.customer)?.expect_ok(GREETING)
}

fn certificates(shop: &Shop<'_>, narrator: &mut Narrator) -> Result<()> {
    operator(shop, narrator, "certs")?;
    let address = shop.web_address(WEB);
    narrator.command(
        "stranger",
        &format!("openssl s_client -showcerts -connect {address}"),
    )?;
    let shown = leaf(&show_certificates(&shop.stranger, address)?)?;
    narrator.output(&format!("serial    {}", shown.serial))?;
    narrator.output(&format!("SAN       URI:{}", shown.uris.join(", URI:")))?;
    narrator.output(&format!("valid for {} h", shown.lifetime.as_secs() / 3600))?;
    ensure!(shown.uris == [shop.web.identity()], "shown: {shown:?}");
    ensure!(shown.lifetime.as_secs() <= 24 * 3600, "shown: {shown:?}");
    Ok(())
}

fn observation(shop: &Shop<'_>, narrator: &mut Narrator) -> Result<()> {
    const PORT: u16 = 9000;
    const OPENED: &str = "istio_tcp_connections_opened_total";
    let listener = shop.web.listen(PORT)?;
    let mut pair = Pair::open(&shop.customer, shop.web_address(PORT), &listener)?;
    pair.talk()?;
    shop.connection(NodeName::B, "a mutual connection", |row| {
        row["security"] == "mutual_tls"
    })?;
    operator(shop, narrator, "connections")?;
    let (client, server) = (shop.customer.identity(), shop.web.identity());
    let labels = [
        ("reporter", "destination"),
        ("connection_security_policy", "mutual_tls"),
        ("source_principal", client.as_str()),
        ("destination_principal", server.as_str()),
    ];
    shop.metric(NodeName::B, OPENED, &labels, 1.0)?;
    let value = shop.agents.b.metrics()?.sum(OPENED, &labels);
    narrator.command("node-b", "curl http://127.0.0.1:15020/metrics")?;
    narrator.output(&format!("{OPENED}{{"))?;
    for (label, value) in labels {
        narrator.output(&format!("  {label}=\"{value}\","))?;
    }
    narrator.output(&format!("  ...}} {value}"))
}

fn database(shop: &Shop<'_>, narrator: &mut Narrator) -> Result<()> {
    const STATEMENT: &str = "SELECT name FROM shop.fruit";
    let stage = &shop.stage;
    let pod = stage
        .world
        .pod(PodSpec::new(NodeName::B, MESH, "database"))?;
    shop.agents.b.wait_enrolled(&pod, true)?;
    shop.agents.a.wait_current(&stage.world.objects)?;
    let _mariadb = MariaDb::start(stage.world, &pod, stage.mariadb)?;
    let capture = Capture::start(stage.world, &pod, MariaDb::PORT)?;
    for client in [&shop.customer, &shop.stranger] {
        let host = pod.ip(stage.family);
        let command = format!("mariadb --host={host} --execute '{STATEMENT}'");
        narrator.command(&client.spec.name, &command)?;
        let output = MariaDb::query(client, &pod, stage.family, STATEMENT)?;
        let is_customer = client.spec.name == "customer";
        narrator.output(if is_customer {
            &output.stdout
        } else {
            &output.stderr
        })?;
        let answered = output.stdout.trim() == "pomegranate";
        ensure!(answered == is_customer, "{}", output.describe());
    }
    let flows = capture.finish()?;
    ensure!(!readable(&flows, "pomegranate"), "readable on the wire");
    narrator.says("  On the wire, the answer is not to be found.")
}

fn set_mode(shop: &Shop<'_>, narrator: &mut Narrator, mode: &str) -> Result<()> {
    narrator.says(&format!("  PeerAuthentication shop/default: {mode}"))?;
    shop.set_mode(mode)?;
    shop.agents.a.wait_mode(&shop.customer, mode)
}

/// A request of the customer's, and what the server's interface saw of it.
fn watch_a_call(shop: &Shop<'_>, narrator: &mut Narrator) -> Result<Vec<Flow>> {
    let capture = Capture::start(shop.world(), &shop.web, WEB)?;
    call(shop, narrator, &shop.customer)?.expect_ok(GREETING)?;
    narrator.command("web", &format!("tcpdump -i eth0 tcp port {WEB}"))?;
    capture.finish().context("tcpdump")
}

fn call(shop: &Shop<'_>, narrator: &mut Narrator, from: &Pod) -> Result<Answer> {
    narrator.command(&from.spec.name, &format!("curl {}", shop.url()))?;
    let answer = shop.get(from)?;
    let exit = answer.exit.unwrap_or(-1);
    if exit == 0 {
        narrator.output(&format!("{} {}", answer.status, answer.body))?;
    } else {
        narrator.output(&format!("{}(exit code {exit})", answer.output.stderr))?;
    }
    Ok(answer)
}

/// Shows an operator's command on node B as it is.
fn operator(shop: &Shop<'_>, narrator: &mut Narrator, command: &str) -> Result<()> {
    narrator.command("node-b", &format!("sealane {command}"))?;
    let output = shop.agents.b.operator(&[command])?;
    if output.code() != Some(0) {
        bail!("{}", output.describe());
    }
    narrator.output(&output.stdout)
}

/// Records, with runs of one kind put together.
fn table(records: &[Record]) -> String {
    let mut rows: Vec<(Record, usize)> = Vec::new();
    for record in records {
        match rows.last_mut() {
            Some((sum, count)) if sum.kind == record.kind => {
                sum.length += record.length;
                *count += 1;
            }
            _ => rows.push((*record, 1)),
        }
    }
    rows.iter()
        .map(|(sum, count)| format!("  {count} x {sum}\n"))
        .collect()
}
