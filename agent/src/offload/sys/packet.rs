//! Packet sockets (packet(7)).

use std::{
    io, mem,
    os::fd::{AsFd, AsRawFd as _},
    time::Duration,
};

use super::{get_option, length, set_option};

/// A packet as a packet socket has it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Packet {
    /// How much of the buffer it fills.
    pub kept: usize,
    /// How long it was before the socket's filter has cut it.
    pub length: u32,
    /// Index of its interface.
    pub interface: u32,
    /// Kind of that (`ARPHRD_*`).
    pub hardware: u16,
    /// Whether this end has sent it.
    pub is_outgoing: bool,
    /// Since the Unix epoch.
    pub time: Duration,
}

/// Has a packet socket tell of each packet when it came and how long it was (packet(7), `SO_TIMESTAMPNS`).
///
/// # Errors
/// As setsockopt(2).
pub fn tell_of_packets(socket: impl AsFd) -> io::Result<()> {
    let on = 1_i32.to_ne_bytes();
    set_option(&socket, libc::SOL_SOCKET, libc::SO_TIMESTAMPNS, &on)?;
    set_option(&socket, libc::SOL_PACKET, libc::PACKET_AUXDATA, &on)
}

/// Packets that had no room in a packet socket's receive buffer since the last question.
///
/// # Errors
/// As getsockopt(2).
pub fn dropped_packets(socket: impl AsFd) -> io::Result<u32> {
    // `struct tpacket_stats`: how many came, and how many of these were dropped.
    let mut counts = [0; 8];
    get_option(
        socket,
        libc::SOL_PACKET,
        libc::PACKET_STATISTICS,
        &mut counts,
    )?;
    let [_, _, _, _, dropped @ ..] = counts;
    Ok(u32::from_ne_bytes(dropped))
}

/// Takes the next packet without waiting.
///
/// # Errors
/// `WouldBlock` when there is none; `ENETDOWN` once when an interface goes.
pub fn receive_packet(socket: impl AsFd, buffer: &mut [u8]) -> io::Result<Packet> {
    // SAFETY: all-zero bytes are a valid `sockaddr_ll`.
    let mut origin: libc::sockaddr_ll = unsafe { mem::zeroed() };
    let mut control = PacketControl([0; 128]);
    let mut part = libc::iovec {
        iov_base: buffer.as_mut_ptr().cast(),
        iov_len: buffer.len(),
    };
    // SAFETY: all-zero bytes are a valid `msghdr`: null pointers and zero lengths.
    let mut message: libc::msghdr = unsafe { mem::zeroed() };
    message.msg_name = (&raw mut origin).cast();
    message.msg_namelen =
        libc::socklen_t::try_from(mem::size_of_val(&origin)).map_err(io::Error::other)?;
    message.msg_iov = &raw mut part;
    message.msg_iovlen = 1;
    message.msg_control = control.0.as_mut_ptr().cast();
    message.msg_controllen = mem::size_of_val(&control) as _;
    let flags = libc::MSG_DONTWAIT;
    // SAFETY: `message` points to `origin`, to one part, which describes `buffer`, and to `control`, all of which the
    // kernel may fill up to their lengths; all live until the call returns.
    let received = unsafe { libc::recvmsg(socket.as_fd().as_raw_fd(), &raw mut message, flags) };
    let kept = length(received)?;
    let told = control.0.get(..message.msg_controllen).unwrap_or_default();
    let (time, length) = packet_control(told);
    Ok(Packet {
        kept,
        length: length.unwrap_or(u32::try_from(kept).unwrap_or(u32::MAX)),
        interface: u32::try_from(origin.sll_ifindex).unwrap_or(0),
        hardware: origin.sll_hatype,
        is_outgoing: origin.sll_pkttype == libc::PACKET_OUTGOING,
        time,
    })
}

/// Room for the control messages of a packet, aligned as cmsg(3) asks for.
#[repr(C, align(8))]
struct PacketControl([u8; 128]);

/// When it came, and how long it was.
fn packet_control(mut messages: &[u8]) -> (Duration, Option<u32>) {
    const HEADER: usize = mem::size_of::<libc::cmsghdr>();
    let (mut time, mut length) = (Duration::ZERO, None);
    let number = |bytes: &[u8], at: usize| {
        bytes
            .get(at..at + 8)?
            .try_into()
            .ok()
            .map(u64::from_ne_bytes)
    };
    let short = |bytes: &[u8], at: usize| {
        bytes
            .get(at..at + 4)?
            .try_into()
            .ok()
            .map(u32::from_ne_bytes)
    };
    // `struct cmsghdr`: length with the header, level, type.
    while let (Some(whole), Some(level), Some(kind)) =
        (number(messages, 0), short(messages, 8), short(messages, 12))
    {
        let whole = usize::try_from(whole).unwrap_or(usize::MAX);
        let Some(data) = messages.get(HEADER..whole) else {
            break;
        };
        match (level.cast_signed(), kind.cast_signed()) {
            (libc::SOL_SOCKET, libc::SCM_TIMESTAMPNS) => {
                let nanoseconds = number(data, 8).and_then(|n| u32::try_from(n).ok());
                time = Duration::new(number(data, 0).unwrap_or(0), nanoseconds.unwrap_or(0));
            }
            // `struct tpacket_auxdata`: status, then the length.
            (libc::SOL_PACKET, libc::PACKET_AUXDATA) => length = short(data, 4),
            _ => {}
        }
        messages = messages
            .get(whole.next_multiple_of(8)..)
            .unwrap_or_default();
    }
    (time, length)
}
