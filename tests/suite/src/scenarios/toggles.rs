//! A thousand changes of the mode under load: what is allowed is never lost, what is forbidden is cut, and what the
//! last document says is what holds.

use std::{
    io::{Read, Write},
    net::TcpListener,
    sync::atomic::{AtomicBool, AtomicU32, Ordering},
    thread,
    time::Duration,
};

use anyhow::{Context, Result, anyhow, ensure};
use sealane_harness::{
    NodeName,
    apps::Capture,
    objects::{MESH, PeerAuthentication},
    pace,
    pcap::Segment,
    until,
};

use super::policy::{OBEY, PORT, ask, keep_asking};
use crate::{
    pair::{self, Pair},
    stage::{GREETING, SOON, Shop, Stage, WEB},
};

/// Natively; on a slow machine as many as it can do in about the same time.
const TOGGLES: usize = 1000;
/// Before memory and descriptors are looked at for the first time, on any machine: by then buffers have been made.
const WARM: usize = TOGGLES / 10;
/// Changes at the end that nobody waits for, twice.
const BURST: usize = TOGGLES / 10;
/// Connections that stay open from the first change to the last.
const LASTING: usize = 8;
/// What they say.
const WORD: [u8; 16] = *b"sealed word sent";
/// Between words: most of the load is to be new connections.
const PAUSE: Duration = Duration::from_millis(5);
/// How much more an agent may hold after all changes than after the first. Two threads keep up to eight buffers of
/// 128 KiB each (`relay/buffer.rs`), as many as they needed at once, and 1 MiB are holes between what is in use. A
/// state that stays of every change would be more.
const MEMORY_KIB: u64 = 3072;
const FILES: usize = 8;

/// 1,000 swaps of the namespace's mode as the kubelet makes them, each as soon as the one before is in force.
pub fn thousand(stage: &Stage<'_>) -> Result<()> {
    let flags = ["--log-level", "info,sealane::access=warn"];
    let shop = stage.shop_with("PERMISSIVE", &flags)?;
    let _nginx = shop.nginx()?;
    let listener = shop.web.listen(PORT)?;
    let mut lasting = Vec::new();
    for _ in 0..LASTING {
        lasting.push(Pair::open(
            &shop.customer,
            shop.web_address(PORT),
            &listener,
        )?);
    }
    let mut play = Play {
        shop,
        listener,
        lasting,
    };
    let captures = play.watch()?;
    play.storm(WARM)?;
    let before = play.held()?;
    play.storm(pace::amount(TOGGLES - 2 * BURST).saturating_sub(WARM))?;
    let after = play.held()?;
    for (node, (before, after)) in NodeName::ALL.iter().zip(before.into_iter().zip(after)) {
        ensure!(
            after.files < before.files + FILES && after.kib < before.kib + MEMORY_KIB,
            "{}: before {before:?}, after {after:?}",
            node.name()
        );
    }
    play.expect_sealed(captures, false)?;
    play.burst(pace::amount(BURST))
}

struct Play<'a> {
    shop: Shop<'a>,
    listener: TcpListener,
    lasting: Vec<Pair>,
}

/// What an agent holds.
#[derive(Debug)]
struct Held {
    files: usize,
    kib: u64,
}

/// What is in force: the mode in the last bit, above it how many changes there were; nothing while one is on its way.
#[derive(Default)]
struct Force {
    now: AtomicU32,
    stop: AtomicBool,
}

impl Force {
    fn mode(&self) -> Option<(u32, Mode)> {
        let now = self.now.load(Ordering::SeqCst);
        let mode = if now & 1 == 1 {
            Mode::Strict
        } else {
            Mode::Permissive
        };
        (now > 1).then_some((now, mode))
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Mode {
    Permissive,
    Strict,
}

impl Mode {
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Permissive => "PERMISSIVE",
            Self::Strict => "STRICT",
        }
    }
}

