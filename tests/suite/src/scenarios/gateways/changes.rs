//! What changes while a gateway works: certificates and routes under load, connections whose way is gone, and what it
//! tells of itself.

use std::{
    io::Read as _,
    net::TcpStream,
    sync::atomic::{AtomicBool, AtomicUsize, Ordering::Relaxed},
    thread,
};

use anyhow::{Context, Result, anyhow, ensure};
use sealane_harness::{
    NodeName, PodSpec,
    apps::{Listener, Nginx},
    objects::MESH,
    pace,
    pki::{LeafFiles, Pki, Wanted},
    tls::{self, ClientStream},
    until,
};
use serde_json::{Value, json};

use super::edge::{Edge, HTTPS, gateway, pair, routed, to};
use crate::{
    scenarios::trust::{expect_open, expect_over, greet, keep},
    stage::{GREETING, SOON, Stage, WEB, service},
};

/// What the harness' own TLS client asks for.
const HOST: &str = "server.test";
const PASSED: u16 = 8443;
const TCP: u16 = 9000;

fn simple(port: u16, hosts: &str) -> String {
    format!(
        "{{port: {{number: {port}, name: tls-{port}-{}, protocol: HTTPS}}, hosts: [\"{hosts}\"], \
         tls: {{mode: SIMPLE, credentialName: cert}}}}",
        hosts.len()
    )
}

fn certificate(stage: &Stage<'_>, pki: &Pki) -> Result<LeafFiles> {
    let leaf = pki.leaf(&Wanted::server(HOST))?;
    leaf.write(&stage.world.scratch("certificate")?)
}

/// One request on a connection of its own.
fn request(edge: &Edge<'_>) -> Result<()> {
    let socket = edge.shop.stranger.connect(edge.address(HTTPS))?;
    socket.set_read_timeout(Some(pace::span(SOON)))?;
    let request = b"GET / HTTP/1.1\r\nHost: server.test\r\nConnection: close\r\n\r\n";
    let mut stream = tls::connect_saying(socket, None, &[], request)?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer).context("the answer")?;
    ensure!(answer.ends_with(GREETING), "{answer:?}");
    Ok(())
}

/// Certificates, routes and servers change again and again while hundreds of requests run: none fails.
pub fn load(stage: &Stage<'_>) -> Result<()> {
    const CLIENTS: usize = 4;
    let wanted = pace::amount(400);
    let world = stage.world;
    let pki = Pki::foreign()?;
    let pairs = [certificate(stage, &pki)?, certificate(stage, &pki)?];
    world.objects.service(&service("web", 32, &WEB))?;
    let base = gateway(&[simple(HTTPS, HOST)]) + &routed("web", HOST, "http: [{", &to("web"));
    let more = gateway(&[simple(HTTPS, HOST), simple(HTTPS, "*.example")])
        + &routed("web", "*.test", "http: [{", &to("web"))
        + &routed("other", "a.example", "http: [{", &to("web"));
    world.objects.raw("cert.yaml", &pair("cert", &pairs[0])?)?;
    let edge = Edge::new(stage, &base)?;
    let _nginx = edge.shop.nginx()?;
    until("the way in", SOON, || Ok(request(&edge).ok()))?;

    let (done, over) = (AtomicUsize::new(0), AtomicBool::new(false));
    let ask = || -> Result<()> {
        while !over.load(Relaxed) {
            let number = done.fetch_add(1, Relaxed);
            request(&edge)
                .inspect_err(|_| over.store(true, Relaxed))
                .with_context(|| format!("request {number}"))?;
        }
        Ok(())
    };
    let mut changes = 0;
    let mut change = || -> Result<()> {
        while !over.load(Relaxed) && (done.load(Relaxed) < wanted || changes < 20) {
            changes += 1;
            let next = &pairs[changes % 2];
            world.objects.raw("cert.yaml", &pair("cert", next)?)?;
            let documents = if changes % 3 == 0 { &more } else { &base };
            world.objects.raw("edge.yaml", documents)?;
            thread::sleep(pace::span(std::time::Duration::from_millis(120)));
        }
        Ok(())
    };
    thread::scope(|scope| {
        let clients: Vec<_> = (0..CLIENTS).map(|_| scope.spawn(ask)).collect();
        let changed = change();
        over.store(true, Relaxed);
        for client in clients {
            client.join().map_err(|_| anyhow!("a client panicked"))??;
        }
        changed
    })?;
    let refused = edge.gateway.metrics()?;
    let cuts = refused.sum("sealane_policy_cuts_total", &[]);
    ensure!(cuts == 0.0, "{cuts} connections were cut");
    ensure!(changes >= 20, "only {changes} changes");
    Ok(())
}

