//! A pod: a network namespace on the underlay, a cgroup of its own, and what runs in them.

use std::{
    io,
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, TcpListener, TcpStream},
    path::PathBuf,
    process::Command,
    sync::OnceLock,
    time::Duration,
};

use anyhow::{Context, Result};
use socket2::Socket;

use crate::{
    cgroup::Cgroup,
    enter,
    netns::Netns,
    objects::PodManifest,
    process::{Output, Process},
    sockets::{PATIENCE, Sockets},
    wait::until_true,
};

/// The address family that a scenario runs over: every scenario runs over each.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Family {
    V4,
    V6,
}

impl Family {
    pub const ALL: [Self; 2] = [Self::V4, Self::V6];

    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::V4 => "v4",
            Self::V6 => "v6",
        }
    }

    #[must_use]
    pub fn loopback(self) -> IpAddr {
        match self {
            Self::V4 => Ipv4Addr::LOCALHOST.into(),
            Self::V6 => Ipv6Addr::LOCALHOST.into(),
        }
    }
}

/// The two nodes of every world.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NodeName {
    A,
    B,
}

impl NodeName {
    pub const ALL: [Self; 2] = [Self::A, Self::B];

    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::A => "node-a",
            Self::B => "node-b",
        }
    }
}

/// What a pod shall be.
#[derive(Clone, Debug)]
pub struct PodSpec {
    pub namespace: String,
    pub name: String,
    pub node: NodeName,
    /// Also the name of the service account; the label `app` when it starts without one of its own.
    pub app: String,
    /// `sealane.dev/inject` on the pod itself.
    pub inject: Option<bool>,
    /// Whether it carries the annotations that say where it lives.
    pub sandbox: bool,
    /// Named container ports.
    pub ports: Vec<(String, u16)>,
    /// More fields of its container, on clusters.
    pub container: serde_json::Map<String, serde_json::Value>,
}

impl PodSpec {
    /// A pod whose namespace decides whether it is in the mesh; `app` and service account are called as it is.
    #[must_use]
    pub fn new(node: NodeName, namespace: &str, name: &str) -> Self {
        Self {
            namespace: namespace.into(),
            name: name.into(),
            node,
            app: name.into(),
            inject: None,
            sandbox: true,
            ports: Vec::new(),
            container: serde_json::Map::new(),
        }
    }

    /// A pod in a namespace outside the mesh.
    #[must_use]
    pub fn stranger(node: NodeName, name: &str) -> Self {
        Self {
            sandbox: false,
            ..Self::new(node, crate::objects::OUTSIDE, name)
        }
    }

    #[must_use]
    pub fn app(mut self, app: &str) -> Self {
        app.clone_into(&mut self.app);
        self
    }

    #[must_use]
    pub fn port(mut self, name: &str, port: u16) -> Self {
        self.ports.push((name.into(), port));
        self
    }

    /// With a field of its container.
    #[must_use]
    pub fn container(mut self, field: &str, value: serde_json::Value) -> Self {
        self.container.insert(field.into(), value);
        self
    }
}

/// A pod. Dropping it kills what runs in it and removes it.
#[derive(Debug)]
pub struct Pod {
    pub spec: PodSpec,
    pub v4: Ipv4Addr,
    pub v6: Ipv6Addr,
    sockets: OnceLock<Sockets>,
    // Before the namespace: processes must be gone when the names go.
    pub cgroup: Cgroup,
    pub netns: Netns,
    pub(crate) logs: PathBuf,
}

impl Pod {
    pub(crate) fn new(
        spec: PodSpec,
        (v4, v6): (Ipv4Addr, Ipv6Addr),
        cgroup: Cgroup,
        netns: Netns,
        logs: PathBuf,
    ) -> Self {
        Self {
            spec,
            v4,
            v6,
            sockets: OnceLock::new(),
            cgroup,
            netns,
            logs,
        }
    }

    /// What the agents are told of it.
    #[must_use]
    pub fn manifest(&self) -> PodManifest {
        PodManifest {
            spec: self.spec.clone(),
            addresses: vec![self.v4.into(), self.v6.into()],
            netns: self.netns.path(),
            cgroup: self.cgroup.path().to_owned(),
        }
    }

