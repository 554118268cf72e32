//! Agents that end in the middle of a change of the mode: the next one holds what the documents say.

use std::{
    net::TcpListener,
    sync::atomic::{AtomicBool, Ordering},
    thread,
    time::Duration,
};

use anyhow::{Context, Result, anyhow, ensure};
use sealane_harness::{Agent, NodeName, Pod, World, pace, until, world::Agents};

use super::{
    policy::{OBEY, PORT, ask},
    toggles::{Mode, project, speaking},
};
use crate::{
    pair::{self, Pair},
    stage::{Shop, Stage, WEB},
};

const FLAGS: [&str; 4] = ["--lease", "2s", "--drain", "500ms"];
const ROUNDS: usize = 12;
/// An agent ends at some moment from a change until it is long in force.
const MOMENTS: Duration = Duration::from_millis(80);
/// From a crash until the kernel has noticed, with some room.
const LAPSE: Duration = Duration::from_secs(5);

/// SIGKILL and SIGTERM of either agent and of both, at any moment around a swap. What is STRICT for an agent stays so
/// while there is none.
pub fn restart(stage: &Stage<'_>) -> Result<()> {
    let mut shop = stage.shop_with("PERMISSIVE", &FLAGS)?;
    let _nginx = shop.nginx()?;
    let listener = shop.web.listen(PORT)?;
    for round in 0..pace::amount(ROUNDS).max(6) {
        let strict = round % 2 == 0;
        let ended = End {
            nodes: [&[NodeName::B][..], &[NodeName::A], &NodeName::ALL][round / 2 % 3],
            crash: fastrand::bool(),
            moment: MOMENTS.mul_f64(fastrand::f64()),
        };
        change(&mut shop, &listener, strict, &ended)
            .with_context(|| format!("round {round}, strict {strict}, {ended:?}"))?;
    }
    while_down(&mut shop, &listener).context("a change that no agent has seen")
}

/// Whose end, and how.
#[derive(Debug)]
struct End {
    nodes: &'static [NodeName],
    crash: bool,
    /// After the change.
    moment: Duration,
}

impl End {
    fn play(&self, shop: &mut Shop<'_>) -> Result<()> {
        let Shop {
            stage,
            agents,
            customer,
            web,
            ..
        } = shop;
        self.replace(stage.world, agents, &[customer, web])
    }

    /// Ends agents and starts others in their places.
    fn replace(&self, world: &World, agents: &mut Agents, pods: &[&Pod]) -> Result<()> {
        thread::sleep(self.moment);
        for node in self.nodes {
            let agent = agents.on_mut(*node);
            if self.crash {
                agent.kill()?;
            } else {
                agent.begin_stop()?;
                agent.wait_end()?;
            }
        }
        start(world, agents, self.nodes, pods)
    }
}

fn start(world: &World, agents: &mut Agents, nodes: &[NodeName], pods: &[&Pod]) -> Result<()> {
    for node in nodes {
        *agents.on_mut(*node) = Agent::start(world, *node, &FLAGS)?;
    }
    for node in nodes {
        agents.on_mut(*node).wait_ready()?;
    }
    pods.iter()
        .try_for_each(|pod| agents.on(pod.spec.node).wait_enrolled(pod, true))
}

/// To STRICT with plaintext open, or from it with plaintext at the door.
fn change(shop: &mut Shop<'_>, listener: &TcpListener, strict: bool, ended: &End) -> Result<()> {
    if !strict {
        project(shop, Mode::Permissive)?;
        ended.play(shop)?;
        return expect_documents(shop, listener, Mode::Permissive);
    }
    let mut plain = speaking(shop, listener)?;
    project(shop, Mode::Strict)?;
    ended.play(shop)?;
    expect_cut(shop, &mut plain)?;
    expect_documents(shop, listener, Mode::Strict)?;
    stays_strict(shop, ended)?;
    expect_documents(shop, listener, Mode::Strict)
}

/// The documents go on to say STRICT while agents end and others begin.
fn stays_strict(shop: &mut Shop<'_>, ended: &End) -> Result<()> {
    let address = shop.web_address(WEB);
    let done = AtomicBool::new(false);
    let Shop {
        stage,
        agents,
        customer,
        web,
        stranger,
    } = shop;
    thread::scope(|scope| {
        let asking = scope.spawn(|| {
            while !done.load(Ordering::SeqCst) {
                ensure!(ask(stranger, address).is_err(), "served in plaintext");
            }
            Ok(())
        });
        let replaced = ended.replace(stage.world, agents, &[customer, web]);
        done.store(true, Ordering::SeqCst);
        asking.join().map_err(|_| anyhow!("panicked"))??;
        replaced
    })
}

/// No agent sees the change, and plaintext has begun past them.
fn while_down(shop: &mut Shop<'_>, listener: &TcpListener) -> Result<()> {
    shop.agents.b.kill()?;
    until("plaintext to go directly", LAPSE, || {
        Ok(ask(&shop.stranger, shop.web_address(WEB)).ok())
    })?;
    let mut direct = speaking(shop, listener)?;
    project(shop, Mode::Strict)?;
    let (world, pods) = (shop.stage.world, [&shop.customer, &shop.web]);
    start(world, &mut shop.agents, &[NodeName::B], &pods)?;
    expect_cut(shop, &mut direct)?;
    expect_documents(shop, listener, Mode::Strict)
}

/// Within a second after the change is seen.
fn expect_cut(shop: &Shop<'_>, plain: &mut [Pair]) -> Result<()> {
    shop.agents.b.wait_mode(&shop.web, Mode::Strict.name())?;
    for pair in plain {
        for end in [&mut pair.client, &mut pair.server] {
            end.set_read_timeout(Some(pace::span(OBEY)))?;
            pair::expect_over(end).context("plaintext from before")?;
        }
    }
    Ok(())
}

fn expect_documents(shop: &Shop<'_>, listener: &TcpListener, mode: Mode) -> Result<()> {
    shop.agents.b.wait_mode(&shop.web, mode.name())?;
    let plaintext = ask(&shop.stranger, shop.web_address(WEB));
    ensure!(
        plaintext.is_ok() == (mode == Mode::Permissive),
        "plaintext: {plaintext:?}"
    );
    ask(&shop.customer, shop.web_address(WEB)).context("the mesh")?;
    Pair::open(&shop.customer, shop.web_address(PORT), listener)?.talk()
}
