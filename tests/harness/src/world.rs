//! A private cluster: a bridge, two nodes, their pods, and the objects that describe them.
//!
//! Addresses are the same in every world: nothing of one can be reached from another. Dropping it removes
//! everything; pods and agents must go first, as locals of a test do.

use std::{
    fs,
    net::{IpAddr, Ipv4Addr, Ipv6Addr},
    path::{Path, PathBuf},
    sync::{
        Arc,
        atomic::{AtomicU8, Ordering},
    },
};

use anyhow::{Context, Result};

use crate::{
    agent::Agent,
    cgroup::Cgroup,
    hosts::HostName,
    isolation::Run,
    netns::Netns,
    objects::{self, Objects},
    pod::{Family, NodeName, Pod, PodSpec},
};

/// A node: where its agent runs and what that is told.
#[derive(Debug)]
pub struct Node {
    pub name: NodeName,
    pub netns: Netns,
    /// Holds the pods' cgroups and the agent's.
    pub cgroup: Cgroup,
    pub agent_cgroup: PathBuf,
    pub source: PathBuf,
    pub bpffs: PathBuf,
    pub socket: PathBuf,
    /// The node's own addresses on the underlay.
    pub v4: Ipv4Addr,
    pub v6: Ipv6Addr,
}

/// The cluster.
#[derive(Debug)]
pub struct World {
    pub run: Arc<Run>,
    pub objects: Objects,
    pub nodes: [Node; 2],
    pub ca: PathBuf,
    pub logs: PathBuf,
    name: String,
    directory: PathBuf,
    bpffs: PathBuf,
    /// What the nodes are connected to, and a host of its own.
    pub underlay: Netns,
    _cgroup: Cgroup,
    next_host: AtomicU8,
}

impl World {
    /// Builds the network, both nodes and the namespaces `shop` (mesh), `wild` (outside) and `istio-system`.
    ///
    /// # Errors
    /// When a part of it can't be made.
    pub fn new(run: &Arc<Run>) -> Result<Self> {
        let name = run.unique_name();
        let directory = run.directory().join(&name);
        let bpffs = Path::new("/sys/fs/bpf").join(&name);
        let [logs, staging, ca] = ["logs", "staging", "ca"].map(|part| directory.join(part));
        for path in [&logs, &staging, &bpffs] {
            fs::create_dir_all(path).with_context(|| format!("making {}", path.display()))?;
        }
        let underlay = underlay(&format!("{name}-net"))?;
        let cgroup = Cgroup::create(run.cgroup_mount(), &name)?;
        let node = |node| Node::new(node, &name, &directory, &bpffs, cgroup.path(), &underlay);
        let nodes = [node(NodeName::A)?, node(NodeName::B)?];
        let sources = nodes.iter().map(|node| node.source.clone()).collect();
        let objects = Objects::new(sources, staging);
        objects.namespace(objects::MESH, true)?;
        objects.namespace(objects::OUTSIDE, false)?;
        objects.namespace(objects::ROOT, false)?;
        Ok(Self {
            run: Arc::clone(run),
            objects,
            nodes,
            ca,
            logs,
            name,
            directory,
            bpffs,
            underlay,
            _cgroup: cgroup,
            next_host: AtomicU8::new(10),
        })
    }

    /// One that nobody else has.
    #[must_use]
    pub fn host_name(&self) -> HostName {
        HostName::new(&self.run)
    }

    #[must_use]
    pub fn node(&self, name: NodeName) -> &Node {
        match name {
            NodeName::A => &self.nodes[0],
            NodeName::B => &self.nodes[1],
        }
    }

    /// Makes a pod and tells the agents of it.
    ///
    /// # Errors
    /// When it can't be made.
    pub fn pod(&self, spec: PodSpec) -> Result<Pod> {
        let pod = self.unpublished_pod(spec)?;
        self.objects.pod(&pod.manifest())?;
        Ok(pod)
    }

    /// Makes a pod that no agent knows of.
    ///
    /// # Errors
    /// When it can't be made.
    pub fn unpublished_pod(&self, spec: PodSpec) -> Result<Pod> {
        let host = self.next_host();
        let cgroup = format!("{host}-{}", spec.name);
        self.sandbox(spec, host, &cgroup)
    }

    /// [`World::unpublished_pod`] with an address and a cgroup, below its node's, of the caller's choice.
    ///
    /// # Errors
    /// When it can't be made.
    pub fn sandbox(&self, spec: PodSpec, host: u8, cgroup: &str) -> Result<Pod> {
        let number = self.objects.next.fetch_add(1, Ordering::Relaxed);
        let addresses = addresses(spec.node, host);
        let name = format!("{}-{number}-{}", self.name, spec.name);
        let netns = attached(&name, &self.underlay, &format!("p{number}"), addresses)?;
        let cgroup = Cgroup::create(self.node(spec.node).cgroup.path(), cgroup)?;
        Ok(Pod::new(spec, addresses, cgroup, netns, self.logs.clone()))
    }

    /// A host number that no pod has had.
    #[must_use]
    pub fn next_host(&self) -> u8 {
        self.next_host.fetch_add(1, Ordering::Relaxed)
    }

    /// The address of [`World::underlay`] as a host.
    #[must_use]
    pub fn underlay_address(family: Family) -> IpAddr {
        match family {
            Family::V4 => Ipv4Addr::new(10, 42, 0, 1).into(),
            Family::V6 => Ipv6Addr::new(0xfd00, 0x42, 0, 0, 0, 0, 0, 1).into(),
        }
    }

