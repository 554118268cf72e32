//! `connect()`: send a captured destination to the agent's listener in the same network namespace.

use aya_ebpf::{
    helpers::{bpf_get_current_ancestor_cgroup_id, bpf_get_current_cgroup_id, bpf_set_retval},
    maps::lpm_trie::Key,
    programs::SockAddrContext,
};
use aya_log_ebpf::debug;
use sealane_common::{Address, EventKind, OnLoss, OriginalDestination, Workload};

use crate::{
    context::{
        Endpoint, Family, PROCEED, REFUSE, bind_to_loopback, is_stream, netns_of, now,
        set_user_endpoint, socket_cookie, user_endpoint,
    },
    events::emit,
    maps::{AGENT, DESTINATIONS, OTHERS, SOCKETS, WORKLOADS},
};

const ECONNREFUSED: i32 = 111;
const LOOPBACK_V4: Address = Address([0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff, 127, 0, 0, 1]);
const LOOPBACK_V6: Address = Address([0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1]);

pub fn connect(ctx: &SockAddrContext, family: Family) -> i32 {
    if !is_stream(ctx) {
        return PROCEED;
    }
    let wanted = user_endpoint(ctx, family);
    if wanted.address.is_loopback() {
        return PROCEED;
    }
    let netns = netns_of(ctx);
    // SAFETY: the value is only read; the agent replaces values whole.
    let Some(workload) = (unsafe { WORKLOADS.get(&netns) }) else {
        return match is_held_back(&wanted, netns) {
            true => refuse(EventKind::UNKNOWN_POD, netns, &wanted),
            false => PROCEED,
        };
    };
    // A socket may be connected again after a failure: what an earlier try left must not speak for this one.
    let cookie = socket_cookie(ctx);
    let _ = SOCKETS.remove(&cookie);
    match decide(&wanted, workload) {
        Course::Untouched => PROCEED,
        Course::Direct => {
            emit(EventKind::WENT_DIRECT, netns, wanted.address, wanted.port);
            PROCEED
        }
        Course::Refuse(kind) => refuse(kind, netns, &wanted),
        Course::Redirect(listener) => {
            let original = OriginalDestination::new(wanted.address, wanted.port);
            if SOCKETS.insert(&cookie, &original, 0).is_err() {
                return refuse(EventKind::MAP_FULL, netns, &wanted);
            }
            debug!(
                ctx,
                "redirect: netns {} port {} -> {}", netns, wanted.port, listener.port
            );
            bind_to_loopback(ctx);
            set_user_endpoint(ctx, family, listener);
            PROCEED
        }
    }
}

enum Course {
    Untouched,
    Direct,
    Refuse(u32),
    Redirect(Endpoint),
}

fn decide(wanted: &Endpoint, workload: &Workload) -> Course {
    let Some(agent) = AGENT.get(0) else {
        return Course::Refuse(EventKind::LEASE_LAPSED);
    };
    // SAFETY: takes nothing.
    let ours = unsafe { bpf_get_current_cgroup_id() } == agent.cgroup;
    if ours || wanted.address == workload.address_v4 || wanted.address == workload.address_v6 {
        return Course::Untouched;
    }
    let Some(destination) = DESTINATIONS.get(&Key::new(128, wanted.address)) else {
        return Course::Untouched;
    };
    if now() > agent.lease_expires {
        let direct =
            workload.outbound_on_loss == OnLoss::DIRECT && destination.on_loss == OnLoss::DIRECT;
        return if direct {
            Course::Direct
        } else {
            Course::Refuse(EventKind::LEASE_LAPSED)
        };
    }
    let (address, port) = if wanted.address.is_v4() {
        (LOOPBACK_V4, workload.outbound_v4)
    } else {
        (LOOPBACK_V6, workload.outbound_v6)
    };
    if port == 0 {
        return Course::Refuse(EventKind::NO_LISTENER);
    }
    Course::Redirect(Endpoint { address, port })
}

/// Of a pod that nobody has spoken of yet, what would be captured if it were in the mesh: it may be.
fn is_held_back(wanted: &Endpoint, netns: u64) -> bool {
    let Some(agent) = AGENT.get(0) else {
        return false;
    };
    // SAFETY: the value is not even read.
    if agent.pods == 0 || unsafe { OTHERS.get(&netns) }.is_some() {
        return false;
    }
    let Some(destination) = DESTINATIONS.get(&Key::new(128, wanted.address)) else {
        return false;
    };
    let lost = now() > agent.lease_expires;
    !(lost && destination.on_loss == OnLoss::DIRECT) && is_below(agent.pods)
}

/// Whether the process is in a cgroup below this one, which is not far from the root.
fn is_below(cgroup: u64) -> bool {
    const DEEPEST: i32 = 8;
    for level in 0..DEEPEST {
        // SAFETY: takes a number; zero for a level that the process's cgroup doesn't have.
        if unsafe { bpf_get_current_ancestor_cgroup_id(level) } == cgroup {
            return true;
        }
    }
    false
}

/// Fails the connect with `ECONNREFUSED`, which applications know, rather than the default `EPERM`.
fn refuse(kind: u32, netns: u64, wanted: &Endpoint) -> i32 {
    emit(kind, netns, wanted.address, wanted.port);
    // SAFETY: the helper only sets what the syscall returns.
    let _ = unsafe { bpf_set_retval(-ECONNREFUSED) };
    REFUSE
}
