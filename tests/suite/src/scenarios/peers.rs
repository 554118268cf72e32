//! Peers that don't behave: what they send harms nobody else, and what they claim is checked.

use std::{
    io::{Read, Write},
    net::{SocketAddr, TcpListener},
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context, Result, anyhow, ensure};
use sealane_harness::{
    NodeName, Pod, PodSpec,
    objects::MESH,
    pace,
    pki::{Leaf, Pki, Validity, Wanted},
    tls::{self, ClientStream},
};

use crate::{
    pair::{self, Pair},
    stage::{GREETING, Shop, Stage},
};

const PORT: u16 = 9000;
/// A record header that announces a handshake message of 512 bytes, and the ClientHello's own header.
const BEGINNING: &[u8] = &[0x16, 3, 1, 2, 0, 1, 0, 1, 0xfc, 3, 3];

/// Bytes that look like TLS for a while, or not at all: closed, and nothing reaches the application.
pub fn garbage(stage: &Stage<'_>) -> Result<()> {
    let mut shop = stage.shop_with("STRICT", &["--handshake-timeout", "2s"])?;
    let _nginx = shop.nginx()?;
    let listener = shop.web.listen(PORT)?;
    let noise: Vec<u8> = (0..20_000).map(|_| fastrand::u8(..)).collect();
    let hello_of_noise = [BEGINNING, &noise[..600]].concat();
    let endless_record = [&[0x16, 3, 3, 0xff, 0xff], noise.as_slice()].concat();
    let cases: [(&str, &[u8]); 6] = [
        ("noise", &noise),
        ("a ClientHello of noise", &hello_of_noise),
        ("an endless record", &endless_record),
        ("an alert", &[0x15, 3, 3, 0, 2, 2, 40]),
        ("application data", &[0x17, 3, 3, 0, 4, 1, 2, 3, 4]),
        ("an empty record", &[0x16, 3, 3, 0, 0]),
    ];
    for (what, bytes) in cases {
        let mut stream = shop.stranger.connect(shop.web_address(PORT))?;
        // It may be cut while it still writes.
        let _ = stream.write_all(bytes);
        let _ = pair::end(&stream);
        drain(&mut stream).with_context(|| format!("after {what}"))?;
        pair::expect_nobody(&listener).context(what)?;
    }
    shop.agents.b.still_runs()?;
    shop.get(&shop.customer)?.expect_ok(GREETING)
}

/// Reads alerts, if any, up to the end or a reset.
fn drain(stream: &mut impl Read) -> Result<()> {
    let mut bytes = Vec::new();
    match stream.take(1 << 16).read_to_end(&mut bytes) {
        Ok(_) => Ok(()),
        Err(error) if error.kind() == std::io::ErrorKind::ConnectionReset => Ok(()),
        Err(error) => Err(error.into()),
    }
}

/// Clients that begin a handshake, or nothing, and leave it at that: closed at the deadline; others don't wait.
pub fn slow_handshake(stage: &Stage<'_>) -> Result<()> {
    const CLIENTS: usize = 200;
    const DEADLINE: Duration = Duration::from_secs(2);
    let flags = ["--handshake-timeout", &pace::flag(DEADLINE)];
    let shop = stage.shop_with("STRICT", &flags)?;
    let _nginx = shop.nginx()?;
    let listener = shop.web.listen(PORT)?;
    let mut clients = Vec::new();
    for number in 0..CLIENTS {
        let mut stream = shop.stranger.connect(shop.web_address(PORT))?;
        stream.write_all(&BEGINNING[..number % BEGINNING.len()])?;
        clients.push(stream);
    }
    let opened = Instant::now();
    shop.get(&shop.customer)?.expect_ok(GREETING)?;
    ensure!(opened.elapsed() < pace::span(DEADLINE), "others wait");
    for (number, client) in clients.iter_mut().enumerate() {
        drain(client).with_context(|| format!("client {number}"))?;
    }
    let took = opened.elapsed();
    ensure!(took < 2 * pace::span(DEADLINE), "closed after {took:?}");
    pair::expect_nobody(&listener)
}

/// A server at the address of a mesh pod that can't prove to be that pod gets no byte of the client's.
pub fn impostor(stage: &Stage<'_>) -> Result<()> {
    let world = stage.world;
    let spec = PodSpec {
        sandbox: false,
        ..PodSpec::new(NodeName::B, MESH, "backend")
    };
    let backend = world.pod(spec)?;
    let shop = stage.shop("PERMISSIVE")?;
    let listener = backend.listen(PORT)?;
    let (mesh, other) = (Pki::of_mesh(&world.ca)?, Pki::foreign()?);
    let own = Wanted::spiffe(&backend.identity());
    let stranger = Wanted::spiffe(&shop.customer.identity());
    let elsewhere = Wanted::spiffe("spiffe://elsewhere.test/ns/shop/sa/backend");
    let bad = [
        ("another identity", mesh.leaf(&stranger)?),
        ("another trust domain", mesh.leaf(&elsewhere)?),
        ("another root", other.leaf(&own)?),
        ("expired", mesh.leaf(&own.clone().valid(Validity::Past))?),
        ("a host's name", mesh.leaf(&Wanted::server("backend"))?),
    ];
    let address = backend.address(shop.family(), PORT);
    for (what, leaf) in &bad {
        let got = offer(&shop.customer, address, &listener, leaf);
        ensure!(got.is_err(), "{what}: got {got:?}");
    }
    plaintext_answer(&shop, address, &listener)?;
    let got = offer(&shop.customer, address, &listener, &mesh.leaf(&own)?)?;
    ensure!(got == b"secret", "the right one got {got:?}");
    Ok(())
}

