//! No byte is lost, reordered or truncated; half-close and reset arrive as they were sent.
//!
//! Every scenario covers mutual TLS (from the mesh) and plaintext that is passed through (from outside).

use std::{
    io::{self, Read, Write},
    net::{Shutdown, TcpStream},
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context, Result, anyhow, bail, ensure};
use fastrand::Rng;
use sealane_harness::{NodeName, pace};

use crate::{
    pair::{self, Pair},
    stage::{GREETING, SOON, Shop, Stage},
};

const PORT: u16 = 9000;
const MIB: usize = 1 << 20;
/// Each way; the two families and two directions make more than 1 GiB over mutual TLS.
const MESH_BYTES: usize = 288 * MIB;
const PLAIN_BYTES: usize = 64 * MIB;

/// Both directions at once, in writes of random sizes; every byte is compared.
pub fn integrity(stage: &Stage<'_>) -> Result<()> {
    let shop = stage.shop("PERMISSIVE")?;
    let listener = shop.web.listen(PORT)?;
    for (pod, bytes) in [(&shop.customer, MESH_BYTES), (&shop.stranger, PLAIN_BYTES)] {
        let pair = Pair::open(pod, shop.web_address(PORT), &listener)?;
        exchange_streams(&pair, pace::amount(bytes))
            .with_context(|| format!("from {}", pod.spec.name))?;
    }
    Ok(())
}

fn exchange_streams(pair: &Pair, bytes: usize) -> Result<()> {
    let (client, server) = (&pair.client, &pair.server);
    let seeds = [fastrand::u64(..), fastrand::u64(..)];
    thread::scope(|scope| {
        let parts = [
            scope.spawn(|| send(client, seeds[0], bytes)),
            scope.spawn(|| send(server, seeds[1], bytes)),
            scope.spawn(|| receive(server, seeds[0], bytes)),
            scope.spawn(|| receive(client, seeds[1], bytes)),
        ];
        for part in parts {
            part.join().map_err(|_| anyhow!("panicked"))??;
        }
        Ok(())
    })
}

/// Writes the bytes that `seed` stands for, then ends the direction.
fn send(mut stream: &TcpStream, seed: u64, bytes: usize) -> Result<()> {
    let mut content = Rng::with_seed(seed);
    let mut sizes = Rng::new();
    let mut buffer = vec![0; 256 * 1024];
    let mut left = bytes;
    while left > 0 {
        let size = match sizes.u8(..10) {
            0 => sizes.usize(1..16),
            1..4 => sizes.usize(1..5_000),
            _ => sizes.usize(1..=buffer.len()),
        };
        let part = &mut buffer[..size.min(left)];
        fill(&mut content, part);
        stream.write_all(part)?;
        left -= part.len();
    }
    Ok(stream.shutdown(Shutdown::Write)?)
}

fn receive(mut stream: &TcpStream, seed: u64, bytes: usize) -> Result<()> {
    let mut content = Rng::with_seed(seed);
    let mut buffer = vec![0; 128 * 1024];
    let mut expected = vec![0; 128 * 1024];
    let mut at = 0;
    loop {
        let count = stream.read(&mut buffer)?;
        if count == 0 {
            break;
        }
        fill(&mut content, &mut expected[..count]);
        if buffer[..count] != expected[..count] {
            bail!("wrong bytes between {at} and {}", at + count);
        }
        at += count;
    }
    ensure!(at == bytes, "{at} of {bytes} bytes arrived");
    Ok(())
}

/// One byte from each draw, so that the stream doesn't depend on how it is cut.
fn fill(content: &mut Rng, part: &mut [u8]) {
    for byte in part {
        *byte = content.u8(..);
    }
}

/// Each side may end its direction first and still receive all that the other sends.
pub fn half_close(stage: &Stage<'_>) -> Result<()> {
    let shop = stage.shop("PERMISSIVE")?;
    each_way(&shop, |first, mut second| {
        let mut first = first;
        first.write_all(b"question")?;
        pair::end(&first)?;
        ensure!(pair::read_to_end(&mut second)? == b"question");
        let answer = vec![7; 3 * MIB];
        let writer = thread::spawn(move || -> io::Result<()> {
            second.write_all(&vec![7; 3 * MIB])?;
            second.shutdown(Shutdown::Write)
        });
        let got = pair::read_to_end(&mut first)?;
        writer.join().map_err(|_| anyhow!("panicked"))??;
        ensure!(got == answer, "{} of {} bytes", got.len(), answer.len());
        Ok(())
    })
}

/// A reset by one side is a reset at the other, not an end.
pub fn reset(stage: &Stage<'_>) -> Result<()> {
    let shop = stage.shop("PERMISSIVE")?;
    each_way(&shop, |first, mut second| {
        pair::reset(first)?;
        pair::expect_reset(&mut second)
    })
}

/// Plays with the client as the first and with the server as the first, from the mesh and from outside.
fn each_way(shop: &Shop<'_>, play: impl Fn(TcpStream, TcpStream) -> Result<()>) -> Result<()> {
    let listener = shop.web.listen(PORT)?;
    for pod in [&shop.customer, &shop.stranger] {
        for client_first in [true, false] {
            let mut pair = Pair::open(pod, shop.web_address(PORT), &listener)?;
            pair.talk()?;
            let (first, second) = match client_first {
                true => (pair.client, pair.server),
                false => (pair.server, pair.client),
            };
            play(first, second)
                .with_context(|| format!("from {}, client first: {client_first}", pod.spec.name))?;
        }
    }
    Ok(())
}

/// Servers that never read: writers block, agents hold a bounded amount, others don't notice.
pub fn never_reads(stage: &Stage<'_>) -> Result<()> {
    const CONNECTIONS: usize = 10;
    const EACH: usize = 96 * MIB;
    const KIB_EACH: u64 = 1024;
    let shop = stage.shop("PERMISSIVE")?;
    let _nginx = shop.nginx()?;
    let listener = shop.web.listen(PORT)?;
    shop.get(&shop.customer)?.expect_ok(GREETING)?;
    let before = [shop.agents.a.rss_kib()?, shop.agents.b.rss_kib()?];
    let mut pairs = Vec::new();
    for _ in 0..CONNECTIONS {
        let pair = Pair::open(&shop.customer, shop.web_address(PORT), &listener)?;
        let taken = write_until_blocked(&pair.client, EACH)?;
        ensure!(taken < EACH, "{taken} bytes went to nobody");
        pairs.push(pair);
    }
    for (node, before) in NodeName::ALL.into_iter().zip(before) {
        let now = shop.agents.on(node).rss_kib()?;
        let most = before + KIB_EACH * u64::try_from(CONNECTIONS)?;
        ensure!(now < most, "{}: {before} KiB became {now}", node.name());
    }
    let start = Instant::now();
    shop.get(&shop.customer)?.expect_ok(GREETING)?;
    ensure!(start.elapsed() < pace::span(SOON / 5), "others wait");
    Ok(())
}

/// Writes until nothing is taken for a while; returns how much was.
fn write_until_blocked(mut stream: &TcpStream, most: usize) -> Result<usize> {
    const QUIET: Duration = Duration::from_millis(150);
    let part = vec![1; 64 * 1024];
    let mut taken = 0;
    stream.set_write_timeout(Some(QUIET))?;
    while taken < most {
        match stream.write(&part) {
            Ok(count) => taken += count,
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => break,
            Err(error) => return Err(error.into()),
        }
    }
    Ok(taken)
}
