//! What comes in from outside of a mesh: Istio's Gateway and VirtualService, served by `sealane gateway`.

mod changes;
mod clients;
mod edge;

pub use changes::{cut, kernel_tls, load, status};
pub use clients::{misdirected, names, optional, revoked, versions};
pub(super) use edge::secret;

use std::{
    fs,
    io::{Read as _, Write as _},
};

use anyhow::{Context, Result, ensure};
use sealane_harness::{
    NodeName, PodSpec,
    apps::{Capture, Curl, Exit, Listener, Nginx, SClient, leaf},
    objects::MESH,
    pcap::readable,
    pki::{Leaf, LeafFiles, Pki, Validity, Wanted},
    tls, until,
};

use self::edge::{Edge, HTTP, HTTPS, bracketed, gateway, pair, routed, to};
use crate::stage::{GREETING, SOON, Stage, WEB, service};

/// `httpsRedirect` answers every request with the same place in HTTPS, whatever it is sent; a server without it
/// forwards.
pub fn redirect(stage: &Stage<'_>) -> Result<()> {
    stage.world.objects.service(&service("web", 20, &WEB))?;
    let documents = gateway(&[
        format!(
            "{{port: {{number: {HTTP}, name: http, protocol: HTTP}}, tls: {{httpsRedirect: true}}, hosts: [\"*.example\"]}}"
        ),
        "{port: {number: 8080, name: clear, protocol: HTTP}, hosts: [\"*\"]}".to_owned(),
    ]) + &routed("web", "web.example", "http: [{", &to("web"));
    let edge = Edge::new(stage, &documents)?;
    let _nginx = edge.shop.nginx()?;

    let answer = edge.curl("http://web.example/a/b?c=d", None)?;
    ensure!(answer.status == 301, "{answer:?}");
    let moved = Curl::new(&edge.shop.stranger)?
        .arg("--connect-to")
        .arg(format!(":{HTTP}:{}:{HTTP}", bracketed(edge.address(HTTP))))
        .arg("-o/dev/null")
        .arg("-w%{redirect_url}\n%{http_code}")
        .get("http://web.example/a/b?c=d")?;
    ensure!(moved.body == "https://web.example/a/b?c=d", "{moved:?}");
    let other = edge.curl("http://web.other/", None)?;
    ensure!(other.status == 404, "{other:?}");
    for garbage in [
        &b"\x16\x03\x01\x02\x00\x01"[..],
        b"GET / HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n",
    ] {
        let heard = said(&edge, garbage)?;
        ensure!(
            heard.starts_with(b"HTTP/1.1 400 "),
            "{garbage:?}: {heard:?}"
        );
    }

    edge.curl("http://web.example:8080/", None)?
        .expect_ok(GREETING)
}

/// What the HTTP port says to some bytes.
fn said(edge: &Edge<'_>, bytes: &[u8]) -> Result<Vec<u8>> {
    let mut stream = edge.shop.stranger.connect(edge.address(HTTP))?;
    stream.write_all(bytes)?;
    let mut said = Vec::new();
    stream.read_to_end(&mut said)?;
    Ok(said)
}

/// The host of the first request says which service gets a connection in clear, and no server for other hosts keeps it
/// from being redirected. Without a host there must be one place to go.
pub fn hosts(stage: &Stage<'_>) -> Result<()> {
    let world = stage.world;
    for (index, name) in [(25, "one"), (26, "two")] {
        world.objects.service(&service(name, index, &WEB))?;
    }
    let server = |hosts: &str, tls: &str| {
        format!(
            "{{port: {{number: {HTTP}, name: h{}, protocol: HTTP}}, hosts: [\"{hosts}\"]{tls}}}",
            hosts.len()
        )
    };
    let documents = gateway(&[
        server("*", ""),
        server("*.secret.example", ", tls: {httpsRedirect: true}"),
    ]) + &routed("one", "one.example", "http: [{", &to("one"))
        + &routed("two", "*.example", "http: [{", &to("two"));
    let edge = Edge::new(stage, &documents)?;
    let mut kept = Vec::new();
    for name in ["one", "two"] {
        let pod = world.pod(PodSpec::new(NodeName::A, MESH, name))?;
        edge.shop.agents.a.wait_enrolled(&pod, true)?;
        kept.push((Nginx::http(world, &pod, WEB, name)?, pod));
    }
    for (host, service) in [("one", "one"), ("two", "two"), ("three", "two")] {
        let url = format!("http://{host}.example/");
        until("the way in", SOON, || {
            let answer = edge.curl(&url, None)?;
            Ok(answer.expect_ok(service).is_ok().then_some(()))
        })
        .with_context(|| format!("{host}: {:?}", edge.curl(&url, None)))?;
    }
    let secret = edge.curl("http://a.secret.example/", None)?;
    ensure!(secret.status == 301, "{secret:?}");
    let nobody = edge.curl("http://other/", None)?;
    ensure!(nobody.status == 404, "{nobody:?}");
    let unnamed = said(&edge, b"GET / HTTP/1.0\r\n\r\n")?;
    ensure!(unnamed.starts_with(b"HTTP/1.1 400 "), "{unnamed:?}");
    until("both to be counted", SOON, || {
        Ok((edge.refused("no_route")? >= 2.0).then_some(()))
    })?;

    // One place to go: then nobody has to say a host.
    let one = routed("two", "*.example", "http: [{", &to("one"));
    let documents = gateway(&[server("*", "")]);
    world.objects.raw(
        "edge.yaml",
        &(documents + &routed("one", "*", "http: [{", &to("one")) + &one),
    )?;
    until("one place for all", SOON, || {
        let heard = said(&edge, b"GET / HTTP/1.0\r\n\r\n")?;
        Ok(heard.starts_with(b"HTTP/1.1 200 ").then_some(()))
    })
}

