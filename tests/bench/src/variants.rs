//! The variants: ways from a client to a server, each between two pods of a world of its own.
//!
//! The worlds are alike (same bridge, same addresses), so the network is the same for all. Says what a variant
//! really is; does not measure.

mod certificates;
mod haproxy;
mod mesh;
mod pair;
mod stunnel;

use std::{net::SocketAddr, path::PathBuf, sync::Arc, time::Duration};

use anyhow::{Context, Result, anyhow, bail};
use sealane_harness::{NodeName, Pod, PodSpec, Run, World, until, world::Agents};

use crate::{
    cost::Accounts,
    load::{Job, Load, Purpose},
    plan::{DIRECT, Plan},
};

/// Those that need no definition on the command line, in the order of the table.
pub const NAMES: [&str; 9] = [
    DIRECT,
    "plain",
    "plain-unwatched",
    "userspace-tls",
    "userspace-tls-unwatched",
    "ktls-copy",
    "ktls-splice",
    "stunnel",
    "haproxy",
];

/// Where the server is, behind whatever is in front of it.
const SERVER_PORT: u16 = 7003;
const START: Duration = Duration::from_secs(20);

/// A way from a client to a server.
pub struct Variant {
    pub client: Load,
    /// Where the client connects.
    pub to: SocketAddr,
    pub accounts: Accounts,
    // In the order in which they have to go.
    _server: Load,
    between: Between,
    _site: Site,
}

/// What is known of a variant.
#[derive(Clone, Debug, Default)]
pub struct Facts {
    pub about: String,
    /// How the agents move the bytes, as they say themselves.
    pub transport: Option<String>,
    pub cipher: Option<String>,
}

/// What has become of the attempt to build a variant.
pub enum Built {
    Ready(Box<Variant>, Facts),
    /// This machine doesn't have what it needs.
    Unavailable(String),
}

/// A world with the two pods.
struct Site {
    client: Pod,
    server: Pod,
    world: World,
}

/// What is between client and server.
enum Between {
    Nothing,
    Agents(Box<Agents>),
    Pair(#[expect(dead_code, reason = "ends the proxies when dropped")] pair::Proxies),
}

/// Builds what the plan includes. A variant that can't be built stays in the list with the error.
pub fn build(run: &Arc<Run>, plan: &Plan) -> Vec<(String, Result<Built>)> {
    let own = NAMES.iter().map(|name| (*name).to_owned());
    let foreign = plan.pairs.iter().map(|pair| pair.name.clone());
    own.chain(foreign)
        .filter(|name| plan.includes(name))
        .map(|name| {
            eprintln!("[bench] setting up {name}");
            let built = build_one(run, plan, &name);
            (name, built)
        })
        .collect()
}

fn build_one(run: &Arc<Run>, plan: &Plan, name: &str) -> Result<Built> {
    let foreign = plan.pairs.iter().find(|pair| pair.name == name);
    match (name, foreign) {
        (DIRECT, _) => direct(run),
        ("stunnel", None) => pair::build(run, stunnel::start),
        ("haproxy", None) => pair::build(run, haproxy::start),
        (_, Some(foreign)) => pair::build(run, |site| pair::foreign(site, foreign).map(Some)),
        (_, None) => mesh::build(run, name),
    }
}

fn direct(run: &Arc<Run>) -> Result<Built> {
    let site = Site::outside_the_mesh(run)?;
    let facts = Facts {
        about: "TCP, nothing in the way".into(),
        ..Facts::default()
    };
    let address = site.server_address();
    let mut variant = Variant::open(site, Between::Nothing, (address, address), Vec::new())?;
    variant.client.does(&Job::Close)?;
    Ok(Built::Ready(Box::new(variant), facts))
}

impl Site {
    fn outside_the_mesh(run: &Arc<Run>) -> Result<Self> {
        let world = World::new(run)?;
        Ok(Self {
            client: world.pod(PodSpec::stranger(NodeName::A, "customer"))?,
            server: world.pod(PodSpec::stranger(NodeName::B, "web"))?,
            world,
        })
    }

    /// The server's, as others see it.
    fn server_address(&self) -> SocketAddr {
        (self.server.v4, SERVER_PORT).into()
    }
}

impl Variant {
    /// Starts client and server around what is `between` and waits until a connection comes through, which
    /// stays open. `addresses`: where the client connects, where the server listens.
    fn open(
        site: Site,
        between: Between,
        addresses: (SocketAddr, SocketAddr),
        proxies: Vec<PathBuf>,
    ) -> Result<Self> {
        let (to, at) = addresses;
        let mut server = Load::start(&site.server)?;
        server.serve(at).context("starting the server")?;
        let mut client = Load::start(&site.client)?;
        come_through(&mut client, to)
            .map_err(|error| anyhow!("{error:#}\n{}", site.world.evidence()))?;
        let groups = [&site.client, &site.server].map(|pod| pod.cgroup.path().to_owned());
        let accounts = Accounts {
            proxies,
            load: groups.into(),
            machine: site.world.run.cgroup_mount().to_owned(),
        };
        Ok(Self {
            client,
            to,
            accounts,
            _server: server,
            between,
            _site: site,
        })
    }
}

fn come_through(client: &mut Load, to: SocketAddr) -> Result<()> {
    let job = Job::Open {
        to,
        connections: 1,
        purpose: Purpose::Talk,
    };
    let mut last = None;
    let through = until("a connection to come through", START, || {
        match client.does(&job) {
            Ok(_) => return Ok(Some(())),
            Err(error) => last = Some(error),
        }
        Ok(None)
    });
    match (through, last) {
        (Err(error), Some(last)) => bail!("{error:#}: {last:#}"),
        (through, _) => through,
    }
}
