//! Many connections at once.

use std::io::{Read, Write};

use anyhow::{Context, Result, anyhow, ensure};
use rustix::event::{PollFd, PollFlags, poll};
use sealane_harness::{NodeName, kernel, pace, sockets::PATIENCE};
use socket2::Socket;

use crate::{
    pair::{self, Pair},
    stage::Stage,
};

const PORT: u16 = 9000;

/// A thousand connects in flight at once: every one gets its own answer.
pub fn thousand(stage: &Stage<'_>) -> Result<()> {
    let connections = u32::try_from(pace::amount(1000))?;
    let shop = stage.shop("STRICT")?;
    let listener = shop.web.listen(PORT)?;
    let mut clients = Vec::new();
    for _ in 0..connections {
        clients.push(shop.customer.start_connect(shop.web_address(PORT))?);
    }
    for (number, client) in (0..connections).zip(&mut clients) {
        wait_connected(client).with_context(|| format!("connection {number}"))?;
        client.write_all(&number.to_be_bytes())?;
    }
    let mut servers = Vec::new();
    for _ in 0..connections {
        let (mut server, _) = pair::accept(&listener)?;
        let mut number = [0; 4];
        server.read_exact(&mut number)?;
        server.write_all(&number)?;
        servers.push(server);
    }
    for (number, client) in (0..connections).zip(&mut clients) {
        let mut answer = [0; 4];
        client
            .read_exact(&mut answer)
            .with_context(|| format!("connection {number}"))?;
        ensure!(answer == number.to_be_bytes(), "{number} got {answer:?}");
    }
    Ok(())
}

/// Waits until a connect in progress is done, then makes the socket a blocking one.
fn wait_connected(client: &Socket) -> Result<()> {
    let timeout = pace::span(PATIENCE).try_into()?;
    let mut ready = [PollFd::new(client, PollFlags::OUT)];
    poll(&mut ready, Some(&timeout))?;
    ensure!(!ready[0].revents().is_empty(), "not connected in time");
    if let Some(error) = client.take_error()? {
        return Err(error.into());
    }
    client.set_nonblocking(false)?;
    client.set_read_timeout(Some(pace::span(PATIENCE)))?;
    Ok(())
}

/// What an idle connection over mutual TLS costs an agent.
pub fn idle_memory(stage: &Stage<'_>) -> Result<()> {
    // With the keys in the kernel a connection is two sockets and two counters; else it has its keys as well.
    let most = if kernel::has_tls() { 1536 } else { 5120 };
    let (warm, connections) = (50, pace::amount(4000).clamp(1000, 2000));
    let shop = stage.shop_with("STRICT", &["--log-level", "info,sealane::access=warn"])?;
    let listener = shop.web.listen(PORT)?;
    let open = || -> Result<Pair> {
        let mut pair = Pair::open(&shop.customer, shop.web_address(PORT), &listener)?;
        pair.talk()?;
        Ok(pair)
    };
    let mut pairs = Vec::new();
    for _ in 0..warm {
        pairs.push(open()?);
    }
    let before = NodeName::ALL.map(|node| shop.agents.on(node).own_kib());
    for _ in 0..connections {
        pairs.push(open()?);
    }
    let mut each = [0; 2];
    for ((node, before), each) in NodeName::ALL.into_iter().zip(&before).zip(&mut each) {
        let grown = shop
            .agents
            .on(node)
            .own_kib()?
            .saturating_sub(*before.as_ref().map_err(|e| anyhow!("{e}"))?);
        *each = grown * 1024 / u64::try_from(connections)?;
    }
    ensure!(
        each.iter().all(|each| *each < most),
        "bytes each on nodes A and B: {each:?}"
    );
    for (number, pair) in pairs.iter_mut().enumerate() {
        pair.talk()
            .with_context(|| format!("connection {number}"))?;
    }
    Ok(())
}
