//! Connections whose keys the kernel has: that it has them, and that nothing gets lost on the way.

use std::{
    net::{SocketAddr, TcpListener},
    thread,
    time::Duration,
};

use anyhow::{Context, Result, anyhow, ensure};
use rustix::process::{Pid, Resource, Rlimit, prlimit};
use sealane_harness::{Agent, NodeName, Pod, apps::Strace, kernel, pace};
use serde_json::Value;

use crate::{
    pair::{self, Pair},
    scenarios::streams,
    stage::{SOON, Shop, Stage},
};

const PORT: u16 = 9000;
const MIB: usize = 1 << 20;

/// An application in `web`, and a connection to it from the mesh that has been used.
fn connected(shop: &Shop<'_>) -> Result<(TcpListener, Pair)> {
    let listener = shop.web.listen(PORT)?;
    let pair = opened(shop, &listener)?;
    Ok((listener, pair))
}

fn opened(shop: &Shop<'_>, listener: &TcpListener) -> Result<Pair> {
    let mut pair = Pair::open(&shop.customer, shop.web_address(PORT), listener)?;
    pair.talk()?;
    Ok(pair)
}

/// How the bytes of the mesh's connections move at a node.
pub fn expect_transport(shop: &Shop<'_>, node: NodeName, transport: &str) -> Result<()> {
    let is_open = |row: &Value| row["security"] == "mutual_tls" && row["state"] == "open";
    let row = shop.connection(node, "an open connection", is_open)?;
    ensure!(row["transport"] == transport, "{row:#}");
    Ok(())
}

/// What the agent says of the kernel is what it then does: suites by speed, the first of them is used, and the
/// live table, metrics and status agree.
pub fn choice(stage: &Stage<'_>) -> Result<()> {
    let shop = stage.shop("STRICT")?;
    let (_listener, _pair) = connected(&shop)?;
    for node in NodeName::ALL {
        let agent = shop.agents.on(node);
        let tls = agent.status()?["kernel_tls"].clone();
        let suites = tls["ciphers"].as_array().cloned().unwrap_or_default();
        let speed = |suite: &Value| suite["bytes_per_second"].as_u64().unwrap_or(0);
        ensure!(
            suites.is_sorted_by_key(|suite| std::cmp::Reverse(speed(suite))),
            "{tls:#}"
        );
        if !kernel::has_tls() {
            ensure!(suites.is_empty(), "{tls:#}");
            ensure!(
                tls["missing"][0]
                    .as_str()
                    .is_some_and(|why| why.contains("CONFIG_TLS"))
            );
            expect_transport(&shop, node, "userspace_tls")?;
            continue;
        }
        ensure!(suites.len() == 3 && tls["splice"] == true, "{tls:#}");
        let driver = tls["aes_driver"].as_str().unwrap_or_default();
        let is_generic = driver.contains("generic)") || driver.contains("-generic");
        ensure!(
            is_generic != kernel::has_aes_instructions(),
            "AES by {driver}"
        );
        expect_transport(&shop, node, "ktls_splice")?;
        let first = suites[0]["suite"].clone();
        let row = shop.connection(node, "its suite", |row| row["cipher"].is_string())?;
        if node == NodeName::A {
            ensure!(row["cipher"] == first, "{row:#}\n{tls:#}");
        }
        shop.metric(
            node,
            "sealane_tls_connections_total",
            &[("transport", "ktls_splice")],
            1.0,
        )?;
    }
    Ok(())
}

/// The kernel says itself that it seals and opens, at both nodes.
pub fn both_halves(stage: &Stage<'_>) -> Result<()> {
    let shop = stage.shop("STRICT")?;
    let (_listener, _pair) = connected(&shop)?;
    for pod in [&shop.customer, &shop.web] {
        let sockets = socket_statistics(pod)?;
        let secured: Vec<_> = sockets
            .lines()
            .filter(|line| line.contains("tcp-ulp-tls"))
            .collect();
        ensure!(secured.len() == 1, "{sockets}");
        for half in ["rxconf: sw", "txconf: sw", "version: 1.3"] {
            ensure!(secured[0].contains(half), "no {half}: {}", secured[0]);
        }
    }
    Ok(())
}