/// Connections of three kinds, of which each goes when its own way does, and no sooner.
struct Open {
    terminated: ClientStream,
    passed: ClientStream,
    tcp: TcpStream,
}

fn rule(port: u16, list: &str, service: &str) -> String {
    let sni = match list {
        "tls" => format!("sniHosts: [{HOST}], "),
        _ => String::new(),
    };
    let list = format!("{list}: [{{match: [{{{sni}port: {port}}}], ");
    routed(&format!("to-{port}"), HOST, &list, &to(service))
}

impl Open {
    fn new(edge: &Edge<'_>) -> Result<Self> {
        let connect = |port| edge.shop.stranger.connect(edge.address(port));
        until("the way in", SOON, || Ok(keep(connect(PASSED)?, None).ok()))?;
        let mut tcp = connect(TCP)?;
        tcp.set_read_timeout(Some(pace::span(SOON)))?;
        greet(&mut tcp)?;
        Ok(Self {
            terminated: keep(connect(HTTPS)?, None)?,
            passed: keep(connect(PASSED)?, None)?,
            tcp,
        })
    }
}

/// Routes and servers that are gone take with them what was opened through them, and nothing else.
pub fn cut(stage: &Stage<'_>) -> Result<()> {
    let world = stage.world;
    let objects = &world.objects;
    let own = certificate(stage, &Pki::foreign()?)?;
    objects.raw("cert.yaml", &pair("cert", &own)?)?;
    objects.service(&service("web", 33, &WEB))?;
    objects.service(&service("own", 34, &HTTPS))?;
    let tls = format!(
        "{{port: {{number: {HTTPS}, name: a, protocol: TLS}}, hosts: [\"*\"], tls: {{mode: SIMPLE, credentialName: cert}}}}"
    );
    let passed = format!(
        "{{port: {{number: {PASSED}, name: b, protocol: TLS}}, hosts: [\"*\"], tls: {{mode: PASSTHROUGH}}}}"
    );
    let tcp = format!("{{port: {{number: {TCP}, name: c, protocol: TCP}}, hosts: [\"*\"]}}");
    objects.raw("to-https.yaml", &rule(HTTPS, "tcp", "web"))?;
    objects.raw("to-passed.yaml", &rule(PASSED, "tls", "own"))?;
    objects.raw("to-tcp.yaml", &rule(TCP, "tcp", "web"))?;
    let edge = Edge::new(stage, &gateway(&[tls.clone(), passed.clone(), tcp]))?;
    let _nginx = edge.shop.nginx()?;
    let pod = world.pod(PodSpec::new(NodeName::A, MESH, "own"))?;
    edge.shop.agents.a.wait_enrolled(&pod, true)?;
    let _own = Nginx::start(world, &pod, &[Listener::Https(HTTPS, own)], GREETING)?;
    let mut open = Open::new(&edge)?;

    let unrelated = routed("unrelated", "a.example", "http: [{", &to("own"));
    objects.raw("unrelated.yaml", &unrelated)?;
    objects.remove("to-passed.yaml")?;
    expect_over(open.passed).context("what is passed on")?;
    edge.wait_cuts("route_gone", 1.0)?;
    expect_open(&mut open.terminated).context("what is terminated")?;
    greet(&mut open.tcp).context("TCP")?;

    objects.raw("to-https.yaml", &rule(HTTPS, "tcp", "own"))?;
    expect_over(open.terminated).context("what leads elsewhere now")?;
    edge.wait_cuts("route_gone", 2.0)?;
    greet(&mut open.tcp).context("TCP, still")?;

    objects.raw("edge.yaml", &gateway(&[tls, passed]))?;
    expect_over(open.tcp).context("what came by a server that is gone")?;
    edge.wait_cuts("route_gone", 3.0)
}

