//! The agent's only unsafe module: system calls that no library wraps. Every function is safe to call.
#![expect(unsafe_code, reason = "raw system calls")]

mod packet;

use std::{
    io, mem,
    os::fd::{AsFd, AsRawFd as _, OwnedFd},
    ptr,
};

use ktls::CryptoInfo;
use tokio::io::unix::AsyncFd;
use zeroize::Zeroizing;

pub use packet::{Packet, dropped_packets, receive_packet, tell_of_packets};

/// `SO_NETNS_COOKIE` (include/uapi/asm-generic/socket.h, since Linux 5.14).
const SO_NETNS_COOKIE: libc::c_int = 71;
/// Length of the longest `tls12_crypto_info_*` (include/uapi/linux/tls.h).
const CRYPTO_INFO: usize = 56;
/// Every `tls12_crypto_info_*` ends with the sequence number of the next record, in network order.
const SEQUENCE: usize = 8;
/// `tcpi_bytes_acked` of `struct tcp_info` (include/uapi/linux/tcp.h); libc's ends before it.
const BYTES_ACKED: usize = 120;

/// Which half of a connection a key is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Half {
    Transmit = libc::TLS_TX as isize,
    Receive = libc::TLS_RX as isize,
}

/// The cookie of the network namespace that a socket belongs to, as `bpf_get_netns_cookie` gives it.
///
/// # Errors
/// As getsockopt(2); `ENOPROTOOPT` before Linux 5.14.
pub fn netns_cookie(socket: impl AsFd) -> io::Result<u64> {
    let mut cookie = [0; 8];
    get_option(socket, libc::SOL_SOCKET, SO_NETNS_COOKIE, &mut cookie)?;
    Ok(u64::from_ne_bytes(cookie))
}

/// Moves this thread into a network namespace of its own, with nothing in it.
///
/// # Errors
/// As unshare(2).
pub fn new_network_namespace() -> io::Result<()> {
    // SAFETY: a network namespace is not among what threads must go on sharing, as descriptors and memory are.
    unsafe { rustix::thread::unshare_unsafe(rustix::thread::UnshareFlags::NEWNET) }
        .map_err(io::Error::from)
}

/// Watches a descriptor for readability and writability. Must be called inside a tokio runtime.
///
/// # Errors
/// When the reactor refuses the descriptor.
pub fn watch(descriptor: OwnedFd) -> io::Result<AsyncFd<OwnedFd>> {
    // SAFETY: an `OwnedFd` is open and stays the same for as long as it lives, and it moves into the result.
    unsafe { AsyncFd::register(descriptor) }.map_err(io::Error::from)
}

/// Keeps glibc to one heap. With a heap for every thread, each is left with the holes of the handshakes that its
/// connections once made, and idle connections cost up to twice as much. Hardly anything allocates on the byte
/// path, so there is no contention to avoid. Has no effect once threads have been started, or with another libc.
pub fn one_heap() {
    #[cfg(target_env = "gnu")]
    // SAFETY: mallopt only sets a parameter of the allocator.
    let _ = unsafe { libc::mallopt(libc::M_ARENA_MAX, 1) };
}

/// For whoever makes large tables, before and after: gives pages of the heap back that nothing is in, and keeps what is
/// large out of it from now on. By itself glibc raises both limits as large ones are freed (mallopt(3)), and tables that
/// are made again and again leave holes. Where there are no such tables its own choice is the better one.
pub fn make_room() {
    #[cfg(target_env = "gnu")]
    {
        const LARGE: libc::c_int = 256 << 10;
        const AT_THE_END: libc::c_int = 128 << 10;
        // SAFETY: mallopt only sets a parameter of the allocator, and locks it.
        let _ = unsafe { libc::mallopt(libc::M_MMAP_THRESHOLD, LARGE) };
        // SAFETY: as above.
        let _ = unsafe { libc::mallopt(libc::M_TRIM_THRESHOLD, AT_THE_END) };
        // SAFETY: malloc_trim touches no memory that is in use, and locks the allocator.
        let _ = unsafe { libc::malloc_trim(0) };
    }
}

/// Makes a TCP socket ready for keys (Documentation/networking/tls.rst). Until it has one, it is what it was.
///
/// # Errors
/// `ENOENT` when the kernel has no module `tls`, `ENOTCONN` when the socket is not established (any more).
pub(super) fn enable_tls(socket: impl AsFd) -> io::Result<()> {
    set_option(socket, libc::SOL_TCP, libc::TCP_ULP, b"tls")
}

