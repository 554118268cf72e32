//! `getpeername`, `accept` and `getsockname`: show the names that the application would see without us.

use aya_ebpf::programs::SockAddrContext;
use sealane_common::{OriginalDestination, PeerKey};

use crate::{
    context::{
        Endpoint, Family, PROCEED, is_stream, netns_of, own_port, set_user_endpoint, socket_cookie,
        user_endpoint,
    },
    maps::{CLIENTS, SOCKETS, WORKLOADS},
};

/// The peer of a redirected client is the destination that it asked for; the peer of a connection that the
/// agent dialled is the client that it dialled for.
pub fn peer(ctx: &SockAddrContext, family: Family) -> i32 {
    if !is_stream(ctx) {
        return PROCEED;
    }
    let shown = user_endpoint(ctx, family);
    let real = if shown.address.is_loopback() {
        redirected(ctx)
    } else {
        let key = PeerKey::new(netns_of(ctx), shown.address, shown.port, own_port(ctx));
        // SAFETY: the value is copied at once.
        unsafe { CLIENTS.get(&key) }.copied()
    };
    if let Some(OriginalDestination { address, port, .. }) = real {
        set_user_endpoint(ctx, family, Endpoint { address, port });
    }
    PROCEED
}

/// A redirected client's socket has a loopback address; without us it would have the pod's.
pub fn own(ctx: &SockAddrContext, family: Family) -> i32 {
    if !is_stream(ctx) {
        return PROCEED;
    }
    let shown = user_endpoint(ctx, family);
    if !shown.address.is_loopback() || redirected(ctx).is_none() {
        return PROCEED;
    }
    // SAFETY: the value is only read; the agent replaces values whole.
    if let Some(workload) = unsafe { WORKLOADS.get(&netns_of(ctx)) } {
        let address = if shown.address.is_v4() {
            workload.address_v4
        } else {
            workload.address_v6
        };
        set_user_endpoint(
            ctx,
            family,
            Endpoint {
                address,
                port: shown.port,
            },
        );
    }
    PROCEED
}

fn redirected(ctx: &SockAddrContext) -> Option<OriginalDestination> {
    // SAFETY: the value is copied at once.
    unsafe { SOCKETS.get(&socket_cookie(ctx)) }.copied()
}
