//! A pair of proxies that isn't ours: one in the client's pod, one in the server's.

use std::{
    fs,
    net::{Ipv4Addr, SocketAddr},
    path::{Path, PathBuf},
    sync::Arc,
};

use anyhow::{Context, Result};
use sealane_harness::{NodeName, Pod, Process, Run, cgroup::Cgroup, enter};

use super::{Between, Built, Facts, Site, Variant, certificates::Certificates};
use crate::plan::ForeignPair;

/// What the agents agree on, too: these programs' own first choice would be AES-256.
pub(super) const CIPHER: &str = "TLS_AES_128_GCM_SHA256";

/// Where the client connects, and where the other side's server is, unless the command line says.
pub(super) const CLIENT_AT: SocketAddr = loopback(7001);
pub(super) const SERVER_AT: SocketAddr = loopback(super::SERVER_PORT);
/// Of the proxy in front of the server.
const TLS_PORT: u16 = 7002;

const DIRECTORIES: [&str; 6] = [
    "/usr/local/sbin",
    "/usr/local/bin",
    "/usr/sbin",
    "/usr/bin",
    "/sbin",
    "/bin",
];

const fn loopback(port: u16) -> SocketAddr {
    SocketAddr::new(std::net::IpAddr::V4(Ipv4Addr::LOCALHOST), port)
}

/// Running proxies; dropping them ends them.
pub(super) struct Proxies {
    facts: Facts,
    client: SocketAddr,
    server: SocketAddr,
    _processes: Vec<Process>,
    groups: Vec<Cgroup>,
}

/// In front of whom a proxy is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Side {
    Client,
    Server,
}

/// Builds the variant around what `start` starts, `None` when that isn't installed.
pub(super) fn build(
    run: &Arc<Run>,
    start: impl FnOnce(&Site) -> Result<Option<Proxies>>,
) -> Result<Built> {
    let site = Site::outside_the_mesh(run)?;
    let Some(proxies) = start(&site)? else {
        return Ok(Built::Unavailable("not installed".into()));
    };
    let facts = proxies.facts.clone();
    let groups = proxies
        .groups
        .iter()
        .map(|group| group.path().to_owned())
        .collect();
    let addresses = (proxies.client, proxies.server);
    let mut variant = Variant::open(site, Between::Pair(proxies), addresses, groups)?;
    variant.client.does(&crate::load::Job::Close)?;
    Ok(Built::Ready(Box::new(variant), facts))
}

/// A pair that is made of one program, configured by a file for each side.
pub(super) struct Program<'a> {
    pub(super) name: &'a str,
    pub(super) path: &'a Path,
    pub(super) about: String,
    /// The configuration of a side, given the certificates' directory and the address between the proxies.
    pub(super) configure: &'a dyn Fn(Side, &Path, SocketAddr) -> String,
    /// What goes before the file's name.
    pub(super) arguments: &'a [&'a str],
}

impl Program<'_> {
    pub(super) fn start(self, site: &Site) -> Result<Proxies> {
        let certificates = Certificates::issue(site)?;
        let between = SocketAddr::from((site.server.v4, TLS_PORT));
        let directory = site.world.scratch(self.name)?;
        let (mut processes, mut groups) = (Vec::new(), Vec::new());
        for side in [Side::Client, Side::Server] {
            let (pod, name) = side.place(site, self.name);
            let file = directory.join(&name);
            fs::write(
                &file,
                (self.configure)(side, certificates.directory(), between),
            )?;
            let group = Cgroup::create(site.world.node(side.node()).cgroup.path(), &name)?;
            let program = self.path.to_string_lossy();
            let mut command =
                enter::command(Some(&pod.netns.path()), Some(group.path()), &program)?;
            command.args(self.arguments).arg(&file);
            processes.push(Process::spawn(&name, &site.world.logs, command)?);
            groups.push(group);
        }
        Ok(Proxies {
            facts: Facts {
                about: self.about,
                transport: None,
                cipher: Some(CIPHER.into()),
            },
            client: CLIENT_AT,
            server: SERVER_AT,
            _processes: processes,
            groups,
        })
    }
}

impl Side {
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Client => "client",
            Self::Server => "server",
        }
    }

    fn node(self) -> NodeName {
        match self {
            Self::Client => NodeName::A,
            Self::Server => NodeName::B,
        }
    }

    fn place<'a>(self, site: &'a Site, program: &str) -> (&'a Pod, String) {
        let pod = match self {
            Self::Client => &site.client,
            Self::Server => &site.server,
        };
        (pod, format!("{program}-{}", self.name()))
    }
}

/// Runs the command from the command line, both of whose proxies are on one account.
pub(super) fn foreign(site: &Site, pair: &ForeignPair) -> Result<Proxies> {
    let certificates = Certificates::issue(site)?;
    let group = Cgroup::create(site.world.node(NodeName::A).cgroup.path(), &pair.name)?;
    let netns = site.client.netns.path();
    let mut command = enter::command(Some(&netns), Some(group.path()), "/bin/sh")?;
    command.arg("-c").arg(&pair.start);
    command.env("CLIENT_NETNS", site.client.netns.name());
    command.env("SERVER_NETNS", site.server.netns.name());
    command.env("CLIENT_IP", site.client.v4.to_string());
    command.env("SERVER_IP", site.server.v4.to_string());
    command.env("CERTS", certificates.directory());
    let process = Process::spawn(&pair.name, &site.world.logs, command)?;
    Ok(Proxies {
        facts: Facts {
            about: format!("as given: {}", one_line(&pair.start.to_string_lossy())),
            ..Facts::default()
        },
        client: pair.client,
        server: pair.server,
        _processes: vec![process],
        groups: vec![group],
    })
}

fn one_line(text: &str) -> String {
    text.split_whitespace().collect::<Vec<_>>().join(" ")
}

/// A program where programs usually are; the first of the names that is there.
pub(super) fn find(names: &[&str]) -> Option<PathBuf> {
    let paths = names.iter().flat_map(|name| {
        DIRECTORIES
            .iter()
            .map(move |directory| Path::new(directory).join(name))
    });
    paths.into_iter().find(|path| path.is_file())
}

/// The number of threads of a proxy that has to be told.
pub(super) fn threads() -> Result<usize> {
    let threads = std::thread::available_parallelism().context("number of processors")?;
    Ok(threads.get())
}
