//! `sockops`: tell the agent where an established redirected connection wanted to go, and which ports of an
//! enrolled pod are listened on.

use aya_ebpf::{
    EbpfContext as _,
    bindings::{
        BPF_SOCK_OPS_ACTIVE_ESTABLISHED_CB, BPF_SOCK_OPS_STATE_CB, BPF_SOCK_OPS_STATE_CB_FLAG,
        BPF_SOCK_OPS_TCP_LISTEN_CB, BPF_TCP_CLOSE, BPF_TCP_LISTEN,
    },
    helpers::{bpf_get_netns_cookie, bpf_get_socket_cookie},
    programs::SockOpsContext,
};
use sealane_common::{EventKind, ListenKey, SourceKey};

use crate::{
    context::own_endpoint,
    events::emit,
    maps::{LISTENING, ORIGINALS, SOCKETS, WORKLOADS},
};

const PROCEED: u32 = 1;

pub fn sockops(ctx: &SockOpsContext) -> u32 {
    match ctx.op() {
        BPF_SOCK_OPS_ACTIVE_ESTABLISHED_CB => publish_original(ctx),
        BPF_SOCK_OPS_TCP_LISTEN_CB => listening(ctx),
        BPF_SOCK_OPS_STATE_CB if ctx.arg(1) == BPF_TCP_CLOSE => closed(ctx),
        _ => {}
    }
    PROCEED
}

fn publish_original(ctx: &SockOpsContext) {
    // SAFETY: the value is copied at once.
    let Some(original) = (unsafe { SOCKETS.get(&socket_cookie(ctx)) }).copied() else {
        return;
    };
    let key = source_key(ctx);
    if ORIGINALS.insert(&key, &original, 0).is_err() {
        // The agent finds no entry for the connection and resets it.
        emit(
            EventKind::MAP_FULL,
            key.netns,
            original.address,
            original.port,
        );
    }
    let _ = ctx.set_cb_flags(BPF_SOCK_OPS_STATE_CB_FLAG as i32);
}

fn listening(ctx: &SockOpsContext) {
    let key = source_key(ctx);
    // SAFETY: only asked whether it is there.
    if key.address.is_loopback() || unsafe { WORKLOADS.get(&key.netns) }.is_none() {
        return;
    }
    let listen = ListenKey::new(key.netns, key.port);
    if LISTENING.insert(&listen, &1, 0).is_err() {
        emit(EventKind::MAP_FULL, key.netns, key.address, key.port);
    }
    let _ = ctx.set_cb_flags(BPF_SOCK_OPS_STATE_CB_FLAG as i32);
}

fn closed(ctx: &SockOpsContext) {
    let key = source_key(ctx);
    if ctx.arg(0) == BPF_TCP_LISTEN {
        // Another socket may share the port (SO_REUSEPORT): the agent looks and removes.
        emit(EventKind::LISTEN_CHANGED, key.netns, key.address, key.port);
    } else {
        let _ = ORIGINALS.remove(&key);
        // Subflows of MPTCP never pass sock_release.
        let _ = SOCKETS.remove(&socket_cookie(ctx));
    }
}

fn socket_cookie(ctx: &SockOpsContext) -> u64 {
    // SAFETY: the helper takes the program's own context.
    unsafe { bpf_get_socket_cookie(ctx.as_ptr()) }
}

fn source_key(ctx: &SockOpsContext) -> SourceKey {
    let own = own_endpoint(ctx);
    // SAFETY: the helper takes the program's own context.
    let netns = unsafe { bpf_get_netns_cookie(ctx.as_ptr()) };
    SourceKey::new(netns, own.address, own.port)
}
