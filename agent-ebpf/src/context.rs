//! Reads and writes of the kernel's contexts, for both families.
//!
//! Every access is one instruction with a constant offset from the untouched context pointer, because that is
//! all that the verifier accepts ("dereference of modified ctx ptr disallowed"); an optimizer that merges the
//! branches of the two families computes the pointer first.

use core::{arch::asm, mem::offset_of};

use aya_ebpf::{
    EbpfContext as _,
    bindings::{bpf_sk_lookup, bpf_sock, bpf_sock_addr, bpf_sock_ops},
    helpers::{bpf_get_netns_cookie, bpf_get_socket_cookie, bpf_ktime_get_boot_ns, bpf_setsockopt},
    programs::{SkLookupContext, SockAddrContext, SockOpsContext},
};
use sealane_common::Address;

const AF_INET: u32 = 2;
const SOCK_STREAM: u32 = 1;
/// `lo` in every network namespace.
pub const LOOPBACK_IFINDEX: u32 = 1;
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

/// Reads a `u32` field of a context.
///
/// # Safety
/// `context` is a valid context with a readable field at `OFFSET`.
#[inline(always)]
unsafe fn load<T, const OFFSET: usize>(context: *const T) -> u32 {
    let value: u64;
    // SAFETY: by the caller's promise.
    unsafe {
        asm!(
            "{value} = *(u32 *)({context} + {offset})",
            value = out(reg) value,
            context = in(reg) context,
            offset = const OFFSET,
            options(nostack, preserves_flags),
        );
    }
    value as u32
}

/// Writes a `u32` field of a context.
///
/// # Safety
/// `context` is a valid context with a field at `OFFSET` that the hook may write.
#[inline(always)]
unsafe fn store<T, const OFFSET: usize>(context: *mut T, value: u32) {
    // SAFETY: by the caller's promise.
    unsafe {
        asm!(
            "*(u32 *)({context} + {offset}) = {value}",
            value = in(reg) u64::from(value),
            context = in(reg) context,
            offset = const OFFSET,
            options(nostack, preserves_flags),
        );
    }
}

/// Reads the four words of an IPv6 address, which start at the offset of `$field`.
macro_rules! load_v6 {
    ($type:ty, $field:ident, $context:expr) => {
        Address::from_v6_be([
            load::<$type, { offset_of!($type, $field) }>($context),
            load::<$type, { offset_of!($type, $field) + 4 }>($context),
            load::<$type, { offset_of!($type, $field) + 8 }>($context),
            load::<$type, { offset_of!($type, $field) + 12 }>($context),
        ])
    };
}

pub fn is_stream(ctx: &SockAddrContext) -> bool {
    // SAFETY: the kernel hands a valid context for the whole run of the program.
    let kind =
        unsafe { load::<bpf_sock_addr, { offset_of!(bpf_sock_addr, type_) }>(ctx.sock_addr) };
    kind == SOCK_STREAM
}

/// The address that the hook is about: the destination of a connect, or the name about to be shown.
#[inline(always)]
pub fn user_endpoint(ctx: &SockAddrContext, family: Family) -> Endpoint {
    let addr = ctx.sock_addr;
    let address = match family {
        // SAFETY: a valid context; these hooks may read the fields of their family.
        Family::V4 => Address::from_v4_be(unsafe {
            load::<bpf_sock_addr, { offset_of!(bpf_sock_addr, user_ip4) }>(addr)
        }),
        // SAFETY: as above.
        Family::V6 => unsafe { load_v6!(bpf_sock_addr, user_ip6, addr) },
    };
    // SAFETY: as above. The port stands in network order in the low half.
    let port = unsafe { load::<bpf_sock_addr, { offset_of!(bpf_sock_addr, user_port) }>(addr) };
    Endpoint {
        address,
        port: u16::from_be(port as u16),
    }
}

