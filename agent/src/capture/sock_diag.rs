//! The TCP sockets of a network namespace, as the kernel lists them, and the end of single ones (sock_diag(7)).

use std::{io, net};

use netlink_packet_core::{
    NLM_F_ACK, NLM_F_DUMP, NLM_F_REQUEST, NetlinkHeader, NetlinkMessage, NetlinkPayload, Nla as _,
};
use netlink_packet_sock_diag::{
    SockDiagMessage,
    constants::{AF_INET, AF_INET6, IPPROTO_TCP, TCP_ESTABLISHED},
    inet::{ExtensionFlags, InetRequest, InetResponse, SocketId, StateFlags, nlas::Nla},
};
use netlink_sys::{Socket, SocketAddr, protocols::NETLINK_SOCK_DIAG};

use super::netns::Netns;

const RECEIVE_BUFFER: usize = 32 * 1024;
/// `SOCK_DESTROY` (include/uapi/linux/sock_diag.h).
const SOCK_DESTROY: u16 = 21;
/// `INET_DIAG_CGROUP_ID` (include/uapi/linux/inet_diag.h), since Linux 5.8.
const CGROUP_ID: u16 = 21;

/// A netlink socket inside a network namespace.
#[derive(Debug)]
pub(super) struct SockDiag(Socket);

impl SockDiag {
    pub(super) fn open(netns: &Netns) -> io::Result<Self> {
        let mut socket = netns
            .enter(|| Socket::new(NETLINK_SOCK_DIAG))
            .map_err(io::Error::other)??;
        socket.bind_auto()?;
        socket.connect(&SocketAddr::new(0, 0))?;
        Ok(Self(socket))
    }

    /// All sockets in one of these states, of both families.
    pub(super) fn dump(
        &self,
        states: &StateFlags,
        mut each: impl FnMut(&InetResponse),
    ) -> io::Result<()> {
        for (family, id) in [
            (AF_INET, SocketId::new_v4()),
            (AF_INET6, SocketId::new_v6()),
        ] {
            self.ask(family, states.clone(), id, SockDiagMessageKind::List)?;
            match self.answers(&mut each) {
                // A kernel without IPv6 has nothing to list.
                Err(error) if error.raw_os_error() == Some(libc::ENOENT) => {}
                result => result?,
            }
        }
        Ok(())
    }

    /// The established socket with these ends, if there is one: the kernel looks it up as it would for a segment.
    pub(super) fn established(
        &self,
        local: net::SocketAddr,
        remote: net::SocketAddr,
    ) -> io::Result<Option<InetResponse>> {
        let id = SocketId {
            source_address: local.ip(),
            source_port: local.port(),
            destination_address: remote.ip(),
            destination_port: remote.port(),
            // `INET_DIAG_NOCOOKIE`: whichever it is.
            cookie: [u8::MAX; 8],
            ..SocketId::new_v4()
        };
        let family = if local.is_ipv4() { AF_INET } else { AF_INET6 };
        self.ask(family, StateFlags::all(), id, SockDiagMessageKind::One)?;
        let mut found = None;
        let answered = self.answers(&mut |response| {
            // A listener is what the kernel answers where there is no connection.
            let id = &response.header.socket_id;
            let ends = (
                canonical(id.source_address, id.source_port),
                canonical(id.destination_address, id.destination_port),
            );
            if response.header.state == TCP_ESTABLISHED && ends == (local, remote) {
                found = Some(response.clone());
            }
        });
        match answered {
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            result => result.map(|()| found),
        }
    }

    /// Ends a socket: a reset for the peer, `ECONNABORTED` for the application.
    ///
    /// # Errors
    /// `NotFound` when it has ended by itself.
    pub(super) fn destroy(&self, family: u8, id: &SocketId) -> io::Result<()> {
        let states = StateFlags::all();
        self.ask(family, states, id.clone(), SockDiagMessageKind::Destroy)?;
        self.answers(&mut |_| {})
    }

    fn ask(
        &self,
        family: u8,
        states: StateFlags,
        socket_id: SocketId,
        kind: SockDiagMessageKind,
    ) -> io::Result<()> {
        let mut header = NetlinkHeader::default();
        header.flags = NLM_F_REQUEST
            | match kind {
                SockDiagMessageKind::List => NLM_F_DUMP,
                SockDiagMessageKind::One | SockDiagMessageKind::Destroy => NLM_F_ACK,
            };
        let request = InetRequest {
            family,
            protocol: IPPROTO_TCP,
            extensions: ExtensionFlags::empty(),
            states,
            socket_id,
        };
        let mut message = NetlinkMessage::new(header, SockDiagMessage::InetRequest(request).into());
        message.finalize();
        if let SockDiagMessageKind::Destroy = kind {
            message.header.message_type = SOCK_DESTROY;
        }
        let mut bytes = vec![0; message.buffer_len()];
        message.serialize(&mut bytes);
        self.0.send(&bytes, 0).map(drop)
    }

