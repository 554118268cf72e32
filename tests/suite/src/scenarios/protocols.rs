//! What real applications speak goes through as they speak it.

use std::{
    io::{BufRead, BufReader, Read, Write},
    net::{SocketAddr, TcpStream},
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context, Result, anyhow, bail, ensure};
use sealane_harness::{
    NodeName, Pod, PodSpec,
    apps::{Capture, Curl, Exit, Listener, MariaDb, Nginx, Redis},
    objects::MESH,
    pace,
    pcap::{readable, records},
    pki::{Pki, Wanted},
};
use tungstenite::Message;

use crate::{
    pair,
    stage::{GREETING, Shop, Stage, WEB},
};

/// MariaDB, whose server speaks first: works in every allowed combination, and known peers don't wait for the
/// detection of a silent client.
pub fn server_first(stage: &Stage<'_>) -> Result<()> {
    const DETECT: Duration = Duration::from_secs(3);
    let flags = ["--detect-timeout", &pace::flag(DETECT)];
    let shop = stage.shop_with("PERMISSIVE", &flags)?;
    let _mariadb = MariaDb::start(shop.world(), &shop.web, stage.mariadb)?;
    let query = |pod| {
        let statement = "SELECT name FROM shop.fruit";
        MariaDb::query(pod, &shop.web, shop.family(), statement)
    };
    let start = Instant::now();
    expect_fruit(&query(&shop.customer)?.success()?.stdout)?;
    let waited = start.elapsed();
    ensure!(
        waited < pace::span(DETECT),
        "a known peer waited {waited:?}"
    );
    expect_fruit(&query(&shop.stranger)?.success()?.stdout)?;
    shop.set_mode("STRICT")?;
    expect_fruit(&query(&shop.customer)?.success()?.stdout)?;
    let refused = query(&shop.stranger)?;
    if refused.code() == Some(0) {
        bail!("STRICT let a stranger in: {}", refused.describe());
    }
    Ok(())
}

fn expect_fruit(answer: &str) -> Result<()> {
    ensure!(answer.trim() == "pomegranate", "answer: {answer:?}");
    Ok(())
}

/// As in Istio's text on WordPress: an application that makes its pages from a database, all of it STRICT. Pages
/// work, nobody from outside gets one, and the database's bytes on the wire are TLS.
pub fn wordpress(stage: &Stage<'_>) -> Result<()> {
    const RULE: &str = "
apiVersion: \"networking.istio.io/v1alpha3\"
kind: \"DestinationRule\"
metadata:
  name: \"vt-wordpress-mariadb\"
  namespace: \"shop\"
spec:
  host: \"*.shop.svc.cluster.local\"
  trafficPolicy:
    tls:
      mode: ISTIO_MUTUAL
";
    let visitor = stage
        .world
        .pod(PodSpec::new(NodeName::B, MESH, "visitor"))?;
    stage.world.objects.raw("rule.yaml", RULE)?;
    let shop = stage.shop("STRICT")?;
    let (front, database) = (&shop.customer, &shop.web);
    let _mariadb = MariaDb::start(shop.world(), database, stage.mariadb)?;
    let capture = Capture::start(shop.world(), database, MariaDb::PORT)?;
    let listener = front.listen(WEB)?;
    let url = format!("http://{}/", front.address(shop.family(), WEB));
    thread::scope(|scope| {
        let page = scope.spawn(|| -> Result<()> {
            let (mut stream, _) = pair::accept(&listener)?;
            let mut line = String::new();
            BufReader::new(&stream).read_line(&mut line)?;
            let statement = "SELECT name FROM shop.fruit";
            let answer = MariaDb::query(front, database, shop.family(), statement)?;
            let fruit = answer.success()?.stdout;
            let length = fruit.len();
            let head = format!("HTTP/1.1 200 OK\r\nContent-Length: {length}\r\n\r\n");
            stream.write_all((head + &fruit).as_bytes())?;
            Ok(())
        });
        let answer = Curl::new(&visitor)?.get(&url)?;
        page.join().map_err(|_| anyhow!("panicked"))??;
        expect_fruit(&answer.body)
    })?;
    Curl::new(&shop.stranger)?
        .get(&url)?
        .expect_exit(Exit::RECEIVE_ERROR)?;
    let flows = capture.finish()?;
    ensure!(!flows.is_empty(), "nothing was captured");
    for flow in &flows {
        ensure!(records(&flow.payload)?.len() > 2, "{flow:?}");
    }
    ensure!(!readable(&flows, "pomegranate"), "readable on the wire");
    ensure!(!readable(&flows, "SELECT"), "readable on the wire");
    Ok(())
}

/// Redis: small requests and answers, pipelined.
pub fn redis(stage: &Stage<'_>) -> Result<()> {
    let shop = stage.shop("PERMISSIVE")?;
    let _redis = Redis::start(shop.world(), &shop.web)?;
    let host = shop.web.ip(shop.family()).to_string();
    for pod in [&shop.customer, &shop.stranger] {
        let ask = |words: &[&str]| Redis::ask(pod, &host, words);
        ensure!(ask(&["SET", "fruit", "quince"])? == "OK");
        ensure!(ask(&["GET", "fruit"])? == "quince");
        let mut stream = BufReader::new(pod.connect(shop.web_address(Redis::PORT))?);
        stream.get_mut().write_all(&b"PING\r\n".repeat(2000))?;
        for number in 0..2000 {
            let mut line = String::new();
            stream.read_line(&mut line)?;
            ensure!(line == "+PONG\r\n", "answer {number}: {line:?}");
        }
    }
    Ok(())
}

