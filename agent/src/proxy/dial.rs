//! Connections that an agent opens inside a pod's network namespace, and a gateway in its own.

use std::{
    io,
    net::{IpAddr, SocketAddr},
    time::Duration,
};

use aya::maps::MapError;
use socket2::{Domain, Socket, Type};
use tokio::{
    net::{TcpListener, TcpSocket, TcpStream},
    time::{error::Elapsed, timeout},
};

use super::outcome::Failure;
use crate::{
    capture::{Flows, Netns, NetnsCookie, NetnsError, as_proxy},
    telemetry::RefusalReason,
    workload::Endpoint,
};

/// Why nobody was reached.
#[derive(Debug, thiserror::Error)]
pub(super) enum DialError {
    #[error("{0}")]
    Connect(#[from] io::Error),
    #[error("no answer in time")]
    Timeout(#[from] Elapsed),
    #[error(transparent)]
    Netns(#[from] NetnsError),
    #[error("publish the client's address: {0}")]
    Publish(#[from] MapError),
}

/// A socket with which a pod dials its peers: the source address is the pod's own.
pub(super) fn of_pod(netns: &Netns, to: SocketAddr) -> Result<TcpSocket, DialError> {
    let socket = netns.enter(|| socket(to))??;
    Ok(TcpSocket::from_std_stream(socket.into()))
}

/// A socket of the own network namespace.
pub(super) fn own(to: SocketAddr) -> Result<TcpSocket, DialError> {
    Ok(TcpSocket::from_std_stream(socket(to)?.into()))
}

/// Endpoints are tried in turn; three that can't be reached are enough.
pub(super) async fn first(
    candidates: &[Endpoint],
    within: Duration,
    socket: impl Fn(SocketAddr) -> Result<TcpSocket, DialError>,
) -> Result<(Endpoint, TcpStream), Failure> {
    let mut last = String::new();
    for endpoint in candidates.iter().take(3) {
        let address = SocketAddr::new(endpoint.address, endpoint.port);
        let connected = match socket(address) {
            Ok(socket) => connect(socket, address, within).await,
            Err(error) => Err(error),
        };
        match connected {
            Ok(stream) => return Ok((*endpoint, stream)),
            Err(error) => last = format!("{address}: {error}"),
        }
    }
    Err(Failure::RefusedBecause(RefusalReason::Unreachable, last))
}

async fn connect(
    socket: TcpSocket,
    to: SocketAddr,
    within: Duration,
) -> Result<TcpStream, DialError> {
    Ok(timeout(within, socket.connect(to)).await??)
}

/// Listens in the own network namespace; on an IPv6 address also for IPv4.
pub(super) fn listener(on: SocketAddr) -> io::Result<TcpListener> {
    /// The kernel caps it at `net.core.somaxconn`.
    const BACKLOG: i32 = 4096;
    let socket = socket(on)?;
    socket.set_reuse_address(true)?;
    if on.is_ipv6() {
        socket.set_only_v6(false)?;
    }
    socket.bind(&on.into())?;
    socket.listen(BACKLOG)?;
    TcpListener::from_std(socket.into())
}

/// Dials the pod's application, which will see `client` as its peer until that is withdrawn.
pub(super) async fn application(
    netns: &Netns,
    flows: &Flows,
    to: SocketAddr,
    client: SocketAddr,
    within: Duration,
) -> Result<(TcpStream, Published), DialError> {
    let bound = netns.enter(|| {
        let socket = socket(to)?;
        // The port must be known before the application can ask for its peer.
        socket.bind(&SocketAddr::new(to.ip(), 0).into())?;
        io::Result::Ok(socket)
    })??;
    let socket = TcpSocket::from_std_stream(bound.into());
    let local = canonical(socket.local_addr()?);
    flows.publish_client(netns.cookie(), local, to, client)?;
    let published = Published {
        netns: netns.cookie(),
        port: local.port(),
    };
    match connect(socket, to, within).await {
        Ok(stream) => Ok((stream, published)),
        Err(error) => {
            published.withdraw(flows, to);
            Err(error)
        }
    }
}

/// A client that an application is shown. Small: every idle connection holds one.
#[must_use = "to be withdrawn when the connection ends"]
pub(super) struct Published {
    netns: NetnsCookie,
    port: u16,
}

impl Published {
    /// `to` is where the application was dialled.
    pub(super) fn withdraw(self, flows: &Flows, to: SocketAddr) {
        let local = SocketAddr::new(to.ip(), self.port);
        flows.withdraw_client(self.netns, local, to);
    }
}

fn socket(to: SocketAddr) -> io::Result<Socket> {
    let socket = Socket::new(Domain::for_address(to), Type::STREAM, None)?;
    socket.set_nonblocking(true)?;
    as_proxy(&socket)?;
    Ok(socket)
}

/// IPv4 as IPv4, however the socket holds it.
pub(super) fn canonical(address: SocketAddr) -> SocketAddr {
    let ip: IpAddr = address.ip().to_canonical();
    SocketAddr::new(ip, address.port())
}