/// Gives one half's key to the kernel.
///
/// # Errors
/// `EBUSY` when the half has a key that this kernel can't replace, `ENOENT` when it doesn't have the cipher.
pub(super) fn set_key(socket: impl AsFd, half: Half, key: &CryptoInfo) -> io::Result<()> {
    // SAFETY: `as_ptr` and `size` describe one initialised structure of plain bytes inside `key`, which is
    // borrowed for longer than the slice lives.
    let bytes = unsafe { std::slice::from_raw_parts(key.as_ptr().cast::<u8>(), key.size()) };
    set_option(socket, libc::SOL_TLS, half as libc::c_int, bytes)
}

/// The sequence number of the next record that the kernel seals. `length` is the size of the cipher's
/// `tls12_crypto_info_*`.
///
/// # Errors
/// As getsockopt(2).
pub(super) fn next_sequence(socket: impl AsFd, length: usize) -> io::Result<u64> {
    // The kernel returns the key as well.
    let mut info = Zeroizing::new([0; CRYPTO_INFO]);
    let info = info
        .get_mut(..length)
        .ok_or(io::Error::from(io::ErrorKind::InvalidInput))?;
    get_option(socket, libc::SOL_TLS, libc::TLS_TX, info)?;
    let sequence = info
        .last_chunk::<SEQUENCE>()
        .ok_or(io::Error::from(io::ErrorKind::InvalidData))?;
    Ok(u64::from_be_bytes(*sequence))
}

/// What became of what was written to a TCP socket, in bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Outgoing {
    /// The peer has acknowledged so many.
    pub acknowledged: u64,
    /// This end still keeps so many for it.
    pub kept: u64,
}

impl Outgoing {
    /// The position in the TCP stream of what is written next.
    pub(super) fn position(self) -> u64 {
        self.acknowledged + self.kept
    }
}

/// What became of what was written to `socket`, all of it at the same moment.
///
/// # Errors
/// As getsockopt(2) and ioctl(2).
pub fn outgoing(socket: impl AsFd) -> io::Result<Outgoing> {
    let mut acknowledged = bytes_acknowledged(socket.as_fd())?;
    loop {
        let mut kept: libc::c_int = 0;
        // SAFETY: the descriptor is borrowed for the call, and the kernel writes one `int`.
        let result =
            unsafe { libc::ioctl(socket.as_fd().as_raw_fd(), libc::TIOCOUTQ, &raw mut kept) };
        check(result)?;
        let now = bytes_acknowledged(socket.as_fd())?;
        // Nothing came in between the two questions.
        if now == acknowledged {
            let kept = u64::try_from(kept).unwrap_or(0);
            return Ok(Outgoing { acknowledged, kept });
        }
        acknowledged = now;
    }
}

fn bytes_acknowledged(socket: impl AsFd) -> io::Result<u64> {
    let mut info = [0; BYTES_ACKED + 8];
    get_option(socket, libc::SOL_TCP, libc::TCP_INFO, &mut info)?;
    Ok(info
        .last_chunk()
        .map_or(0, |bytes| u64::from_ne_bytes(*bytes)))
}

/// Sends `payload` as one record of type `kind`, without waiting.
///
/// # Errors
/// `WouldBlock` when nothing was taken.
pub(super) fn send_record(socket: impl AsFd, kind: u8, payload: &[u8]) -> io::Result<()> {
    let mut control = Control::new(libc::TLS_SET_RECORD_TYPE, kind);
    let mut part = libc::iovec {
        iov_base: payload.as_ptr().cast_mut().cast(),
        iov_len: payload.len(),
    };
    let message = message(&mut part, &mut control);
    let flags = libc::MSG_DONTWAIT | libc::MSG_NOSIGNAL;
    // SAFETY: `message` points to one part, which describes `payload`, and to `control`; the kernel only reads
    // them, and all live until the call returns.
    let sent = unsafe { libc::sendmsg(socket.as_fd().as_raw_fd(), &raw const message, flags) };
    length(sent).map(|_| ())
}

/// Takes the next record, or a part of it when `buffer` is too short, without waiting. Returns its type and
/// how much of `buffer` it fills; nothing at the end of the stream.
///
/// # Errors
/// `WouldBlock` when there is no whole record, `EBADMSG` when it does not decrypt.
pub(super) fn receive_record(
    socket: impl AsFd,
    buffer: &mut [u8],
) -> io::Result<Option<(u8, usize)>> {
    let mut control = Control::new(0, 0);
    let mut part = libc::iovec {
        iov_base: buffer.as_mut_ptr().cast(),
        iov_len: buffer.len(),
    };
    let mut message = message(&mut part, &mut control);
    let flags = libc::MSG_DONTWAIT;
    // SAFETY: `message` points to one part, which describes `buffer`, and to `control`, both of which the kernel
    // may fill up to their lengths; all live until the call returns.
    let received = unsafe { libc::recvmsg(socket.as_fd().as_raw_fd(), &raw mut message, flags) };
    let received = length(received)?;
    let told = message.msg_controllen >= Control::USED
        && control.header.cmsg_level == libc::SOL_TLS
        && control.header.cmsg_type == libc::TLS_GET_RECORD_TYPE;
    match (told, received) {
        (true, _) => Ok(Some((control.data[0], received))),
        (false, 0) => Ok(None),
        (false, _) => Err(io::ErrorKind::InvalidData.into()),
    }
}