fn socket_statistics(pod: &Pod) -> Result<String> {
    let mut command = pod.command("ss")?;
    command.args(["-tinO"]);
    Ok(pod.run("ss", command, SOON)?.success()?.stdout)
}

/// While it relays, the agent neither reads nor writes what the applications say.
pub fn no_payload(stage: &Stage<'_>) -> Result<()> {
    let shop = stage.shop("STRICT")?;
    let (_listener, pair) = connected(&shop)?;
    let bytes = pace::amount(32 * MIB);
    for node in NodeName::ALL {
        let trace = Strace::attach(shop.world(), shop.agents.on(node).pid())?;
        streams::exchange(&pair, bytes / 4, bytes / 4, false)?;
        let copied = trace.finish()?;
        ensure!(
            copied < 4096,
            "{}: {copied} bytes went through the agent",
            node.name()
        );
    }
    Ok(())
}

/// Both directions at once, in writes of random sizes, with readers that pause; then both ends.
pub fn integrity(stage: &Stage<'_>) -> Result<()> {
    let shop = stage.shop("STRICT")?;
    let (_listener, pair) = connected(&shop)?;
    expect_transport(&shop, NodeName::A, "ktls_splice")?;
    streams::exchange(&pair, 64 * MIB, 64 * MIB, true)?;
    streams::finish(&pair)
}

/// The same without splice.
pub fn copy(stage: &Stage<'_>) -> Result<()> {
    let shop = stage.shop_with("STRICT", &["--ktls", "copy"])?;
    let (_listener, pair) = connected(&shop)?;
    for node in NodeName::ALL {
        expect_transport(&shop, node, "ktls_copy")?;
    }
    streams::exchange(&pair, 16 * MIB, 16 * MIB, true)?;
    streams::finish(&pair)
}

/// A key that is used up makes place for the next one, or, in a kernel that can't do that, ends the connection: it
/// never seals more. Nothing that arrives is wrong.
pub fn key_limit(stage: &Stage<'_>) -> Result<()> {
    const LEAST_MIB: &str = "4";
    let shop = stage.shop_with("STRICT", &["--key-limit", LEAST_MIB])?;
    let (listener, pair) = connected(&shop)?;
    let row = shop.connection(NodeName::A, "its suite", |row| row["cipher"].is_string())?;
    let status = shop.agents.a.status()?;
    let result = streams::exchange(&pair, 16 * MIB, 16 * MIB, false);
    if row["cipher"] == "TLS13_CHACHA20_POLY1305_SHA256" {
        result.context("a cipher without a limit")?;
    } else if row["transport"] == "userspace_tls" || status["kernel_tls"]["rekey"] == true {
        result?;
        for node in NodeName::ALL {
            shop.metric(node, "sealane_tls_key_updates_total", &[], 3.0)?;
        }
        streams::finish(&pair)?;
    } else {
        let error = format!("{:#}", result.err().context("16 MiB under one key")?);
        ensure!(!error.contains("wrong bytes"), "{error}");
        let reason = "the key has sealed as much as it may";
        sealane_harness::wait::until_true("the reason in a log", SOON, || {
            let logs = [shop.agents.a.log()?, shop.agents.b.log()?];
            Ok(logs.iter().any(|log| log.contains(reason)))
        })?;
    }
    opened(&shop, &listener)?.talk()
}

