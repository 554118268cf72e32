//! The harness on its own, without an agent: when these fail, no other failure means anything.

use std::io::{Read, Write};

use anyhow::{Result, ensure};
use sealane_harness::{
    NodeName, PodSpec,
    apps::{Capture, Curl, Exit, MariaDb, Nginx, Redis, leaf, show_certificates},
    objects::MESH,
    pcap::{readable, records},
    pki::{Pki, Wanted},
    tls,
};

use crate::stage::{GREETING, Stage, WEB};

/// Pods reach each other, see each other's addresses, and find closed ports closed.
pub fn network(stage: &Stage<'_>) -> Result<()> {
    let (world, family) = (stage.world, stage.family);
    let client = world.pod(PodSpec::new(NodeName::A, MESH, "client"))?;
    let server = world.pod(PodSpec::new(NodeName::B, MESH, "server"))?;
    let listener = server.listen(80)?;
    let mut out = client.connect(server.address(family, 80))?;
    let (mut incoming, peer) = listener.accept()?;
    ensure!(
        peer.ip().to_canonical() == client.ip(family),
        "the server sees {peer}"
    );
    out.write_all(b"ping")?;
    let mut got = [0; 4];
    incoming.read_exact(&mut got)?;
    ensure!(&got == b"ping", "got {got:?}");
    let refused = client.connect(server.address(family, 81));
    ensure!(
        refused
            .as_ref()
            .is_err_and(|e| e.kind() == std::io::ErrorKind::ConnectionRefused),
        "a closed port: {refused:?}"
    );
    Ok(())
}

/// nginx, curl and redis work between pods.
pub fn programs(stage: &Stage<'_>) -> Result<()> {
    let (world, family) = (stage.world, stage.family);
    let client = world.pod(PodSpec::new(NodeName::A, MESH, "client"))?;
    let server = world.pod(PodSpec::new(NodeName::B, MESH, "server"))?;
    let _nginx = Nginx::http(world, &server, WEB, GREETING)?;
    let url = format!("http://{}/", server.address(family, WEB));
    Curl::new(&client)?.get(&url)?.expect_ok(GREETING)?;
    let closed = format!("http://{}/", server.address(family, 9));
    Curl::new(&client)?
        .get(&closed)?
        .expect_exit(Exit::COULD_NOT_CONNECT)?;
    let _redis = Redis::start(world, &server)?;
    let host = server.ip(family).to_string();
    let pong = Redis::ask(&client, &host, &["PING"])?;
    ensure!(pong == "PONG", "redis said {pong}");
    Ok(())
}

/// tcpdump shows plaintext as readable and as not being TLS.
pub fn capture(stage: &Stage<'_>) -> Result<()> {
    let (world, family) = (stage.world, stage.family);
    let client = world.pod(PodSpec::new(NodeName::A, MESH, "client"))?;
    let server = world.pod(PodSpec::new(NodeName::B, MESH, "server"))?;
    let _nginx = Nginx::http(world, &server, WEB, GREETING)?;
    let capture = Capture::start(world, &server, WEB)?;
    let url = format!("http://{}/", server.address(family, WEB));
    Curl::new(&client)?.get(&url)?.expect_ok(GREETING)?;
    let flows = capture.finish()?;
    ensure!(flows.len() == 2, "flows: {flows:?}");
    ensure!(readable(&flows, GREETING), "unreadable: {flows:?}");
    ensure!(
        flows.iter().all(|flow| records(&flow.payload).is_err()),
        "plaintext passes for TLS"
    );
    Ok(())
}

/// openssl and rustls accept the certificates that the harness makes, and are seen as TLS on the wire.
pub fn certificates(stage: &Stage<'_>) -> Result<()> {
    let (world, family) = (stage.world, stage.family);
    let client = world.pod(PodSpec::new(NodeName::A, MESH, "client"))?;
    let server = world.pod(PodSpec::new(NodeName::B, MESH, "server"))?;
    let id = server.identity();
    let pki = Pki::foreign()?;
    let certificate = pki.leaf(&Wanted::spiffe(&id))?;
    let listener = server.listen(443)?;
    let capture = Capture::start(world, &server, 443)?;
    std::thread::scope(|scope| -> Result<()> {
        let serving = scope.spawn(|| -> Result<()> {
            // openssl ends after the handshake, rustls sends a word first.
            drop(tls::accept(listener.accept()?.0, &certificate)?);
            let mut stream = tls::accept(listener.accept()?.0, &certificate)?;
            let mut word = [0; 4];
            stream.read_exact(&mut word)?;
            ensure!(&word == b"word", "got {word:?}");
            Ok(())
        });
        let shown = leaf(&show_certificates(&client, server.address(family, 443))?)?;
        ensure!(shown.uris == [id.as_str()], "shown: {shown:?}");
        ensure!(shown.server_auth && shown.client_auth, "shown: {shown:?}");
        let socket = client.connect(server.address(family, 443))?;
        let mut stream = tls::connect(socket, Some(&certificate), &[tls::ISTIO])?;
        stream.write_all(b"word")?;
        serving.join().map_err(|_| anyhow::anyhow!("panicked"))?
    })?;
    for flow in capture.finish()? {
        records(&flow.payload)?;
    }
    Ok(())
}

/// MariaDB starts and answers a query.
pub fn server_first(stage: &Stage<'_>) -> Result<()> {
    let (world, family) = (stage.world, stage.family);
    let client = world.pod(PodSpec::new(NodeName::A, MESH, "client"))?;
    let server = world.pod(PodSpec::new(NodeName::B, MESH, "server"))?;
    let _mariadb = MariaDb::start(world, &server, stage.mariadb)?;
    let answer = MariaDb::query(&client, &server, family, "SELECT name FROM shop.fruit")?;
    let answer = answer.success()?.stdout;
    ensure!(answer.trim() == "pomegranate", "got {answer}");
    Ok(())
}