/// Asks the kernel's crypto API for an algorithm that nobody has (`aes` is a single-block cipher), so that it
/// loads every module that has the alias `crypto-aes`: the accelerated drivers, which are not loaded where no
/// udev does it by the CPU's features. The kernel runs modprobe itself, so this works from a container too.
///
/// # Errors
/// When there is no `AF_ALG` in this kernel.
pub(super) fn load_aes_drivers() -> io::Result<()> {
    let socket = socket2::Socket::new(libc::AF_ALG.into(), socket2::Type::SEQPACKET, None)?;
    // SAFETY: all-zero bytes are a valid `sockaddr_alg`.
    let mut address: libc::sockaddr_alg = unsafe { mem::zeroed() };
    address.salg_family = libc::sa_family_t::try_from(libc::AF_ALG).map_err(io::Error::other)?;
    address.salg_type[..8].copy_from_slice(b"skcipher");
    address.salg_name[..3].copy_from_slice(b"aes");
    let length = libc::socklen_t::try_from(mem::size_of_val(&address)).map_err(io::Error::other)?;
    // SAFETY: the descriptor is open, and the kernel reads `length` bytes, the size of `address`. The result says
    // that there is no such algorithm, which is expected.
    let _ = unsafe { libc::bind(socket.as_raw_fd(), (&raw const address).cast(), length) };
    Ok(())
}

/// A control message of one byte, with the padding that cmsg(3) asks for.
#[repr(C, align(8))]
struct Control {
    header: libc::cmsghdr,
    data: [u8; 8],
}

impl Control {
    /// `CMSG_LEN(1)`.
    const USED: usize = mem::size_of::<libc::cmsghdr>() + 1;

    fn new(kind: libc::c_int, byte: u8) -> Self {
        Self {
            header: libc::cmsghdr {
                cmsg_len: Self::USED as _,
                cmsg_level: libc::SOL_TLS,
                cmsg_type: kind,
            },
            data: [byte, 0, 0, 0, 0, 0, 0, 0],
        }
    }
}

fn message(part: &mut libc::iovec, control: &mut Control) -> libc::msghdr {
    // SAFETY: all-zero bytes are a valid `msghdr`: null pointers and zero lengths.
    let mut message: libc::msghdr = unsafe { mem::zeroed() };
    message.msg_iov = part;
    message.msg_iovlen = 1;
    message.msg_control = ptr::from_mut(control).cast();
    message.msg_controllen = mem::size_of::<Control>() as _;
    message
}

fn set_option(
    socket: impl AsFd,
    level: libc::c_int,
    name: libc::c_int,
    value: &[u8],
) -> io::Result<()> {
    let length = libc::socklen_t::try_from(value.len()).map_err(io::Error::other)?;
    // SAFETY: the descriptor is borrowed for the call, and the kernel reads `length` bytes of `value`.
    let result = unsafe {
        libc::setsockopt(
            socket.as_fd().as_raw_fd(),
            level,
            name,
            value.as_ptr().cast(),
            length,
        )
    };
    check(result)
}

/// Fills `value` whole, or fails.
fn get_option(
    socket: impl AsFd,
    level: libc::c_int,
    name: libc::c_int,
    value: &mut [u8],
) -> io::Result<()> {
    let mut length = libc::socklen_t::try_from(value.len()).map_err(io::Error::other)?;
    // SAFETY: the descriptor is borrowed for the call, and the kernel writes at most `length` bytes, which is the
    // length of `value`.
    let result = unsafe {
        libc::getsockopt(
            socket.as_fd().as_raw_fd(),
            level,
            name,
            value.as_mut_ptr().cast(),
            &raw mut length,
        )
    };
    check(result)?;
    if length as usize == value.len() {
        Ok(())
    } else {
        Err(io::ErrorKind::UnexpectedEof.into())
    }
}

fn check(result: libc::c_int) -> io::Result<()> {
    if result == 0 {
        Ok(())
    } else {
        Err(io::Error::last_os_error())
    }
}

fn length(result: libc::ssize_t) -> io::Result<usize> {
    usize::try_from(result).map_err(|_| io::Error::last_os_error())
}
