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
use socket2::SockRef;

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
    exchange(pair, bytes, bytes, false)?;
    finish(pair)
}

/// Sends so many bytes from the client and from the server at once, in writes of random sizes, and compares what
/// arrives. With `pauses`, readers take their time.
pub fn exchange(pair: &Pair, up: usize, down: usize, pauses: bool) -> Result<()> {
    let (client, server) = (&pair.client, &pair.server);
    let seeds = [fastrand::u64(..), fastrand::u64(..)];
    thread::scope(|scope| {
        let parts = [
            scope.spawn(|| send(client, seeds[0], up)),
            scope.spawn(|| send(server, seeds[1], down)),
            scope.spawn(|| receive(server, seeds[0], up, pauses)),
            scope.spawn(|| receive(client, seeds[1], down, pauses)),
        ];
        for part in parts {
            part.join().map_err(|_| anyhow!("panicked"))??;
        }
        Ok(())
    })
}

/// Ends both directions, and sees both ends.
pub fn finish(pair: &Pair) -> Result<()> {
    for (from, mut to) in [(&pair.client, &pair.server), (&pair.server, &pair.client)] {
        from.shutdown(Shutdown::Write)?;
        let more = io::copy(&mut to, &mut io::sink())?;
        ensure!(more == 0, "{more} bytes too many");
    }
    Ok(())
}

/// A stream of bytes that doesn't depend on how it is cut.
struct Content {
    pattern: Vec<u8>,
    at: usize,
}

impl Content {
    /// A prime, so that no part of a power of two can stand in for another.
    const PERIOD: usize = 1_048_573;

    fn new(seed: u64) -> Self {
        let mut pattern = vec![0; Self::PERIOD];
        Rng::with_seed(seed).fill(&mut pattern);
        Self { pattern, at: 0 }
    }

    /// The next bytes, in at most two parts.
    fn next(&mut self, length: usize) -> impl Iterator<Item = &[u8]> {
        let first = length.min(Self::PERIOD - self.at);
        let start = self.at;
        self.at = (self.at + length) % Self::PERIOD;
        [
            &self.pattern[start..start + first],
            &self.pattern[..length - first],
        ]
        .into_iter()
        .filter(|part| !part.is_empty())
    }
}

/// Writes the bytes that `seed` stands for.
fn send(mut stream: &TcpStream, seed: u64, bytes: usize) -> Result<()> {
    const MOST: usize = 256 * 1024;
    let mut content = Content::new(seed);
    let mut sizes = Rng::new();
    let mut left = bytes;
    while left > 0 {
        let size = match sizes.u8(..10) {
            0 => sizes.usize(1..16),
            1..4 => sizes.usize(1..5_000),
            _ => sizes.usize(1..=MOST),
        };
        let size = size.min(left);
        for part in content.next(size) {
            stream.write_all(part)?;
        }
        left -= size;
    }
    Ok(())
}

fn receive(mut stream: &TcpStream, seed: u64, bytes: usize, pauses: bool) -> Result<()> {
    let mut content = Content::new(seed);
    let mut buffer = vec![0; 128 * 1024];
    let (mut at, mut pause) = (0, bytes);
    if pauses {
        pause = 0;
    }
    while at < bytes {
        let wanted = buffer.len().min(bytes - at);
        let count = stream.read(&mut buffer[..wanted])?;
        ensure!(count > 0, "{at} of {bytes} bytes arrived");
        let mut got = &buffer[..count];
        for part in content.next(count) {
            let (head, rest) = got.split_at(part.len());
            if head != part {
                bail!("wrong bytes between {at} and {}", at + count);
            }
            got = rest;
        }
        at += count;
        if at > pause {
            thread::sleep(Duration::from_millis(fastrand::u64(1..20)));
            pause += fastrand::usize(MIB..3 * MIB);
        }
    }
    Ok(())
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

/// Urgent data is not passed on, and everything around it is.
pub fn urgent(stage: &Stage<'_>) -> Result<()> {
    let shop = stage.shop("PERMISSIVE")?;
    each_way(&shop, |mut first, mut second| {
        for _ in 0..3 {
            first.write_all(b"before")?;
            ensure!(SockRef::from(&first).send_out_of_band(b"!")? == 1);
            first.write_all(b"behind")?;
            let mut got = [0; 12];
            second.read_exact(&mut got)?;
            ensure!(&got == b"beforebehind", "got {got:?}");
        }
        ensure!(SockRef::from(&first).send_out_of_band(b"!")? == 1);
        first.write_all(b"the rest")?;
        pair::end(&first)?;
        let rest = pair::read_to_end(&mut second)?;
        ensure!(rest == b"the rest", "got {rest:?}");
        Ok(())
    })
}

/// What a side says before it resets the connection arrives before the reset, however late it is read.
pub fn last_words(stage: &Stage<'_>) -> Result<()> {
    // What the sockets between the two ends hold at least.
    const WORDS: usize = MIB / 4;
    const QUIET: Duration = Duration::from_millis(300);
    let shop = stage.shop("PERMISSIVE")?;
    each_way(&shop, |mut first, mut second| {
        first.write_all(&[7; WORDS])?;
        // A reset forgets what its own socket has not sent yet.
        shop.connection(NodeName::B, "all that was said", |row| {
            let counts = ["sent_bytes", "received_bytes"].map(|count| row[count].as_u64());
            counts.iter().flatten().any(|count| *count >= WORDS as u64)
        })?;
        pair::reset(first)?;
        // The reset has all the time to overtake what is not read yet.
        thread::sleep(pace::span(QUIET));
        let mut part = vec![0; 64 * 1024];
        let mut arrived = 0;
        while arrived < WORDS {
            let count = second
                .read(&mut part)
                .with_context(|| format!("after {arrived} bytes"))?;
            ensure!(count > 0, "an end after {arrived} bytes");
            arrived += count;
            thread::sleep(Duration::from_millis(5));
        }
        pair::expect_reset(&mut second)?;
        // The next one is not to be taken for this one.
        sealane_harness::wait::until_true("it to leave the table", SOON, || {
            Ok(shop.agents.b.connections()?.is_empty())
        })
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
