//! Which TCP ports of a pod are listened on, asked from the kernel (sock_diag(7)).
//!
//! The `sockops` program notes every listen at once; this finds the sockets that were there before the pod
//! was enrolled, those of processes outside of its cgroup, and those that are gone.

use std::{collections::BTreeSet, io};

use netlink_packet_core::{
    NLM_F_DUMP, NLM_F_REQUEST, NetlinkHeader, NetlinkMessage, NetlinkPayload,
};
use netlink_packet_sock_diag::{
    SockDiagMessage,
    constants::{AF_INET, AF_INET6, IPPROTO_TCP},
    inet::{ExtensionFlags, InetRequest, InetResponse, SocketId, StateFlags},
};
use netlink_sys::{Socket, SocketAddr, protocols::NETLINK_SOCK_DIAG};

use super::netns::Netns;

const RECEIVE_BUFFER: usize = 32 * 1024;

/// A netlink socket inside a pod's network namespace.
pub(super) struct ListeningPorts(Socket);

impl ListeningPorts {
    pub(super) fn open(netns: &Netns) -> io::Result<Self> {
        let mut socket = netns
            .enter(|| Socket::new(NETLINK_SOCK_DIAG))
            .map_err(io::Error::other)??;
        socket.bind_auto()?;
        socket.connect(&SocketAddr::new(0, 0))?;
        Ok(Self(socket))
    }

    /// Ports that can be reached from outside: a socket bound to loopback is none.
    pub(super) fn list(&self) -> io::Result<BTreeSet<u16>> {
        let mut ports = BTreeSet::new();
        self.dump(AF_INET, SocketId::new_v4(), &mut ports)?;
        match self.dump(AF_INET6, SocketId::new_v6(), &mut ports) {
            // A kernel without IPv6 has nothing to list.
            Err(error) if error.raw_os_error() == Some(libc::ENOENT) => Ok(ports),
            result => result.map(|()| ports),
        }
    }

    fn dump(&self, family: u8, id: SocketId, ports: &mut BTreeSet<u16>) -> io::Result<()> {
        let mut header = NetlinkHeader::default();
        header.flags = NLM_F_REQUEST | NLM_F_DUMP;
        let mut request = NetlinkMessage::new(
            header,
            SockDiagMessage::InetRequest(InetRequest {
                family,
                protocol: IPPROTO_TCP,
                extensions: ExtensionFlags::empty(),
                states: StateFlags::LISTEN,
                socket_id: id,
            })
            .into(),
        );
        request.finalize();
        let mut bytes = vec![0; request.buffer_len()];
        request.serialize(&mut bytes);
        self.0.send(&bytes, 0)?;
        let mut buffer = Vec::with_capacity(RECEIVE_BUFFER);
        loop {
            buffer.clear();
            let length = self.0.recv(&mut buffer, 0)?;
            if read_messages(&buffer[..length], ports)? {
                return Ok(());
            }
        }
    }
}

/// Returns whether the dump is complete.
fn read_messages(mut bytes: &[u8], ports: &mut BTreeSet<u16>) -> io::Result<bool> {
    while !bytes.is_empty() {
        let message = NetlinkMessage::<SockDiagMessage>::deserialize(bytes)
            .map_err(|error| io::Error::new(io::ErrorKind::InvalidData, error))?;
        match message.payload {
            NetlinkPayload::InnerMessage(SockDiagMessage::InetResponse(response)) => {
                note(&response, ports);
            }
            NetlinkPayload::Done(_) => return Ok(true),
            NetlinkPayload::Error(error) => return Err(error.to_io()),
            _ => {}
        }
        // Messages are aligned to four bytes (netlink(7), NLMSG_ALIGN).
        let length = (message.header.length as usize).next_multiple_of(4).max(16);
        bytes = bytes.get(length..).unwrap_or(&[]);
    }
    Ok(false)
}

fn note(response: &InetResponse, ports: &mut BTreeSet<u16>) {
    let id = &response.header.socket_id;
    if !id.source_address.to_canonical().is_loopback() {
        ports.insert(id.source_port);
    }
}
