//! The agent's only unsafe module: system calls that no library wraps. Every function is safe to call.
#![expect(unsafe_code, reason = "raw system calls")]

use std::{
    io, mem,
    os::fd::{AsFd, AsRawFd as _, OwnedFd},
};

use tokio::io::unix::AsyncFd;

/// `SO_NETNS_COOKIE` (include/uapi/asm-generic/socket.h, since Linux 5.14).
const SO_NETNS_COOKIE: libc::c_int = 71;

/// The cookie of the network namespace that a socket belongs to, as `bpf_get_netns_cookie` gives it.
///
/// # Errors
/// As getsockopt(2); `ENOPROTOOPT` before Linux 5.14.
pub fn netns_cookie(socket: impl AsFd) -> io::Result<u64> {
    let mut cookie = 0_u64;
    const SIZE: libc::socklen_t = 8;
    const { assert!(mem::size_of::<u64>() == SIZE as usize) };
    let mut length = SIZE;
    // SAFETY: the descriptor is borrowed for the call; the kernel writes at most `length` bytes, which is the
    // size of `cookie`, and any bytes are a valid `u64`.
    let result = unsafe {
        libc::getsockopt(
            socket.as_fd().as_raw_fd(),
            libc::SOL_SOCKET,
            SO_NETNS_COOKIE,
            (&raw mut cookie).cast(),
            &raw mut length,
        )
    };
    if result == 0 {
        Ok(cookie)
    } else {
        Err(io::Error::last_os_error())
    }
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
/// connections once made, and idle connections cost up to twice as much. Nothing allocates on the byte path,
/// so there is no contention to avoid. Has no effect once threads have been started, or with another libc.
pub fn one_heap() {
    #[cfg(target_env = "gnu")]
    // SAFETY: mallopt only sets a parameter of the allocator.
    let _ = unsafe { libc::mallopt(libc::M_ARENA_MAX, 1) };
}