/// Replaces what [`user_endpoint`] reads. A v6 socket takes IPv4 in its mapped form, which is what
/// [`Address`] holds.
#[inline(always)]
pub fn set_user_endpoint(ctx: &SockAddrContext, family: Family, to: Endpoint) {
    const V6: usize = offset_of!(bpf_sock_addr, user_ip6);
    let addr = ctx.sock_addr;
    match family {
        // SAFETY: a valid context; these hooks may write the fields of their family.
        Family::V4 => unsafe {
            store::<bpf_sock_addr, { offset_of!(bpf_sock_addr, user_ip4) }>(
                addr,
                to.address.to_v4_be(),
            );
        },
        Family::V6 => {
            let [a, b, c, d] = to.address.to_v6_be();
            // SAFETY: as above.
            unsafe {
                store::<bpf_sock_addr, { V6 }>(addr, a);
                store::<bpf_sock_addr, { V6 + 4 }>(addr, b);
                store::<bpf_sock_addr, { V6 + 8 }>(addr, c);
                store::<bpf_sock_addr, { V6 + 12 }>(addr, d);
            }
        }
    }
    let port = u32::from(to.port.to_be());
    // SAFETY: as above.
    unsafe { store::<bpf_sock_addr, { offset_of!(bpf_sock_addr, user_port) }>(addr, port) };
}

/// Lets a socket that is bound to a device reach loopback, by binding it to that. Does nothing to any other
/// socket; if it fails, so will the connect.
pub fn bind_to_loopback(ctx: &SockAddrContext) {
    const SOL_SOCKET: i32 = 1;
    const SO_BINDTOIFINDEX: i32 = 62;
    // SAFETY: `sk` is a pointer field of a valid context; it is checked before it is followed.
    let sk = unsafe { (*ctx.sock_addr).__bindgen_anon_1.sk };
    if sk.is_null() {
        return;
    }
    // SAFETY: not null, and valid while the hook runs.
    let device = unsafe { load::<bpf_sock, { offset_of!(bpf_sock, bound_dev_if) }>(sk) };
    if device == 0 {
        return;
    }
    let mut index = LOOPBACK_IFINDEX;
    // SAFETY: the helper reads four bytes from where `index` is.
    let _ = unsafe {
        bpf_setsockopt(
            ctx.as_ptr(),
            SOL_SOCKET,
            SO_BINDTOIFINDEX,
            (&raw mut index).cast(),
            4,
        )
    };
}

/// The socket's own port in host order; zero when the context has no socket.
pub fn own_port(ctx: &SockAddrContext) -> u16 {
    // SAFETY: `sk` is a pointer field of a valid context; it is checked before it is followed.
    let sk = unsafe { (*ctx.sock_addr).__bindgen_anon_1.sk };
    if sk.is_null() {
        return 0;
    }
    // SAFETY: not null, and valid while the hook runs. `src_port` is in host order.
    (unsafe { load::<bpf_sock, { offset_of!(bpf_sock, src_port) }>(sk) }) as u16
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

#[inline(always)]
pub fn arrival(ctx: &SkLookupContext) -> Arrival {
    macro_rules! field {
        ($field:ident) => {
            // SAFETY: the kernel hands a valid context, and this type of program may read all of it.
            unsafe { load::<bpf_sk_lookup, { offset_of!(bpf_sk_lookup, $field) }>(ctx.lookup) }
        };
    }
    let (remote, local) = if field!(family) == AF_INET {
        (
            Address::from_v4_be(field!(remote_ip4)),
            Address::from_v4_be(field!(local_ip4)),
        )
    } else {
        // SAFETY: as above.
        let remote = unsafe { load_v6!(bpf_sk_lookup, remote_ip6, ctx.lookup) };
        // SAFETY: as above.
        let local = unsafe { load_v6!(bpf_sk_lookup, local_ip6, ctx.lookup) };
        (remote, local)
    };
    Arrival {
        protocol: field!(protocol),
        ifindex: field!(ingress_ifindex),
        remote,
        local: Endpoint {
            address: local,
            // Host order.
            port: field!(local_port) as u16,
        },
    }
}

/// The own end of a TCP socket whose state changes.
#[inline(always)]
pub fn own_endpoint(ctx: &SockOpsContext) -> Endpoint {
    macro_rules! field {
        ($field:ident) => {
            // SAFETY: the kernel hands a valid context, and this type of program may read these fields.
            unsafe { load::<bpf_sock_ops, { offset_of!(bpf_sock_ops, $field) }>(ctx.ops) }
        };
    }
    let address = if field!(family) == AF_INET {
        Address::from_v4_be(field!(local_ip4))
    } else {
        // SAFETY: as above.
        unsafe { load_v6!(bpf_sock_ops, local_ip6, ctx.ops) }
    };
    Endpoint {
        address,
        // Host order, other than the remote port.
        port: field!(local_port) as u16,
    }
}
