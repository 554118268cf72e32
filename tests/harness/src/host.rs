//! A process of a node: on the node's network, in a cgroup of its own choice.

use std::{
    io,
    net::{Ipv6Addr, SocketAddr, TcpListener, TcpStream},
};

use anyhow::Result;

use crate::{cgroup::Cgroup, pod::NodeName, sockets::Sockets, world::World};

/// The process. Dropping it ends it.
#[derive(Debug)]
pub struct HostProcess {
    sockets: Sockets,
    pub cgroup: Cgroup,
}

impl HostProcess {
    /// Starts it in a new cgroup below that of the node.
    ///
    /// # Errors
    /// When the cgroup or the process can't be made.
    pub fn start(world: &World, node: NodeName, cgroup: &str) -> Result<Self> {
        let node = world.node(node);
        let cgroup = Cgroup::create(node.cgroup.path(), cgroup)?;
        let sockets = Sockets::start(&node.netns.path(), cgroup.path(), &world.logs)?;
        Ok(Self { sockets, cgroup })
    }

    /// # Errors
    /// What `connect(2)` said.
    pub fn connect(&self, to: SocketAddr) -> io::Result<TcpStream> {
        self.sockets.connect(to, None)
    }

    /// Listens on `port` of all of the node's addresses.
    ///
    /// # Errors
    /// What `bind(2)` or `listen(2)` said.
    pub fn listen(&self, port: u16) -> io::Result<TcpListener> {
        self.sockets.listen((Ipv6Addr::UNSPECIFIED, port).into())
    }
}