    /// A virtual address of a service; nothing in the network answers there.
    #[must_use]
    pub fn virtual_address(family: Family, index: u8) -> IpAddr {
        match family {
            Family::V4 => Ipv4Addr::new(10, 96, 0, index).into(),
            Family::V6 => Ipv6Addr::new(0xfd00, 0x96, 0, 0, 0, 0, 0, index.into()).into(),
        }
    }

    /// Starts both agents and waits until they are ready.
    ///
    /// # Errors
    /// When one doesn't start or doesn't become ready.
    pub fn start_agents(&self, flags: &[&str]) -> Result<Agents> {
        let a = Agent::start(self, NodeName::A, flags)?;
        let b = Agent::start(self, NodeName::B, flags)?;
        let mut agents = Agents { a, b };
        agents.a.wait_ready()?;
        agents.b.wait_ready()?;
        Ok(agents)
    }

    /// A directory for a program's files.
    ///
    /// # Errors
    /// When it can't be made.
    pub fn scratch(&self, purpose: &str) -> Result<PathBuf> {
        let number = self.objects.next.fetch_add(1, Ordering::Relaxed);
        let path = self.directory.join(format!("{purpose}-{number}"));
        fs::create_dir_all(&path)?;
        Ok(path)
    }

    /// The ends of all output of this world's programs, for a failure's report.
    #[must_use]
    pub fn evidence(&self) -> String {
        crate::process::tails(&self.logs)
    }
}

impl Drop for World {
    fn drop(&mut self) {
        for directory in [&self.bpffs, &self.directory] {
            if let Err(error) = fs::remove_dir_all(directory) {
                eprintln!("{} stays: {error}", directory.display());
            }
        }
    }
}

/// The agents of both nodes.
#[derive(Debug)]
pub struct Agents {
    pub a: Agent,
    pub b: Agent,
}

impl Agents {
    #[must_use]
    pub fn on(&self, node: NodeName) -> &Agent {
        match node {
            NodeName::A => &self.a,
            NodeName::B => &self.b,
        }
    }

    /// The same, to end one or to put another in its place.
    pub fn on_mut(&mut self, node: NodeName) -> &mut Agent {
        match node {
            NodeName::A => &mut self.a,
            NodeName::B => &mut self.b,
        }
    }
}

impl Node {
    fn new(
        name: NodeName,
        world: &str,
        directory: &Path,
        bpffs: &Path,
        cgroup: &Path,
        underlay: &Netns,
    ) -> Result<Self> {
        let label = name.name();
        let (v4, v6) = addresses(name, 1);
        let netns = attached(&format!("{world}-{label}"), underlay, label, (v4, v6))?;
        let cgroup = Cgroup::create(cgroup, label)?;
        let agent_cgroup = cgroup.path().join("agent");
        let source = directory.join(format!("{label}-source"));
        fs::create_dir(&source)?;
        fs::create_dir(&agent_cgroup)?;
        Ok(Self {
            name,
            netns,
            cgroup,
            agent_cgroup,
            source,
            bpffs: bpffs.join(label),
            socket: directory.join(format!("{label}.sock")),
            v4,
            v6,
        })
    }
}

/// Its bridge has an address of its own: else it takes the lowest of its ports', and another when a pod comes that has a
/// lower one; who talks to it would then do so in vain until its neighbour table is renewed.
fn underlay(name: &str) -> Result<Netns> {
    let netns = Netns::create(name)?;
    netns.ip("link set lo up\n\
         link add br0 address 02:00:00:2a:00:01 type bridge forward_delay 0 mcast_snooping 0\n\
         link set br0 up\n\
         addr add 10.42.0.1/16 dev br0\n\
         addr add fd00:42::1/64 dev br0 nodad\n")?;
    Ok(netns)
}

fn addresses(node: NodeName, host: u8) -> (Ipv4Addr, Ipv6Addr) {
    let network = match node {
        NodeName::A => 1,
        NodeName::B => 2,
    };
    (
        Ipv4Addr::new(10, 42, network, host),
        Ipv6Addr::new(0xfd00, 0x42, 0, 0, 0, 0, network.into(), host.into()),
    )
}

/// Makes a namespace that is connected to the underlay. Virtual addresses of services get a route through it, which
/// is what a client needs before it may try to connect. Who gets an address after another has its hardware address, too:
/// neighbours would go on sending to the other's for a while.
fn attached(
    name: &str,
    underlay: &Netns,
    port: &str,
    (v4, v6): (Ipv4Addr, Ipv6Addr),
) -> Result<Netns> {
    let [a, b, c, d] = v4.octets();
    let cable = format!(
        "link add {port} type veth peer name eth0 address 02:00:{a:02x}:{b:02x}:{c:02x}:{d:02x} netns {name}\n\
         link set {port} master br0 up\n"
    );
    let netns = underlay.create_another(name, &cable)?;
    netns.ip(&format!(
        "link set lo up\n\
         link set eth0 up\n\
         addr add {v4}/16 dev eth0\n\
         addr add {v6}/64 dev eth0 nodad\n\
         route add default via 10.42.0.1\n\
         route add default via fd00:42::1\n"
    ))?;
    Ok(netns)
}