    /// Its SPIFFE ID in the default trust domain.
    #[must_use]
    pub fn identity(&self) -> String {
        let PodSpec { namespace, app, .. } = &self.spec;
        format!("spiffe://cluster.local/ns/{namespace}/sa/{app}")
    }

    #[must_use]
    pub fn ip(&self, family: Family) -> IpAddr {
        match family {
            Family::V4 => self.v4.into(),
            Family::V6 => self.v6.into(),
        }
    }

    #[must_use]
    pub fn address(&self, family: Family, port: u16) -> SocketAddr {
        SocketAddr::new(self.ip(family), port)
    }

    /// A command that will run `program` in the pod.
    ///
    /// # Errors
    /// When this executable can't be found.
    pub fn command(&self, program: &str) -> Result<Command> {
        enter::command(Some(&self.netns.path()), Some(self.cgroup.path()), program)
    }

    /// Starts a command made by [`Pod::command`].
    ///
    /// # Errors
    /// When it can't be started.
    pub fn spawn(&self, name: &str, command: Command) -> Result<Process> {
        Process::spawn(&format!("{}-{name}", self.spec.name), &self.logs, command)
    }

    /// Runs a command made by [`Pod::command`] to its end.
    ///
    /// # Errors
    /// When it can't be started or doesn't end within `limit`.
    pub fn run(&self, name: &str, command: Command, limit: Duration) -> Result<Output> {
        Process::run(
            &format!("{}-{name}", self.spec.name),
            &self.logs,
            command,
            limit,
        )
    }

    /// Connects as an application of the pod would.
    ///
    /// # Errors
    /// What `connect(2)` said.
    pub fn connect(&self, to: SocketAddr) -> io::Result<TcpStream> {
        self.sockets()?.connect(to, None)
    }

    /// [`Pod::connect`] from an address and port of the pod's own.
    ///
    /// # Errors
    /// What `bind(2)` or `connect(2)` said.
    pub fn connect_from(&self, from: SocketAddr, to: SocketAddr) -> io::Result<TcpStream> {
        self.sockets()?.connect(to, Some(from))
    }

    /// Starts a connect and returns the non-blocking socket.
    ///
    /// # Errors
    /// What `connect(2)` said.
    pub fn start_connect(&self, to: SocketAddr) -> io::Result<Socket> {
        self.sockets()?.start_connect(to)
    }

    /// Listens on `port` of all of the pod's addresses, as an application of the pod would.
    ///
    /// # Errors
    /// What `bind(2)` or `listen(2)` said.
    pub fn listen(&self, port: u16) -> io::Result<TcpListener> {
        self.sockets()?.listen((Ipv6Addr::UNSPECIFIED, port).into())
    }

    /// Waits until something listens on `port` of the loopback address.
    ///
    /// # Errors
    /// When nothing does in time.
    pub fn wait_listening(&self, port: u16) -> Result<()> {
        self.wait_listening_in(Family::V4, port)
    }

    /// [`Pod::wait_listening`] of a program that listens to this family, too.
    ///
    /// # Errors
    /// As that.
    pub fn wait_listening_in(&self, family: Family, port: u16) -> Result<()> {
        let address = SocketAddr::new(family.loopback(), port);
        let what = format!("{} to listen on {port}", self.spec.name);
        self.netns.run(|| {
            until_true(&what, 2 * PATIENCE, || {
                Ok(TcpStream::connect_timeout(&address, PATIENCE).is_ok())
            })
        })?
    }

    fn sockets(&self) -> io::Result<&Sockets> {
        if self.sockets.get().is_none() {
            let started = Sockets::start(&self.netns.path(), self.cgroup.path(), &self.logs)
                .context("starting the pod's socket factory")
                .map_err(io::Error::other)?;
            // Another thread may have been quicker: then this one is dropped again.
            let _ = self.sockets.set(started);
        }
        self.sockets
            .get()
            .ok_or_else(|| io::Error::other("no socket factory"))
    }
}