/// What a server with this certificate gets from a client that sends `secret`.
fn offer(
    client: &Pod,
    address: SocketAddr,
    listener: &TcpListener,
    leaf: &Leaf,
) -> Result<Vec<u8>> {
    thread::scope(|scope| {
        let serving = scope.spawn(|| -> Result<Vec<u8>> {
            let mut stream = tls::accept(pair::accept(listener)?.0, leaf)?;
            let mut got = vec![0; 6];
            stream.read_exact(&mut got)?;
            Ok(got)
        });
        let mut stream = client.connect(address)?;
        let sent = stream.write_all(b"secret");
        let got = serving.join().map_err(|_| anyhow!("panicked"))?;
        if got.is_err() {
            pair::expect_over(&mut stream).context("the client")?;
        } else {
            sent?;
        }
        got
    })
}

/// A server that answers a ClientHello in plaintext gets nothing else, and its answer goes nowhere.
fn plaintext_answer(shop: &Shop<'_>, address: SocketAddr, listener: &TcpListener) -> Result<()> {
    let mut client = shop.customer.connect(address)?;
    client.write_all(b"secret")?;
    let (mut server, _) = pair::accept(listener)?;
    server.write_all(b"220 ready\r\n")?;
    let mut got = Vec::new();
    // Its end may be a reset, and what came before it counts.
    let _ = server.read_to_end(&mut got);
    ensure!(got.first() == Some(&0x16), "not TLS: {got:?}");
    ensure!(!got.windows(6).any(|w| w == b"secret"), "in clear: {got:?}");
    pair::expect_over(&mut client)
}

/// A foreign client with a certificate of the mesh and a connection to an application in `web`.
fn foreigner(shop: &Shop<'_>, listener: &TcpListener) -> Result<(ClientStream, Pair)> {
    let identity = "spiffe://cluster.local/ns/shop/sa/customer";
    let leaf = Pki::of_mesh(&shop.world().ca)?.leaf(&Wanted::spiffe(identity))?;
    let socket = shop.stranger.connect(shop.web_address(PORT))?;
    let raw = socket.try_clone()?;
    let mut stream = tls::connect(socket, Some(&leaf), &[tls::ISTIO])?;
    stream.write_all(b"hello")?;
    let (mut server, peer) = pair::accept(listener)?;
    let mut got = [0; 5];
    server.read_exact(&mut got)?;
    ensure!(&got == b"hello", "got {got:?}");
    let pair = Pair {
        client: raw,
        server,
        peer,
    };
    Ok((stream, pair))
}

/// KeyUpdate (RFC 8446, section 4.6.3) in the middle of a stream, several times.
pub fn key_update(stage: &Stage<'_>) -> Result<()> {
    let shop = stage.shop("STRICT")?;
    let listener = shop.web.listen(PORT)?;
    let (mut client, mut pair) = foreigner(&shop, &listener)?;
    for round in 0..5 {
        let sent: Vec<u8> = (0..50_000).map(|_| fastrand::u8(..)).collect();
        client.conn.refresh_traffic_keys()?;
        client.write_all(&sent)?;
        client.flush()?;
        let mut got = vec![0; sent.len()];
        pair.server
            .read_exact(&mut got)
            .with_context(|| format!("round {round}"))?;
        ensure!(got == sent, "round {round}: wrong bytes");
        pair.server.write_all(&got)?;
        client.read_exact(&mut got)?;
        ensure!(got == sent, "round {round}: wrong bytes back");
    }
    Ok(())
}

/// The end of a TCP stream without close_notify is a truncation (RFC 8446, section 6.1): the application sees
/// a reset. With close_notify it is the end of one direction.
pub fn truncation(stage: &Stage<'_>) -> Result<()> {
    let shop = stage.shop("STRICT")?;
    let listener = shop.web.listen(PORT)?;
    let (_client, mut pair) = foreigner(&shop, &listener)?;
    pair::end(&pair.client)?;
    pair::expect_reset(&mut pair.server).context("without close_notify")?;

    let (mut client, mut pair) = foreigner(&shop, &listener)?;
    client.conn.send_close_notify();
    client.flush()?;
    ensure!(pair::read_to_end(&mut pair.server)?.is_empty());
    pair.server.write_all(b"answer")?;
    pair::end(&pair.server)?;
    let mut answer = String::new();
    client
        .read_to_string(&mut answer)
        .context("the answer after close_notify")?;
    ensure!(answer == "answer", "got {answer:?}");
    Ok(())
}