impl Play<'_> {
    /// Changes under load; ends in PERMISSIVE.
    fn storm(&mut self, toggles: usize) -> Result<()> {
        let Self {
            shop,
            listener,
            lasting,
        } = self;
        let force = Force::default();
        let asked = AtomicU32::new(0);
        let (shop, force) = (&*shop, &force);
        thread::scope(|scope| {
            let load = [
                scope.spawn(|| keep_talking(lasting, force).context("lasting connections")),
                scope.spawn(|| {
                    keep_asking(&shop.customer, shop, &force.stop, &asked)
                        .context("short connections of the mesh")
                }),
                scope.spawn(|| keep_judging(shop, force).context("short connections in plaintext")),
            ];
            let toggled = toggle(shop, listener, force, toggles);
            force.stop.store(true, Ordering::SeqCst);
            let load: Vec<_> = load
                .into_iter()
                .map(thread::ScopedJoinHandle::join)
                .collect();
            for outcome in load {
                outcome.map_err(|_| anyhow!("panicked"))??;
            }
            toggled
        })
    }

    /// Changes that nobody waits for: the last one counts.
    fn burst(&mut self, toggles: usize) -> Result<()> {
        for mode in [Mode::Permissive, Mode::Strict] {
            for swap in (0..toggles).rev() {
                let other = [Mode::Strict, Mode::Permissive][usize::from(mode == Mode::Strict)];
                let mode = if swap % 2 == 0 { mode } else { other };
                project(&self.shop, mode)?;
            }
            self.shop.agents.b.wait_mode(&self.shop.web, mode.name())?;
            ask(&self.shop.customer, self.shop.web_address(WEB))?;
            let plaintext = ask(&self.shop.stranger, self.shop.web_address(WEB));
            ensure!(
                plaintext.is_ok() == (mode == Mode::Permissive),
                "{mode:?}: {plaintext:?}"
            );
        }
        self.rest()
    }

    /// STRICT, and quiet for as long as anything forbidden may last: from then on nothing leaves in clear.
    fn rest(&mut self) -> Result<()> {
        thread::sleep(pace::span(OBEY));
        let captures = self.watch()?;
        for _ in 0..20 {
            for pair in &mut self.lasting {
                pair.say(WORD)?;
            }
            ask(&self.shop.customer, self.shop.web_address(WEB))?;
            let plaintext = ask(&self.shop.stranger, self.shop.web_address(WEB));
            ensure!(plaintext.is_err(), "plaintext under STRICT");
        }
        self.expect_sealed(captures, true)
    }

    fn watch(&self) -> Result<Vec<Capture>> {
        let ports = [WEB, PORT].into_iter();
        let start = |port| Capture::start(self.shop.world(), &self.shop.web, port);
        ports.map(start).collect()
    }

    /// The mesh's own traffic is never readable; where `strict` says that it is STRICT, the server says nothing in clear.
    fn expect_sealed(&self, captures: Vec<Capture>, strict: bool) -> Result<()> {
        let family = self.shop.family();
        let (mesh, server) = (self.shop.customer.ip(family), self.shop.web.ip(family));
        for capture in captures {
            let segments = capture.stop()?;
            ensure!(
                segments.iter().any(|s| s.source.ip() == mesh),
                "nothing captured"
            );
            for segment in &segments {
                let own = [segment.source.ip(), segment.destination.ip()].contains(&mesh);
                ensure!(!own || !is_readable(segment), "readable: {segment:?}");
                let said = segment.source.ip() == server && !segment.payload.is_empty();
                ensure!(own || !strict || !said, "in clear: {segment:?}");
            }
        }
        Ok(())
    }

    /// Once only the lasting connections are left.
    fn held(&self) -> Result<Vec<Held>> {
        let count = self.lasting.len();
        NodeName::ALL
            .into_iter()
            .map(|node| {
                let agent = self.shop.agents.on(node);
                until("the short connections to be gone", SOON, || {
                    Ok((agent.connections()?.len() == count).then_some(()))
                })?;
                Ok(Held {
                    files: agent.open_files()?,
                    kib: agent.own_kib()?,
                })
            })
            .collect()
    }
}