/// WebSockets: an upgrade, then messages from either side.
pub fn websockets(stage: &Stage<'_>) -> Result<()> {
    let shop = stage.shop("PERMISSIVE")?;
    let listener = shop.web.listen(WEB)?;
    for pod in [&shop.customer, &shop.stranger] {
        thread::scope(|scope| {
            let serving = scope.spawn(|| echo(pair::accept(&listener)?.0));
            let stream = pod.connect(shop.web_address(WEB))?;
            let (mut socket, _) = tungstenite::client("ws://web.test/", stream)
                .map_err(|error| anyhow!("upgrade: {error}"))?;
            for size in [1, 125, 126, 70_000, 1_000_000] {
                socket.send(Message::binary(vec![5; size]))?;
                let answer = socket.read()?;
                ensure!(answer.len() == size, "{} of {size} bytes", answer.len());
            }
            socket.close(None)?;
            serving.join().map_err(|_| anyhow!("panicked"))?
        })
        .with_context(|| format!("from {}", pod.spec.name))?;
    }
    Ok(())
}

fn echo(stream: TcpStream) -> Result<()> {
    let mut socket = tungstenite::accept(stream).map_err(|error| anyhow!("upgrade: {error}"))?;
    loop {
        match socket.read() {
            Ok(message @ Message::Binary(_)) => socket.send(message)?,
            Ok(_) => {}
            Err(tungstenite::Error::ConnectionClosed) => return Ok(()),
            Err(error) => return Err(error.into()),
        }
    }
}

/// Many requests over one connection.
pub fn keep_alive(stage: &Stage<'_>) -> Result<()> {
    let shop = stage.shop("STRICT")?;
    let _nginx = shop.nginx()?;
    let mut stream = BufReader::new(shop.customer.connect(shop.web_address(WEB))?);
    for number in 0..pace::amount(2000) {
        stream
            .get_mut()
            .write_all(b"GET / HTTP/1.1\r\nHost: web\r\n\r\n")?;
        let body = response(&mut stream).with_context(|| format!("request {number}"))?;
        ensure!(body == GREETING, "answer {number}: {body:?}");
    }
    Ok(())
}

fn response(stream: &mut BufReader<TcpStream>) -> Result<String> {
    let mut length = 0;
    loop {
        let mut line = String::new();
        stream.read_line(&mut line)?;
        if line.trim().is_empty() {
            break;
        }
        if let Some(value) = line.strip_prefix("Content-Length: ") {
            length = value.trim().parse()?;
        }
    }
    let mut body = vec![0; length];
    stream.read_exact(&mut body)?;
    Ok(String::from_utf8(body)?)
}

/// Many connections of one request each, several at a time.
pub fn short_connections(stage: &Stage<'_>) -> Result<()> {
    const WORKERS: usize = 8;
    let shop = stage.shop("STRICT")?;
    let _nginx = shop.nginx()?;
    let files = shop.agents.b.open_files()?;
    thread::scope(|scope| -> Result<()> {
        let workers: Vec<_> = (0..WORKERS)
            .map(|_| {
                scope.spawn(|| ask_often(&shop.customer, shop.web_address(WEB), pace::amount(250)))
            })
            .collect();
        for worker in workers {
            worker.join().map_err(|_| anyhow!("panicked"))??;
        }
        Ok(())
    })?;
    sealane_harness::wait::until_true("sockets to be closed", crate::stage::SOON, || {
        Ok(shop.agents.b.open_files()? < files + 20)
    })
}

fn ask_often(pod: &Pod, address: SocketAddr, times: usize) -> Result<()> {
    for number in 0..times {
        let mut stream = pod.connect(address)?;
        stream.write_all(b"GET / HTTP/1.0\r\n\r\n")?;
        let mut answer = String::new();
        stream
            .read_to_string(&mut answer)
            .with_context(|| format!("connection {number}"))?;
        ensure!(answer.ends_with(GREETING), "answer {number}: {answer:?}");
    }
    Ok(())
}

/// An application's own TLS is none of ours: end to end with its own certificate, inside mutual TLS or not.
pub fn tls_application(stage: &Stage<'_>) -> Result<()> {
    const HTTPS: u16 = 8443;
    let shop = stage.shop("PERMISSIVE")?;
    let world = shop.world();
    let own = Pki::foreign()?.leaf(&Wanted::server("web.test"))?;
    let files = own.write(&world.scratch("own")?)?;
    let ports = [Listener::Https(HTTPS, files.clone())];
    let _nginx = Nginx::start(world, &shop.web, &ports, GREETING)?;
    let get = |shop: &Shop<'_>, pod| -> Result<()> {
        let host = match shop.web.ip(shop.family()) {
            std::net::IpAddr::V4(ip) => ip.to_string(),
            std::net::IpAddr::V6(ip) => format!("[{ip}]"),
        };
        Curl::new(pod)?
            .arg("--cacert")
            .arg(&files.root)
            .arg("--resolve")
            .arg(format!("web.test:{HTTPS}:{host}"))
            .get(&format!("https://web.test:{HTTPS}/"))?
            .expect_ok(GREETING)
    };
    get(&shop, &shop.customer).context("from the mesh")?;
    get(&shop, &shop.stranger).context("from outside")?;
    shop.set_mode("STRICT")?;
    get(&shop, &shop.customer).context("from the mesh, STRICT")
}