/// No descriptor is to be had: what is open goes on, by copying, and later everything is as before.
pub fn descriptors(stage: &Stage<'_>) -> Result<()> {
    let shop = stage.shop("STRICT")?;
    let (listener, pair) = connected(&shop)?;
    let idle: Vec<_> = (0..4)
        .map(|_| opened(&shop, &listener))
        .collect::<Result<_>>()?;
    let limits: Vec<_> = NodeName::ALL
        .into_iter()
        .map(|node| exhaust(shop.agents.on(node)))
        .collect::<Result<_>>()?;
    thread::scope(|scope| {
        let parts: Vec<_> = idle
            .iter()
            .chain([&pair])
            .map(|pair| scope.spawn(|| streams::exchange(pair, 2 * MIB, 2 * MIB, false)))
            .collect();
        for part in parts {
            part.join().map_err(|_| anyhow!("panicked"))??;
        }
        anyhow::Ok(())
    })?;
    drop(limits);
    opened(&shop, &listener)?.talk()?;
    streams::exchange(&pair, 2 * MIB, 2 * MIB, false)?;
    streams::finish(&pair)
}

/// Takes the agent's right to open files, until this is dropped.
struct Exhausted {
    pid: Pid,
    before: Rlimit,
}

fn exhaust(agent: &Agent) -> Result<Exhausted> {
    let pid = Pid::from_raw(i32::try_from(agent.pid())?).context("a process id")?;
    let none = Rlimit {
        current: Some(4),
        maximum: prlimit_of(pid)?.maximum,
    };
    let before = prlimit(Some(pid), Resource::Nofile, none)?;
    Ok(Exhausted { pid, before })
}

fn prlimit_of(pid: Pid) -> Result<Rlimit> {
    let limits = std::fs::read_to_string(format!("/proc/{}/limits", pid.as_raw_nonzero()))?;
    let line = limits
        .lines()
        .find(|line| line.starts_with("Max open files"))
        .context("no limit of open files")?;
    let mut numbers = line.split_whitespace().filter_map(|word| word.parse().ok());
    Ok(Rlimit {
        current: numbers.next(),
        maximum: numbers.next(),
    })
}

impl Drop for Exhausted {
    fn drop(&mut self) {
        let _ = prlimit(Some(self.pid), Resource::Nofile, self.before);
    }
}

/// Very many connections, each opened, used and closed at once, by either end in turn: nothing of them stays.
pub fn quick(stage: &Stage<'_>) -> Result<()> {
    let shop = stage.shop("STRICT")?;
    let listener = shop.web.listen(PORT)?;
    let address = shop.web_address(PORT);
    rounds(&shop, address, &listener, pace::amount(200))?;
    settle(&shop)?;
    let before = holdings(&shop)?;
    rounds(&shop, address, &listener, pace::amount(2000))?;
    settle(&shop)?;
    let after = holdings(&shop)?;
    for ((files, kib), (files_before, kib_before)) in after.iter().zip(&before) {
        // Pipes are kept for the next connection: some for each thread.
        ensure!(
            *files <= files_before + 300,
            "{files_before} open files became {files}"
        );
        ensure!(
            *kib <= kib_before + 6 * 1024,
            "{kib_before} KiB became {kib}"
        );
    }
    Ok(())
}

fn rounds(shop: &Shop<'_>, to: SocketAddr, listener: &TcpListener, count: usize) -> Result<()> {
    for number in 0..count {
        let mut pair = Pair::open(&shop.customer, to, listener)
            .with_context(|| format!("connection {number}"))?;
        pair.talk()?;
        match number % 4 {
            0 => drop((pair.client, pair.server)),
            1 => drop((pair.server, pair.client)),
            2 => pair::reset(pair.client)?,
            _ => pair::reset(pair.server)?,
        }
    }
    Ok(())
}

/// Waits until the agents have no connection any more.
fn settle(shop: &Shop<'_>) -> Result<()> {
    for node in NodeName::ALL {
        let agent = shop.agents.on(node);
        sealane_harness::until("every connection to end", SOON * 2, || {
            Ok(agent.connections()?.is_empty().then_some(()))
        })?;
    }
    // Threads end their work on what has just ended.
    thread::sleep(Duration::from_millis(200));
    Ok(())
}

fn holdings(shop: &Shop<'_>) -> Result<Vec<(usize, u64)>> {
    NodeName::ALL
        .into_iter()
        .map(|node| {
            let agent = shop.agents.on(node);
            Ok((agent.open_files()?, agent.rss_kib()?))
        })
        .collect()
}