/// Two that end TLS, and one that passes it on.
fn three_hosts() -> String {
    let server = |name: &str, tls: &str| {
        format!(
            "{{port: {{number: {HTTPS}, name: {name}, protocol: HTTPS}}, hosts: [{name}.example], tls: {{{tls}}}}}"
        )
    };
    gateway(&[
        server("one", "mode: SIMPLE, credentialName: one"),
        server("two", "mode: SIMPLE, credentialName: two"),
        server("own", "mode: PASSTHROUGH"),
    ]) + &routed("one", "one.example", "http: [{", &to("one"))
        + &routed("two", "two.example", "http: [{", &to("two"))
        + &routed(
            "own",
            "own.example",
            "tls: [{match: [{sniHosts: [own.example]}], ",
            &to("own"),
        )
}

/// Names choose certificate and service; TLS of other names passes as it is; nobody's names are refused. What goes on from
/// the gateway is mutual TLS with its identity, since its pod is in the mesh.
pub fn sni(stage: &Stage<'_>) -> Result<()> {
    let world = stage.world;
    let pki = Pki::foreign()?;
    let files = |name: &str| {
        let host = format!("{name}.example");
        pki.leaf(&Wanted::server(&host))?
            .write(&world.scratch(name)?)
    };
    let (one, two, own) = (files("one")?, files("two")?, files("own")?);
    for (index, name, port) in [(21, "one", WEB), (22, "two", WEB), (23, "own", HTTPS)] {
        world.objects.service(&service(name, index, &port))?;
    }
    let documents = three_hosts() + &format!("{}---\n{}", pair("one", &one)?, pair("two", &two)?);
    let edge = Edge::new(stage, &documents)?;
    let mut kept = Vec::new();
    for (name, listener) in [
        ("one", Listener::Http(WEB)),
        ("two", Listener::Http(WEB)),
        ("own", Listener::Https(HTTPS, own.clone())),
    ] {
        let pod = world.pod(PodSpec::new(NodeName::A, MESH, name))?;
        edge.shop.agents.a.wait_enrolled(&pod, true)?;
        kept.push((Nginx::start(world, &pod, &[listener], name)?, pod));
    }

    let wire = Capture::start(world, &kept[0].1, WEB)?;
    for (name, files) in [("one", &one), ("two", &two), ("own", &own)] {
        let url = format!("https://{name}.example/");
        until("the way in", SOON, || {
            let answer = edge.curl(&url, Some(&files.root))?;
            Ok(answer.expect_ok(name).is_ok().then_some(()))
        })
        .with_context(|| format!("{:?}", edge.curl(&url, Some(&files.root))))?;
    }
    let flows = wire.finish()?;
    ensure!(!readable(&flows, "one"), "in clear: {flows:?}");
    let labels = [
        ("source_principal", "spiffe://cluster.local/ns/shop/sa/edge"),
        ("connection_security_policy", "mutual_tls"),
    ];
    let opened = "istio_tcp_connections_opened_total";
    edge.shop.metric(NodeName::A, opened, &labels, 3.0)?;

    nobody(&edge, &one)?;
    http1_only(&edge)
}

/// A name that no server is for.
fn nobody(edge: &Edge<'_>, files: &LeafFiles) -> Result<()> {
    let before = edge.refused("no_route")?;
    edge.curl("https://nobody.example/", Some(&files.root))?
        .expect_exit(Exit::TLS_CONNECT_ERROR)?;
    // Once the client has read why.
    until("the refusal to be counted", SOON, || {
        Ok((edge.refused("no_route")? == before + 1.0).then_some(()))
    })
}