    fn answers(&self, each: &mut impl FnMut(&InetResponse)) -> io::Result<()> {
        let mut buffer = Vec::with_capacity(RECEIVE_BUFFER);
        loop {
            buffer.clear();
            let length = self.0.recv(&mut buffer, 0)?;
            if read_messages(&buffer[..length], each)? {
                return Ok(());
            }
        }
    }
}

/// What a request is for.
#[derive(Clone, Copy)]
enum SockDiagMessageKind {
    List,
    One,
    Destroy,
}

/// IPv4 as IPv4, however the socket holds it.
pub(super) fn canonical(address: net::IpAddr, port: u16) -> net::SocketAddr {
    net::SocketAddr::new(address.to_canonical(), port)
}

/// The cgroup that a socket was made in; `None` where the kernel doesn't say.
pub(super) fn cgroup(response: &InetResponse) -> Option<u64> {
    response.nlas.iter().find_map(|nla| match nla {
        Nla::Other(other) if other.kind() == CGROUP_ID => {
            let mut value = [0; 8];
            (other.value_len() == 8).then(|| {
                other.emit_value(&mut value);
                u64::from_ne_bytes(value)
            })
        }
        _ => None,
    })
}

/// Returns whether the answer is complete.
fn read_messages(mut bytes: &[u8], each: &mut impl FnMut(&InetResponse)) -> io::Result<bool> {
    while !bytes.is_empty() {
        let message = NetlinkMessage::<SockDiagMessage>::deserialize(bytes)
            .map_err(|error| io::Error::new(io::ErrorKind::InvalidData, error))?;
        match message.payload {
            NetlinkPayload::InnerMessage(SockDiagMessage::InetResponse(response)) => {
                each(&response);
            }
            NetlinkPayload::Done(_) => return Ok(true),
            // Without a code it acknowledges.
            NetlinkPayload::Error(error) if error.code.is_none() => return Ok(true),
            NetlinkPayload::Error(error) => return Err(error.to_io()),
            _ => {}
        }
        // Messages are aligned to four bytes (netlink(7), NLMSG_ALIGN).
        let length = (message.header.length as usize).next_multiple_of(4).max(16);
        bytes = bytes.get(length..).unwrap_or(&[]);
    }
    Ok(false)
}

#[cfg(test)]
mod tests {
    use std::net::{TcpListener, TcpStream};

    use super::*;

    /// In the network namespace of the test.
    fn here() -> SockDiag {
        let mut socket = Socket::new(NETLINK_SOCK_DIAG).unwrap();
        socket.bind_auto().unwrap();
        socket.connect(&SocketAddr::new(0, 0)).unwrap();
        SockDiag(socket)
    }

    fn ends(stream: &TcpStream) -> (net::SocketAddr, net::SocketAddr) {
        let of = |address: net::SocketAddr| canonical(address.ip(), address.port());
        (
            of(stream.local_addr().unwrap()),
            of(stream.peer_addr().unwrap()),
        )
    }

    #[test]
    fn a_connection_is_found_by_its_ends_as_long_as_it_is_open() {
        let diag = here();
        for (at, to) in [
            ("127.0.0.1:0", "127.0.0.1"),
            ("127.0.0.1:0", "::ffff:127.0.0.1"),
            ("[::1]:0", "::1"),
        ] {
            let Ok(listener) = TcpListener::bind(at) else {
                // Without IPv6.
                continue;
            };
            let port = listener.local_addr().unwrap().port();
            let client = TcpStream::connect((to, port)).unwrap();
            let (server, _) = listener.accept().unwrap();
            let (local, remote) = ends(&client);
            let found = diag.established(local, remote).unwrap();
            assert!(found.as_ref().and_then(cgroup).is_some(), "{to}: {found:?}");
            let other = net::SocketAddr::new(local.ip(), local.port() ^ 1);
            for nobody in [(other, remote), (remote, other)] {
                let found = diag.established(nobody.0, nobody.1).unwrap();
                assert_eq!(found, None, "{to}: the listener is no connection");
            }
            drop(client);
            assert_eq!(diag.established(local, remote).unwrap(), None, "{to}");
            drop(server);
        }
    }
}