/// Status tells what is open, for whom, with which certificates, and what the last reload has come to.
pub fn status(stage: &Stage<'_>) -> Result<()> {
    let world = stage.world;
    let pki = Pki::foreign()?;
    let own = certificate(stage, &pki)?;
    world.objects.raw("cert.yaml", &pair("cert", &own)?)?;
    world.objects.service(&service("web", 35, &WEB))?;
    let route = routed("web", HOST, "http: [{", &to("web"));
    let documents = gateway(&[simple(HTTPS, HOST)]) + &route;
    let edge = Edge::new(stage, &documents)?;
    let _nginx = edge.shop.nginx()?;
    let operator = &edge.gateway.operator;
    let status = operator.json("status")?;
    ensure!(
        status["role"] == "gateway" && status["ready"] == true,
        "{status:#}"
    );
    let listener = &status["listeners"][0];
    ensure!(
        listener["port"] == HTTPS && listener["error"].is_null(),
        "{status:#}"
    );
    let server = &status["servers"][0];
    ensure!(
        server["hosts"][0] == HOST && server["mode"] == "SIMPLE",
        "{status:#}"
    );
    let credential = &status["credentials"][0];
    ensure!(
        credential["name"] == "cert" && credential["not_after"].is_string(),
        "{status:#}"
    );
    let table = operator.run(&["status"])?.success()?;
    for text in [HOST, "cert", "in force", "SIMPLE"] {
        ensure!(table.stdout.contains(text), "{text}: {}", table.stdout);
    }

    ensure!(status["problems"] == json!([]), "{status:#}");
    misnamed(&edge, &pki, &own)?;

    let socket = edge.shop.stranger.connect(edge.address(HTTPS))?;
    let _kept = keep(socket, None)?;
    let connections = operator.json("connections")?;
    ensure!(connections[0]["security"] == "tls", "{connections:#}");

    world.objects.raw("edge.yaml", "kind: [")?;
    until("the error in status", SOON, || {
        let errors = operator.json("status")?["source"]["errors"].clone();
        Ok(errors
            .as_array()
            .is_some_and(|e| !e.is_empty())
            .then_some(()))
    })?;
    world.objects.raw("edge.yaml", &route)?;
    // What is nobody's any more is not told of for ever.
    until("the credential to be forgotten", SOON, || {
        let status = operator.json("status")?;
        let gone = status["credentials"].as_array().is_some_and(Vec::is_empty);
        let metrics = edge.gateway.metrics()?;
        let mut told = metrics.matching("sealane_gateway_credential_healthy", &[]);
        Ok((gone && told.next().is_none()).then_some(()))
    })
}

/// A certificate of another name is told for as long as it is there.
fn misnamed(edge: &Edge<'_>, pki: &Pki, own: &LeafFiles) -> Result<()> {
    let (operator, world) = (&edge.gateway.operator, edge.shop.world());
    let objects = &world.objects;
    let other = pki.leaf(&Wanted::server("other.test"))?;
    let other = other.write(&world.scratch("other")?)?;
    objects.raw("cert.yaml", &pair("cert", &other)?)?;
    until("another name to be told", SOON, || {
        let problems = operator.json("status")?["problems"].to_string();
        Ok(problems
            .contains(&format!("no such name as {HOST}"))
            .then_some(()))
    })?;
    objects.raw("cert.yaml", &pair("cert", own)?)?;
    until("nothing more to be told", SOON, || {
        let status = operator.json("status")?;
        Ok((status["problems"] == json!([])).then_some(()))
    })
}

/// Keys of clients from outside are in the kernel, and what they send arrives.
pub fn kernel_tls(stage: &Stage<'_>) -> Result<()> {
    let world = stage.world;
    let own = certificate(stage, &Pki::foreign()?)?;
    world.objects.raw("cert.yaml", &pair("cert", &own)?)?;
    world.objects.service(&service("web", 36, &WEB))?;
    let route = routed("web", HOST, "http: [{", &to("web"));
    let edge = Edge::new(stage, &(gateway(&[simple(HTTPS, HOST)]) + &route))?;
    let _nginx = edge.shop.nginx()?;
    let socket = edge.shop.stranger.connect(edge.address(HTTPS))?;
    let mut kept = keep(socket, None)?;
    let status = edge.gateway.operator.json("status")?;
    let expected = match status["kernel_tls"]["rekey"].as_bool() {
        // Clients from outside may change their key, and this kernel can't follow.
        Some(false) => "ktls_transmit",
        _ => "ktls_splice",
    };
    let rows = edge.gateway.operator.json("connections")?;
    let is_tls = |row: &&Value| row["security"] == "tls";
    let row = rows.as_array().and_then(|rows| rows.iter().find(is_tls));
    ensure!(
        row.is_some_and(|row| row["transport"] == expected),
        "{expected}: {rows:#}"
    );
    expect_open(&mut kept)?;
    request(&edge)
}