/// Nothing else is agreed on.
fn http1_only(edge: &Edge<'_>) -> Result<()> {
    let h2 = SClient {
        pod: &edge.shop.stranger,
        server: edge.address(HTTPS),
        certificate: None,
        arguments: &["-servername", "one.example", "-alpn", "h2,http/1.1"],
    }
    .run()?;
    ensure!(
        h2.stdout.contains("ALPN protocol: http/1.1"),
        "{}",
        h2.describe()
    );
    Ok(())
}

/// Certificates that change while connections are open and others come: none is lost. A bad one changes nothing, one that
/// is gone closes the door.
pub fn reload(stage: &Stage<'_>) -> Result<()> {
    let world = stage.world;
    let pki = Pki::foreign()?;
    // What the harness' own TLS client asks for.
    let host = "server.test";
    let made = |name: &str| {
        pki.leaf(&Wanted::server(host))?
            .write(&world.scratch(name)?)
    };
    let (first, second) = (made("first")?, made("second")?);
    world.objects.service(&service("web", 24, &WEB))?;
    let documents = gateway(&[format!(
        "{{port: {{number: {HTTPS}, name: tls, protocol: TLS}}, hosts: [\"*\"], tls: {{mode: SIMPLE, credentialName: cert}}}}"
    )]) + &routed("web", host, "tcp: [{", &to("web"));
    world.objects.raw("cert.yaml", &pair("cert", &first)?)?;
    let edge = Edge::new(stage, &documents)?;

    let listener = edge.shop.web.listen(WEB)?;
    let socket = edge.shop.stranger.connect(edge.address(HTTPS))?;
    let mut client = tls::connect(socket, None, &[])?;
    let (mut server, _) = crate::pair::accept(&listener)?;
    let mut talk = || -> Result<()> {
        let mut word = [0; 4];
        client.write_all(b"ping")?;
        server.read_exact(&mut word)?;
        server.write_all(b"pong")?;
        Ok(client.read_exact(&mut word)?)
    };
    talk()?;
    ensure!(shown(&edge)? == serial(&first)?, "another certificate");

    for round in 0..4 {
        let next = if round % 2 == 0 { &second } else { &first };
        world.objects.raw("cert.yaml", &pair("cert", next)?)?;
        let wanted = serial(next)?;
        until("the next certificate", SOON, || {
            Ok((shown(&edge)? == wanted).then_some(()))
        })?;
        talk().context("the connection from before")?;
    }

    broken_pair(&edge, &first, &second)?;
    early(
        &edge,
        &pki.leaf(&Wanted::server(host).valid(Validity::In(4)))?,
    )?;
    world.objects.remove("cert.yaml")?;
    until("the door to close", SOON, || {
        Ok(shown(&edge).is_err().then_some(()))
    })?;
    talk().context("an open connection after all that")
}

/// A certificate with another's key is told, and the last good one stays.
fn broken_pair(edge: &Edge<'_>, first: &LeafFiles, second: &LeafFiles) -> Result<()> {
    let healthy = || -> Result<f64> {
        Ok(edge
            .gateway
            .metrics()?
            .sum("sealane_gateway_credential_healthy", &[]))
    };
    ensure!(healthy()? == 1.0, "not healthy");
    let broken = secret(
        MESH,
        "cert",
        &[("tls.crt", &first.certificate), ("tls.key", &second.key)],
    )?;
    edge.shop.world().objects.raw("cert.yaml", &broken)?;
    until("the broken pair to be told", SOON, || {
        Ok((healthy()? == 0.0).then_some(()))
    })?;
    ensure!(shown(edge)? == serial(first)?, "the last good one is gone");
    Ok(())
}

/// One of which the time has not come is told, and counts once it has, though nothing is written any more.
fn early(edge: &Edge<'_>, early: &Leaf) -> Result<()> {
    let world = edge.shop.world();
    let files = early.write(&world.scratch("early")?)?;
    world.objects.raw("cert.yaml", &pair("cert", &files)?)?;
    until("the time of the certificate to be told", SOON, || {
        let status = edge.gateway.operator.json("status")?;
        let problems = status["problems"].to_string();
        Ok(problems.contains("not valid yet").then_some(()))
    })?;
    let wanted = serial(&files)?;
    ensure!(shown(edge)? != wanted, "shown before its time");
    until("the certificate's time", SOON, || {
        Ok((shown(edge)? == wanted).then_some(()))
    })
}

/// The serial of the certificate that the gateway shows.
fn shown(edge: &Edge<'_>) -> Result<String> {
    let output = SClient {
        pod: &edge.shop.stranger,
        server: edge.address(HTTPS),
        certificate: None,
        arguments: &["-servername", "server.test"],
    }
    .run()?;
    Ok(leaf(&output.stdout)?.serial)
}

fn serial(files: &LeafFiles) -> Result<String> {
    Ok(leaf(&fs::read_to_string(&files.certificate)?)?.serial)
}
