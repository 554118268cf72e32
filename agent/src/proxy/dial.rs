//! Connections that the agent opens inside a pod's network namespace.

use std::{
    io,
    net::{IpAddr, SocketAddr},
    time::Duration,
};

use aya::maps::MapError;
use socket2::{Domain, Socket, Type};
use tokio::{
    net::{TcpSocket, TcpStream},
    time::{error::Elapsed, timeout},
};

use crate::capture::{Flows, Netns, NetnsCookie, NetnsError, as_proxy};

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

/// Dials a peer of the pod: the source address is the pod's own.
pub(super) async fn peer(
    netns: &Netns,
    to: SocketAddr,
    within: Duration,
) -> Result<TcpStream, DialError> {
    let socket = netns.enter(|| socket(to))??;
    let socket = TcpSocket::from_std_stream(socket.into());
    Ok(timeout(within, socket.connect(to)).await??)
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
    let connected = timeout(within, socket.connect(to)).await;
    match connected.map_err(DialError::from).and_then(|r| Ok(r?)) {
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