fn is_readable(segment: &Segment) -> bool {
    [&WORD[..], GREETING.as_bytes()]
        .iter()
        .any(|text| segment.payload.windows(text.len()).any(|w| w == *text))
}

pub(super) fn project(shop: &Shop<'_>, mode: Mode) -> Result<()> {
    let policy = PeerAuthentication::namespace(MESH, mode.name());
    shop.world().objects.projected_policy(&policy)
}

fn toggle(shop: &Shop<'_>, listener: &TcpListener, force: &Force, toggles: usize) -> Result<()> {
    force.now.store(2, Ordering::SeqCst);
    for round in 0..toggles / 2 {
        let mut forbidden = speaking(shop, listener)?;
        set(shop, force, 2 * round + 1, Mode::Strict)?;
        for pair in &mut forbidden {
            pair.client.set_read_timeout(Some(pace::span(OBEY)))?;
            pair.server.set_read_timeout(Some(pace::span(OBEY)))?;
            pair::expect_over(&mut pair.client)
                .with_context(|| format!("client, round {round}"))?;
            pair::expect_over(&mut pair.server)
                .with_context(|| format!("server, round {round}"))?;
        }
        judge(shop, force)?;
        set(shop, force, 2 * round + 2, Mode::Permissive)?;
        judge(shop, force)?;
    }
    Ok(())
}

/// Plaintext connections which have said something.
pub(super) fn speaking(shop: &Shop<'_>, listener: &TcpListener) -> Result<Vec<Pair>> {
    let connect = || -> Result<_> {
        let mut client = shop.stranger.connect(shop.web_address(PORT))?;
        client.write_all(&WORD)?;
        Ok(client)
    };
    let clients = [connect()?, connect()?];
    let pair = |client| {
        let (mut server, peer) = pair::accept(listener)?;
        server.read_exact(&mut [0; WORD.len()])?;
        Ok(Pair {
            client,
            server,
            peer,
        })
    };
    clients.into_iter().map(pair).collect()
}

/// Changes the mode; returns when the server's agent has it in force.
fn set(shop: &Shop<'_>, force: &Force, change: usize, mode: Mode) -> Result<()> {
    let generation = || -> Result<f64> {
        let metrics = shop.agents.b.metrics()?;
        Ok(metrics.sum("sealane_policy_generation", &[]))
    };
    let before = generation()?;
    force.now.store(0, Ordering::SeqCst);
    project(shop, mode)?;
    until(&format!("change {change}"), OBEY, || {
        Ok((generation()? > before).then_some(()))
    })?;
    let now = 2 * (u32::try_from(change)? + 1) + u32::from(mode == Mode::Strict);
    force.now.store(now, Ordering::SeqCst);
    Ok(())
}

/// One connection in plaintext, which must have been served or not if one mode was in force all the time.
fn judge(shop: &Shop<'_>, force: &Force) -> Result<()> {
    let before = force.mode();
    let answer = ask(&shop.stranger, shop.web_address(WEB));
    match before.filter(|_| before == force.mode()) {
        None => Ok(()),
        Some((_, Mode::Permissive)) => answer.context("while it is allowed"),
        Some((_, Mode::Strict)) => {
            ensure!(answer.is_err(), "served in plaintext under STRICT");
            Ok(())
        }
    }
}

fn keep_judging(shop: &Shop<'_>, force: &Force) -> Result<()> {
    while !force.stop.load(Ordering::SeqCst) {
        judge(shop, force)?;
    }
    Ok(())
}

fn keep_talking(pairs: &mut [Pair], force: &Force) -> Result<()> {
    while !force.stop.load(Ordering::SeqCst) {
        for (number, pair) in pairs.iter_mut().enumerate() {
            pair.say(WORD)
                .with_context(|| format!("connection {number}"))?;
        }
        thread::sleep(PAUSE);
    }
    Ok(())
}
