//! Reads and writes of the kernel's contexts, for both families.
//!
//! Fields are read volatile into locals: a pointer into the context can't be a map key, and the compiler
//! would otherwise pass one (the verifier says "invalid mem access 'ctx'").

use core::ptr::{read_volatile, write_volatile};

use aya_ebpf::{
    EbpfContext as _,
    helpers::{bpf_get_netns_cookie, bpf_get_socket_cookie, bpf_ktime_get_boot_ns},
    programs::{SkLookupContext, SockAddrContext},
};
use sealane_common::Address;

pub const AF_INET: u32 = 2;
const SOCK_STREAM: u32 = 1;
/// Verdicts of the cgroup hooks (`BPF_PROG_TYPE_CGROUP_SOCK_ADDR`).
pub const PROCEED: i32 = 1;
pub const REFUSE: i32 = 0;

/// Which of a context's address fields count.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Family {
    V4,
    V6,
}

/// An address and a port in host order.
#[derive(Clone, Copy)]
pub struct Endpoint {
    pub address: Address,
    pub port: u16,
}

pub fn is_stream(ctx: &SockAddrContext) -> bool {
    // SAFETY: the kernel hands a valid context for the whole run of the program.
    unsafe { read_volatile(&raw const (*ctx.sock_addr).type_) == SOCK_STREAM }
}

/// The address that the hook is about: the destination of a connect, or the name about to be shown.
pub fn user_endpoint(ctx: &SockAddrContext, family: Family) -> Endpoint {
    let addr = ctx.sock_addr;
    let address = match family {
        // SAFETY: as above; aligned four-byte reads of fields that these hooks may read.
        Family::V4 => Address::from_v4_be(unsafe { read_volatile(&raw const (*addr).user_ip4) }),
        // SAFETY: as above.
        Family::V6 => unsafe { read_v6(&raw const (*addr).user_ip6) },
    };
    // SAFETY: as above. The port stands in network order in the low half.
    let port = unsafe { read_volatile(&raw const (*addr).user_port) } as u16;
    Endpoint {
        address,
        port: u16::from_be(port),
    }
}

/// Replaces what [`user_endpoint`] reads. A v6 socket takes IPv4 in its mapped form, which is what
/// [`Address`] holds.
pub fn set_user_endpoint(ctx: &SockAddrContext, family: Family, to: Endpoint) {
    let addr = ctx.sock_addr;
    match family {
        // SAFETY: the hooks of this program may write these fields, four bytes at a time.
        Family::V4 => unsafe { write_volatile(&raw mut (*addr).user_ip4, to.address.to_v4_be()) },
        // SAFETY: as above.
        Family::V6 => unsafe { write_v6(&raw mut (*addr).user_ip6, to.address.to_v6_be()) },
    }
    // SAFETY: as above.
    unsafe { write_volatile(&raw mut (*addr).user_port, u32::from(to.port.to_be())) };
}

/// The socket's own port in host order; zero when the context has no socket.
pub fn own_port(ctx: &SockAddrContext) -> u16 {
    // SAFETY: `sk` is a pointer field of a valid context; it is checked before it is followed.
    let sk = unsafe { (*ctx.sock_addr).__bindgen_anon_1.sk };
    if sk.is_null() {
        return 0;
    }
    // SAFETY: not null, and valid while the hook runs. `src_port` is in host order.
    (unsafe { read_volatile(&raw const (*sk).src_port) }) as u16
}

pub fn netns_of(ctx: &SockAddrContext) -> u64 {
    // SAFETY: the helper takes the program's own context.
    unsafe { bpf_get_netns_cookie(ctx.as_ptr()) }
}

pub fn socket_cookie(ctx: &SockAddrContext) -> u64 {
    // SAFETY: as above.
    unsafe { bpf_get_socket_cookie(ctx.as_ptr()) }
}

/// `CLOCK_BOOTTIME` in nanoseconds.
pub fn now() -> u64 {
    // SAFETY: takes nothing.
    unsafe { bpf_ktime_get_boot_ns() }
}

/// A SYN as `sk_lookup` sees it.
pub struct Arrival {
    pub protocol: u32,
    pub ifindex: u32,
    pub remote: Address,
    pub local: Endpoint,
}

pub fn arrival(ctx: &SkLookupContext) -> Arrival {
    let lookup = ctx.lookup;
    // SAFETY: the kernel hands a valid context; aligned reads of readable fields. The same holds below.
    let family = unsafe { read_volatile(&raw const (*lookup).family) };
    let (remote, local) = if family == AF_INET {
        // SAFETY: see above.
        let remote = unsafe { read_volatile(&raw const (*lookup).remote_ip4) };
        // SAFETY: see above.
        let local = unsafe { read_volatile(&raw const (*lookup).local_ip4) };
        (Address::from_v4_be(remote), Address::from_v4_be(local))
    } else {
        // SAFETY: see above.
        let remote = unsafe { read_v6(&raw const (*lookup).remote_ip6) };
        // SAFETY: see above.
        let local = unsafe { read_v6(&raw const (*lookup).local_ip6) };
        (remote, local)
    };
    Arrival {
        // SAFETY: see above.
        protocol: unsafe { read_volatile(&raw const (*lookup).protocol) },
        // SAFETY: see above.
        ifindex: unsafe { read_volatile(&raw const (*lookup).ingress_ifindex) },
        remote,
        local: Endpoint {
            address: local,
            // SAFETY: see above. `local_port` is in host order.
            port: unsafe { read_volatile(&raw const (*lookup).local_port) } as u16,
        },
    }
}

/// # Safety
/// `from` is an address field of a valid context.
#[inline(always)]
unsafe fn read_v6(from: *const [u32; 4]) -> Address {
    let from = from.cast::<u32>();
    // SAFETY: by the caller's promise; word by word, as the context is rewritten by the verifier.
    unsafe {
        Address::from_v6_be([
            read_volatile(from),
            read_volatile(from.add(1)),
            read_volatile(from.add(2)),
            read_volatile(from.add(3)),
        ])
    }
}

/// # Safety
/// `to` is an address field of a valid context that this hook may write.
#[inline(always)]
unsafe fn write_v6(to: *mut [u32; 4], words: [u32; 4]) {
    let to = to.cast::<u32>();
    // SAFETY: by the caller's promise.
    unsafe {
        write_volatile(to, words[0]);
        write_volatile(to.add(1), words[1]);
        write_volatile(to.add(2), words[2]);
        write_volatile(to.add(3), words[3]);
    }
}
