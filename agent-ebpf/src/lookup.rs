//! `sk_lookup`: a connection that arrives for an enrolled pod goes to the agent's listener there.
//!
//! The program type can't ask for the network namespace, so every pod has an instance with its cookie in
//! read-only data. Dropping makes the stack answer with a reset, exactly as for a port that nobody listens
//! on (net/ipv4/inet_hashtables.c, `__inet_lookup_listener`): fail closed and look closed are one verdict.

use aya_ebpf::{
    bindings::sk_action::{SK_DROP, SK_PASS},
    programs::SkLookupContext,
};
use aya_log_ebpf::debug;
use sealane_common::{ListenKey, ListenerKey, OnLoss, PortModes};

use crate::{
    context::{LOOPBACK_IFINDEX, arrival, now},
    maps::{AGENT, LISTENERS, LISTENING, NETNS_COOKIE, WORKLOADS},
};

const IPPROTO_TCP: u32 = 6;

pub fn steer(ctx: &SkLookupContext) -> u32 {
    let arrival = arrival(ctx);
    // What the pod sends to its own address arrives over lo with either sign.
    if arrival.protocol != IPPROTO_TCP
        || arrival.ifindex == LOOPBACK_IFINDEX
        || arrival.remote == arrival.local.address
    {
        return SK_PASS;
    }
    let netns = NETNS_COOKIE.load();
    // SAFETY: the value is only read; the agent replaces values whole.
    let Some(workload) = (unsafe { WORKLOADS.get(&netns) }) else {
        return SK_DROP;
    };
    let port = arrival.local.port;
    let mode = workload.mode_of(port);
    if mode == PortModes::DISABLE {
        return SK_PASS;
    }
    // SAFETY: only asked whether it is there.
    if unsafe { LISTENING.get(&ListenKey::new(netns, port)) }.is_none() {
        return SK_DROP;
    }
    let alive = AGENT
        .get(0)
        .is_some_and(|agent| now() <= agent.lease_expires);
    let listener = ListenerKey::new(netns, arrival.local.address.is_v4());
    if alive && LISTENERS.redirect_sk_lookup(ctx, listener, 0).is_ok() {
        return SK_PASS;
    }
    debug!(ctx, "no agent: netns {} port {} mode {}", netns, port, mode);
    if mode == PortModes::PERMISSIVE && workload.permissive_on_loss == OnLoss::DIRECT {
        SK_PASS
    } else {
        SK_DROP
    }
}
