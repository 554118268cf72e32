//! A socket of a pod is gone: forget what was kept under its cookie.

use aya_ebpf::{EbpfContext as _, helpers::bpf_get_socket_cookie, programs::SockContext};

use crate::{context::PROCEED, maps::SOCKETS};

pub fn release(ctx: &SockContext) -> i32 {
    // SAFETY: the helper takes the program's own context.
    let cookie = unsafe { bpf_get_socket_cookie(ctx.as_ptr()) };
    let _ = SOCKETS.remove(&cookie);
    PROCEED
}
