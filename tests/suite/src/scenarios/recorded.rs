//! Packets as `sealane capture` writes them.

use std::{fs, os::unix::fs::MetadataExt as _, path::PathBuf};

use anyhow::{Context, Result, ensure};
use rustix::process::Signal;
use sealane_harness::{
    apps::dissect,
    process::{Output, Process},
    wait::until_true,
};
use serde_json::Value;

use super::attest::PORT;
use crate::{
    pair::Pair,
    stage::{SOON, Shop, Stage},
};

const WORD: [u8; 16] = *b"once upon a time";

/// The wire, for tshark: framing, identities, and nothing of what was said.
pub fn on_the_wire(stage: &Stage<'_>) -> Result<()> {
    let shop = stage.shop("STRICT")?;
    let listener = shop.web.listen(PORT)?;
    let mut recording = Recording::start(&shop, &["host", &customer(&shop), "and", "tcp"])?;
    let mut pair = Pair::open(&shop.customer, shop.web_address(PORT), &listener)?;
    let proven = format!(
        "client {}, server {}",
        shop.customer.identity(),
        shop.web.identity()
    );
    until_true("the identities in the file", SOON, || {
        pair.say(WORD)?;
        Ok(has(&recording.bytes()?, proven.as_bytes()))
    })?;
    drop(pair);
    let told = recording.stop()?;
    ensure!(told.stderr.contains("none lost"), "{}", told.describe());
    let bytes = recording.bytes()?;
    ensure!(has(&bytes, b"shop/web"), "whose packets it has");
    ensure!(!has(&bytes, &WORD), "what was said is on the wire");
    ensure!(
        fs::metadata(&recording.file)?.mode() & 0o077 == 0,
        "others may read it"
    );
    let dissected = dissect(shop.world(), &recording.file, PORT)?;
    let [(client, seen)] = dissected.iter().collect::<Vec<_>>()[..] else {
        anyhow::bail!("one connection is {dissected:?}");
    };
    ensure!(client.ip() == shop.customer.ip(stage.family), "{client}");
    ensure!(
        seen.client_hello && seen.server_hello && seen.records > 4,
        "{seen:?}"
    );
    Ok(())
}

/// What the agent and the application exchange, only for who says so, and not without a word in the log.
pub fn in_clear(stage: &Stage<'_>) -> Result<()> {
    let shop = stage.shop("STRICT")?;
    let listener = shop.web.listen(PORT)?;
    let mut recording = Recording::start(&shop, &["--plaintext", "port", &PORT.to_string()])?;
    let mut pair = Pair::open(&shop.customer, shop.web_address(PORT), &listener)?;
    until_true("what is said, in the file", SOON, || {
        pair.say(WORD)?;
        Ok(has(&recording.bytes()?, &WORD))
    })?;
    recording.stop()?;
    let log = shop.agents.b.log()?;
    ensure!(
        log.contains("packets are recorded") && log.contains("plaintext"),
        "{log}"
    );
    Ok(())
}

/// Lines for people and programs, and what isn't recorded at all.
pub fn in_lines(stage: &Stage<'_>) -> Result<()> {
    let shop = stage.shop("STRICT")?;
    let listener = shop.web.listen(PORT)?;
    let mut lines = shop
        .agents
        .b
        .operate(&["capture", "shop/web", "-o", "json", "-c", "3", "tcp"])?;
    let mut pair = Pair::open(&shop.customer, shop.web_address(PORT), &listener)?;
    until_true("three packets", SOON, || {
        pair.say(WORD)?;
        lines.ended()
    })?;
    let told = lines.wait(SOON)?;
    let packets = told.stdout.lines().map(serde_json::from_str::<Value>);
    let packets = packets
        .collect::<Result<Vec<_>, _>>()
        .with_context(|| told.describe())?;
    ensure!(
        packets.len() == 3 && packets.iter().all(|p| p["protocol"] == "tcp"),
        "{packets:?}"
    );
    for (arguments, part) in [
        (["shop/nobody", "tcp"], "no pod"),
        (["shop/web", "nonsense"], "not understood"),
        (["shop/web", "--snaplen=7"], "256"),
    ] {
        let refused = shop
            .agents
            .b
            .operator(&[&["capture"][..], &arguments].concat())?;
        let as_expected = refused.code() == Some(2) && refused.stderr.contains(part);
        ensure!(as_expected, "{}", refused.describe());
    }
    Ok(())
}

fn customer(shop: &Shop<'_>) -> String {
    shop.customer.ip(shop.family()).to_string()
}

fn has(bytes: &[u8], part: &[u8]) -> bool {
    bytes.windows(part.len()).any(|window| window == part)
}

/// Into a file, of the pod `web`.
struct Recording {
    process: Process,
    file: PathBuf,
}

impl Recording {
    /// Returns when packets are recorded.
    fn start(shop: &Shop<'_>, arguments: &[&str]) -> Result<Self> {
        let file = shop.world().scratch("recorded")?.join("web.pcapng");
        let path = file.to_string_lossy();
        let whose = ["capture", "shop/web", "-w", &path];
        let process = shop.agents.b.operate(&[&whose[..], arguments].concat())?;
        let mut recording = Self {
            process,
            file: file.clone(),
        };
        until_true("the file's beginning", SOON, || {
            recording.process.still_runs()?;
            Ok(fs::metadata(&file).is_ok_and(|file| file.len() > 0))
        })?;
        Ok(recording)
    }

    fn bytes(&self) -> Result<Vec<u8>> {
        Ok(fs::read(&self.file)?)
    }

    fn stop(&mut self) -> Result<Output> {
        self.process.signal(Signal::INT)?;
        self.process.wait(SOON)?.success()
    }
}
