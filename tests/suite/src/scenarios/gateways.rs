//! What comes in from outside of a mesh: Istio's Gateway and VirtualService, served by `sealane gateway`.

use std::{fmt::Write as _, fs, net::SocketAddr, path::Path, process::Command};

use anyhow::{Context, Result, ensure};
use sealane_harness::{
    Family, Gateway, NodeName, Pod, PodSpec, World,
    apps::{Answer, Capture, Curl, Exit, Listener, Nginx, SClient, leaf},
    objects::{MESH, PeerAuthentication, Service},
    pcap::readable,
    pki::{LeafFiles, Pki, Wanted},
    tls, until,
};

use crate::stage::{GREETING, SOON, Shop, Stage, WEB};

const HTTP: u16 = 80;
const HTTPS: u16 = 443;
/// The label by which Gateways of the suite find their pod.
const EDGE: &str = "edge";

/// A mesh with a gateway in a pod of it, whose clients are outside.
struct Edge<'a> {
    shop: Shop<'a>,
    pod: Pod,
    gateway: Gateway,
}

impl<'a> Edge<'a> {
    /// The mesh is STRICT, the gateway's own ports are not.
    fn new(stage: &Stage<'a>, documents: &str) -> Result<Self> {
        let world = stage.world;
        let pod = world.pod(PodSpec::new(NodeName::B, MESH, EDGE))?;
        let open = PeerAuthentication::workload(MESH, EDGE, "PERMISSIVE", &[]);
        world.objects.policy(&open)?;
        world.objects.raw("edge.yaml", documents)?;
        let shop = stage.shop("STRICT")?;
        shop.agents.b.wait_enrolled(&pod, true)?;
        let mut gateway = Gateway::start(world, &pod, &[])?;
        gateway.wait_ready()?;
        Ok(Self { shop, pod, gateway })
    }

    fn address(&self, port: u16) -> SocketAddr {
        self.pod.address(self.shop.family(), port)
    }

    /// A request from outside, for a host that leads to the gateway.
    fn curl(&self, url: &str, root: Option<&Path>) -> Result<Answer> {
        let mut curl = Curl::new(&self.shop.stranger)?;
        for port in [HTTP, HTTPS, 8080] {
            let address = self.address(port);
            let to = format!(":{port}:{}:{port}", bracketed(address));
            curl = curl.arg("--connect-to").arg(to);
        }
        if let Some(root) = root {
            curl = curl.arg("--cacert").arg(root);
        }
        curl.get(url)
    }

    fn refused(&self, reason: &str) -> Result<f64> {
        let labels = [("reason", reason)];
        let metrics = self.gateway.metrics()?;
        Ok(metrics.sum("sealane_connections_refused_total", &labels))
    }
}

fn bracketed(address: SocketAddr) -> String {
    match address {
        SocketAddr::V4(v4) => v4.ip().to_string(),
        SocketAddr::V6(v6) => format!("[{}]", v6.ip()),
    }
}

/// A Secret as `kubectl create secret generic NAME --from-file=KEY=FILE` makes it.
pub(super) fn secret(namespace: &str, name: &str, files: &[(&str, &Path)]) -> Result<String> {
    let mut text = format!(
        "apiVersion: v1\nkind: Secret\nmetadata: {{name: {name}, namespace: {namespace}}}\ntype: Opaque\ndata:\n"
    );
    for (key, file) in files {
        let mut command = Command::new("openssl");
        let output = command.args(["base64", "-A", "-in"]).arg(file).output()?;
        writeln!(text, "  {key}: {}", String::from_utf8(output.stdout)?)?;
    }
    Ok(text)
}

fn pair(name: &str, files: &LeafFiles) -> Result<String> {
    let files = [("tls.crt", &*files.certificate), ("tls.key", &*files.key)];
    secret(MESH, name, &files)
}

/// A Gateway of the suite's pod, with servers as `{…}` in flow style.
fn gateway(servers: &[String]) -> String {
    let servers: String = servers.iter().map(|s| format!("  - {s}\n")).collect();
    format!(
        "apiVersion: networking.istio.io/v1\nkind: Gateway\nmetadata: {{name: edge, namespace: {MESH}}}\n\
         spec:\n  selector: {{app: {EDGE}}}\n  servers:\n{servers}---\n"
    )
}

fn routed(name: &str, host: &str, list: &str, to: &str) -> String {
    format!(
        "apiVersion: networking.istio.io/v1\nkind: VirtualService\nmetadata: {{name: {name}, namespace: {MESH}}}\n\
         spec:\n  hosts: [\"{host}\"]\n  gateways: [edge]\n  {list}{to}\n---\n"
    )
}

fn to(service: &str) -> String {
    format!("route: [{{destination: {{host: {service}}}}}]}}]")
}

fn service(world: &World, name: &str, index: u8, port: u16) -> Result<()> {
    world.objects.service(&Service {
        namespace: MESH.into(),
        name: name.into(),
        app: name.into(),
        virtual_addresses: Family::ALL
            .map(|family| World::virtual_address(family, index))
            .to_vec(),
        port: 80,
        target_port: port.to_string(),
    })
}

/// `httpsRedirect` answers every request with the same place in HTTPS, whatever it is sent; a server without it
/// forwards.
pub fn redirect(stage: &Stage<'_>) -> Result<()> {
    service(stage.world, "web", 20, WEB)?;
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
        use std::io::{Read as _, Write as _};
        let mut stream = edge.shop.stranger.connect(edge.address(HTTP))?;
        stream.write_all(garbage)?;
        let mut said = Vec::new();
        stream.read_to_end(&mut said)?;
        ensure!(said.starts_with(b"HTTP/1.1 400 "), "{garbage:?}: {said:?}");
    }

    edge.curl("http://web.example:8080/", None)?
        .expect_ok(GREETING)
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
        service(world, name, index, port)?;
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
    service(world, "web", 24, WEB)?;
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
        use std::io::{Read as _, Write as _};
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
