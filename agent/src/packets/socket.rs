//! A packet socket in a pod's network namespace.

use std::{
    io,
    os::fd::{AsFd, OwnedFd},
};

use rustix::net::{netdevice, sockopt};
use socket2::{Domain, Protocol, SockFilter, Socket, Type};
use tokio::io::unix::AsyncFd;

use crate::{
    capture::{Netns, NetnsError},
    offload::sys::{self, Packet},
};

/// What a reader may be behind: nobody else's memory.
const BUFFER: usize = 8 << 20;
/// `lo` in every network namespace (net/core/dev.c, `LOOPBACK_IFINDEX`).
pub(super) const LOOPBACK: u32 = 1;
/// `ETH_P_ALL` (include/uapi/linux/if_ether.h).
const ALL: u16 = 3;

/// Why packets can't be recorded.
#[derive(Debug, thiserror::Error)]
pub enum PacketError {
    #[error(transparent)]
    Netns(#[from] NetnsError),
    #[error(
        "a packet socket needs CAP_NET_RAW, which the agent doesn't have: add it to its container's capabilities"
    )]
    Forbidden,
    #[error("packet socket: {0}")]
    Socket(#[from] io::Error),
}

/// Packets that a socket has let go of so far.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Seen {
    pub packets: u64,
    /// Those that had no room.
    pub dropped: u64,
}

pub(super) struct PacketSocket {
    socket: AsyncFd<OwnedFd>,
    seen: Seen,
}

impl PacketSocket {
    /// From now on, what is on the interfaces of `netns`; on its loopback only if it is said.
    pub(super) fn open(netns: &Netns, snaplen: u32, loopback: bool) -> Result<Self, PacketError> {
        let protocol = Protocol::from(i32::from(ALL.to_be()));
        let opened = netns.enter(|| Socket::new(Domain::PACKET, Type::RAW, Some(protocol)))?;
        let socket = opened.map_err(|error| match error.kind() {
            io::ErrorKind::PermissionDenied => PacketError::Forbidden,
            _ => error.into(),
        })?;
        // Whatever came before it was known what is wanted is not wanted.
        socket.attach_filter(&program(Keep::Nothing))?;
        socket.set_nonblocking(true)?;
        drain(&socket)?;
        sys::tell_of_packets(&socket)?;
        sockopt::set_socket_recv_buffer_size_force(&socket, BUFFER).map_err(io::Error::from)?;
        socket.attach_filter(&program(Keep::Packets { snaplen, loopback }))?;
        sys::dropped_packets(&socket)?;
        Ok(Self {
            socket: sys::watch(socket.into())?,
            seen: Seen::default(),
        })
    }

    /// Returns when there may be a packet. To be asked again only when all have been taken.
    pub(super) async fn readable(&self) -> io::Result<()> {
        self.socket.readable().await?.clear_ready();
        Ok(())
    }

    /// The next packet, if there is one.
    pub(super) fn take(&mut self, buffer: &mut [u8]) -> io::Result<Option<Packet>> {
        loop {
            match sys::receive_packet(self.socket.get_ref(), buffer) {
                Ok(packet) => {
                    self.seen.packets += 1;
                    return Ok(Some(packet));
                }
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                // An interface is down or gone; others may be there.
                Err(error) if error.kind() == io::ErrorKind::NetworkDown => {}
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(None),
                Err(error) => return Err(error),
            }
        }
    }

    /// What became of the packets until now.
    pub(super) fn seen(&mut self) -> io::Result<Seen> {
        self.seen.dropped += u64::from(sys::dropped_packets(self.socket.get_ref())?);
        Ok(self.seen)
    }

    /// Of an interface that may be gone already.
    pub(super) fn interface_name(&self, index: u32) -> String {
        let name = netdevice::index_to_name(self.socket.get_ref().as_fd(), index);
        name.unwrap_or_else(|_| format!("interface {index}"))
    }
}

/// What the kernel is to do with packets before they are in the buffer.
#[derive(Clone, Copy)]
enum Keep {
    Nothing,
    Packets { snaplen: u32, loopback: bool },
}

/// As a classic BPF program (Documentation/networking/filter.rst).
fn program(keep: Keep) -> Vec<SockFilter> {
    let Keep::Packets { snaplen, loopback } = keep else {
        return vec![give(0)];
    };
    let kept = give(snaplen);
    match loopback {
        false => vec![
            load(libc::SKF_AD_IFINDEX),
            skip_unless(LOOPBACK, 1),
            give(0),
            kept,
        ],
        // What is sent there comes again.
        true => vec![
            load(libc::SKF_AD_IFINDEX),
            skip_unless(LOOPBACK, 3),
            load(libc::SKF_AD_PKTTYPE),
            skip_unless(u32::from(libc::PACKET_OUTGOING), 1),
            give(0),
            kept,
        ],
    }
}

fn load(what: libc::c_int) -> SockFilter {
    let at = (libc::SKF_AD_OFF + what).cast_unsigned();
    instruction(libc::BPF_LD | libc::BPF_W | libc::BPF_ABS, 0, at)
}

/// Goes on with the instruction behind the next `count` if what is loaded isn't `value`.
fn skip_unless(value: u32, count: u8) -> SockFilter {
    instruction(libc::BPF_JMP | libc::BPF_JEQ | libc::BPF_K, count, value)
}

fn give(length: u32) -> SockFilter {
    instruction(libc::BPF_RET | libc::BPF_K, 0, length)
}

fn instruction(code: u32, otherwise: u8, k: u32) -> SockFilter {
    let code = u16::try_from(code).unwrap_or(u16::MAX);
    SockFilter::new(code, 0, otherwise, k)
}

fn drain(socket: &Socket) -> io::Result<()> {
    let mut byte = [0];
    loop {
        match sys::receive_packet(socket, &mut byte) {
            Ok(_) => {}
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(()),
            Err(error) => return Err(error),
        }
    }
}
