//! One pod comes under capture, or leaves it without a trace.

use std::{
    collections::BTreeSet,
    io,
    net::{Ipv4Addr, Ipv6Addr, SocketAddr},
    path::Path,
    sync::Arc,
    time::Duration,
};

use sealane_common::{Address, MAX_PORT_MODES, PortMode, Workload};
use socket2::{Domain, Socket, TcpKeepalive, Type};
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;

use super::{
    desired::DesiredPod,
    error::EnrolError,
    listening::ListeningPorts,
    netns::{Home, Netns},
};
use crate::workload::ObjectName;

/// The kernel caps it at `net.core.somaxconn` of the pod.
const BACKLOG: i32 = 4096;

/// An enrolled pod, as the proxy knows it.
#[derive(Debug)]
pub struct Pod {
    pub name: ObjectName,
    pub netns: Netns,
    /// In which the agent's own sockets are made, also those inside the pod.
    pub agent_cgroup: u64,
    /// Cancelled when the pod leaves: accept no more.
    pub stop: CancellationToken,
}

/// The agent's sockets in a pod.
#[derive(Debug)]
pub struct Listeners {
    /// On `127.0.0.1` and, where the pod has it, on `::1`: redirected clients arrive here.
    pub outbound: Vec<TcpListener>,
    /// One of each family, bound to loopback, so that nothing reaches them but what `sk_lookup` steers.
    pub inbound: Vec<TcpListener>,
}

/// What the capture task keeps of an enrolled pod.
pub(super) struct Enrolled {
    pub(super) pod: Arc<Pod>,
    pub(super) desired: DesiredPod,
    pub(super) outbound_ports: (u16, u16),
    pub(super) listening: ListeningPorts,
    /// What the last look at it found.
    pub(super) found: BTreeSet<u16>,
}

/// Checks the sandbox and makes the listeners; nothing is captured yet.
pub(super) fn prepare(
    home: &Home,
    cgroup_root: &Path,
    agent_cgroup: u64,
    name: &ObjectName,
    desired: &DesiredPod,
) -> Result<(Enrolled, Listeners), EnrolError> {
    check_cgroup(cgroup_root, &desired.sandbox.cgroup)?;
    let netns = home.netns(desired.sandbox.netns.path())?;
    if netns.is_home() {
        return Err(EnrolError::NodeNamespace(
            desired.sandbox.netns.path().to_owned(),
        ));
    }
    let listening = ListeningPorts::open(&netns).map_err(EnrolError::Listening)?;
    let listeners = netns.enter(listen)??;
    let port_of = |v6: bool| {
        let addresses = listeners
            .outbound
            .iter()
            .filter_map(|l| l.local_addr().ok());
        addresses
            .filter(|a| a.is_ipv6() == v6)
            .map(|a| a.port())
            .next()
            .unwrap_or(0)
    };
    let outbound_ports = (port_of(false), port_of(true));
    let pod = Arc::new(Pod {
        name: name.clone(),
        netns,
        agent_cgroup,
        stop: CancellationToken::new(),
    });
    let enrolled = Enrolled {
        pod,
        desired: desired.clone(),
        outbound_ports,
        listening,
        found: BTreeSet::new(),
    };
    Ok((enrolled, listeners))
}

fn check_cgroup(root: &Path, cgroup: &Path) -> Result<(), EnrolError> {
    let resolve = |path: &Path| {
        path.canonicalize().map_err(|source| EnrolError::Cgroup {
            path: path.to_owned(),
            source,
        })
    };
    let (resolved_root, resolved) = (resolve(root)?, resolve(cgroup)?);
    if resolved.starts_with(&resolved_root) {
        Ok(())
    } else {
        Err(EnrolError::CgroupOutside {
            path: cgroup.to_owned(),
            root: root.to_owned(),
        })
    }
}

fn listen() -> Result<Listeners, EnrolError> {
    let v4 = SocketAddr::from((Ipv4Addr::LOCALHOST, 0));
    let v6 = SocketAddr::from((Ipv6Addr::LOCALHOST, 0));
    let failed = |source| EnrolError::Listen {
        address: "127.0.0.1",
        source,
    };
    let mut listeners = Listeners {
        outbound: vec![listener(v4).map_err(failed)?],
        inbound: vec![listener(v4).map_err(failed)?],
    };
    // A pod without IPv6 has no IPv6 connections.
    if let (Ok(outbound), Ok(inbound)) = (listener(v6), listener(v6)) {
        listeners.outbound.push(outbound);
        listeners.inbound.push(inbound);
    }
    Ok(listeners)
}

fn listener(address: SocketAddr) -> io::Result<TcpListener> {
    let socket = Socket::new(Domain::for_address(address), Type::STREAM, None)?;
    socket.set_nonblocking(true)?;
    as_proxy(&socket)?;
    socket.bind(&address.into())?;
    socket.listen(BACKLOG)?;
    TcpListener::from_std(socket.into())
}

/// Options of every socket between a pod and the agent, and between agents; accepted ones inherit them.
///
/// # Errors
/// As setsockopt(2).
pub fn as_proxy(socket: &Socket) -> io::Result<()> {
    // The application's own segmentation has been decided on its side already.
    socket.set_tcp_nodelay(true)?;
    // A peer that vanished without a word is noticed even when both applications are silent: their own probes
    // end at the agent.
    let keepalive = TcpKeepalive::new()
        .with_time(Duration::from_secs(180))
        .with_interval(Duration::from_secs(60));
    socket.set_tcp_keepalive(&keepalive)
}

impl Enrolled {
    /// Whether the pod's file still leads to the namespace that is captured.
    pub(super) fn is_current(&self) -> bool {
        self.pod.netns.is_current()
    }

    /// The kernel's view of the pod as it should be.
    pub(super) fn workload(&self, desired: &DesiredPod) -> Workload {
        let of_family = |v4: bool| {
            desired
                .addresses
                .iter()
                .find(|a| a.is_ipv4() == v4)
                .map_or(Address::UNSPECIFIED, |a| Address::from(*a))
        };
        let mut ports = [PortMode::default(); MAX_PORT_MODES];
        for (slot, port) in ports.iter_mut().zip(&desired.ports) {
            *slot = *port;
        }
        Workload {
            address_v4: of_family(true),
            address_v6: of_family(false),
            outbound_v4: self.outbound_ports.0,
            outbound_v6: self.outbound_ports.1,
            mode: desired.mode,
            pad: [0; 3],
            outbound_on_loss: desired.outbound_on_loss,
            permissive_on_loss: desired.permissive_on_loss,
            ports,
        }
    }
}
