//! tc, on each interface of a pod but loopback: what really leaves and reaches it. Counts, and lets everything pass.
//!
//! The pod's own end is watched, in its own network namespace: macvlan, ipvlan and virtual functions have no other. What
//! the agent and the application say to each other stays on loopback. Which pod it is stands in read-only data, as for
//! `sk_lookup`: only since Linux 6.14 can this type of program ask. A pod's own programs do no more than hand that on to
//! the one that follows, of which there is one for all: the verifier takes tens of milliseconds for it. When a guard comes, the stream that `attest` has
//! followed tells it what the first payload was.

use core::arch::asm;

use aya_ebpf::{
    EbpfContext as _, bindings::BPF_NOEXIST, cty::c_void, helpers::bpf_loop, programs::TcContext,
};
use sealane_common::{
    PortModes, Way, WireFlow, WireKey, WireTotals,
    framing::{Counts, MAX_STEPS, Payload, Stream, Walk},
};

use crate::{
    context::now,
    maps::{NETNS_COOKIE, WIRE_EXCUSED, WIRE_FLOWS, WIRE_PROGRAM, WIRE_TOTALS, WORKLOADS},
    packet::{ACK, Ends, FIN, Packet, RST, SYN, Segment, URG, parse},
};

/// Whoever else is asked decides (`TC_ACT_UNSPEC`, `TCX_NEXT`).
const NEXT: i32 = -1;
/// How often a stream is asked for that another processor follows: longer than any takes for a packet.
const SPINS: u32 = 1 << 14;

/// Whose wire it is, and in which direction.
#[derive(Clone, Copy)]
struct Wire {
    netns: u64,
    /// One of [`Way`].
    way: usize,
}

/// A pod's own program: hands on whose packet it is.
#[inline(always)]
pub fn hand_on(ctx: &mut TcContext, way: u32) -> i32 {
    let netns = NETNS_COOKIE.load();
    let note = ctx.cb_mut();
    note[0] = netns as u32;
    note[1] = (netns >> 32) as u32;
    note[2] = way;
    // SAFETY: it does not come back, and nothing here has to be cleaned up. If the agent could load no program to go to
    // it does come back.
    unsafe { WIRE_PROGRAM.tail_call(ctx, 0) };
    NEXT
}

/// The program of all pods.
#[inline(always)]
pub fn watch(ctx: &TcContext) -> i32 {
    let note = ctx.cb();
    let wire = Wire {
        netns: u64::from(note[0]) | u64::from(note[1]) << 32,
        way: (note[2] & 1) as usize,
    };
    let (counts, strict) = match parse(ctx) {
        Packet::Other => return NEXT,
        Packet::Opaque(bytes) => (unclassified(bytes), 0),
        Packet::First(ends, bytes) => (doubt(&ends, bytes, wire), 0),
        Packet::Tcp(segment) => attest(ctx, &segment, wire),
    };
    add(wire, &counts, strict);
    NEXT
}

/// In read-only data: the stack is small.
static EMPTY: WireFlow = WireFlow::EMPTY;
static NOTHING: WireTotals = WireTotals::EMPTY;

struct Reader {
    ctx: TcContext,
    /// Where the payload begins.
    payload: u32,
}

impl Payload for Reader {
    #[inline(always)]
    fn header(&self, at: u32) -> Option<u64> {
        let bytes = self
            .ctx
            .load::<[u8; 5]>((self.payload + at) as usize)
            .ok()?;
        let version =
            u64::from(bytes[0]) << 32 | u64::from(bytes[1]) << 24 | u64::from(bytes[2]) << 16;
        Some(version | u64::from(bytes[3]) << 8 | u64::from(bytes[4]))
    }

    #[inline(always)]
    fn byte(&self, at: u32) -> Option<u8> {
        self.ctx.load::<u8>((self.payload + at) as usize).ok()
    }

    /// One body for all steps: the verifier looks at it once, and not at each way through thousands of them.
    #[inline(always)]
    fn walk(walk: &mut Walk<'_, Self>) {
        let walk: *mut Walk<'_, Self> = walk;
        // SAFETY: the helper hands the callback what it is given here, and keeps nothing.
        let _ = unsafe { bpf_loop(MAX_STEPS, step as *mut c_void, walk.cast(), 0) };
    }
}

#[inline(always)]
fn key(ends: &Ends, wire: Wire) -> WireKey {
    let (local, remote) = if wire.way == Way::SENT {
        (ends.source, ends.destination)
    } else {
        (ends.destination, ends.source)
    };
    WireKey::new(wire.netns, local, remote)
}

/// A part of the connection is in fragments: nobody can vouch for it any more.
#[inline(always)]
fn doubt(ends: &Ends, bytes: u32, wire: Wire) -> Counts {
    if let Some(flow) = flow(&key(ends, wire), true) {
        // SAFETY: as in `attest`.
        unsafe { (*flow).doubted = 1 };
    }
    unclassified(bytes)
}

#[inline(always)]
fn attest(ctx: &TcContext, segment: &Segment, wire: Wire) -> (Counts, u64) {
    let way = wire.way;
    let key = key(&segment.ends, wire);
    let is_syn = segment.flags & SYN != 0;
    let Some(flow) = flow(&key, is_syn || segment.length > 0) else {
        return (unclassified(segment.length), 0);
    };
    // SAFETY: a value of a map lives as long as the program runs. Of what others write at the same time, `lock` keeps
    // apart what must not be mixed up; the rest are single numbers.
    let flow = unsafe { &mut *flow };
    flow.seen = now();
    if segment.is_mere_acknowledgement() && flow.closed == 0 {
        return (Counts::NONE, 0);
    }
    let lock = &raw mut flow.streams[way].lock;
    if !acquire(lock) {
        flow.doubted = 1;
        return (unclassified(segment.length), 0);
    }
    let mut sequence = segment.sequence;
    let mut before = flow.streams[way].counts;
    if is_syn {
        // An excuse was for the connection before.
        let _ = WIRE_EXCUSED.remove(&key);
        before = flow.opened(way, segment.flags & ACK == 0, sequence);
        sequence = sequence.wrapping_add(1);
    }
    let reader = Reader {
        ctx: TcContext::new(ctx.as_ptr().cast()),
        payload: segment.payload,
    };
    if segment.flags & URG != 0 {
        flow.interrupt(way);
    }
    let stream: &mut Stream = &mut flow.streams[way];
    stream.follow(sequence, segment.length, reader);
    let counts = stream.counts.since(&before);
    if segment.flags & RST != 0 {
        flow.reset(way, segment.sequence);
    }
    let acknowledged = (segment.flags & ACK != 0).then_some(segment.acknowledged);
    let over = flow.closing(way, segment.flags & FIN != 0, acknowledged);
    let is_answer = way == Way::SENT && flow.is_inbound();
    exchange(lock, 0);
    let strict = if is_answer && counts.plaintext > 0 && is_strict(&key) {
        counts.plaintext
    } else {
        0
    };
    if over {
        let _ = WIRE_FLOWS.remove(&key);
    }
    (counts, strict)
}

/// Whether policy has nothing in clear on this connection.
#[inline(always)]
fn is_strict(key: &WireKey) -> bool {
    // SAFETY: the value is only read; the agent replaces values whole.
    let workload = unsafe { WORKLOADS.get(key.netns) };
    // What a pod forwards for others is not its own answer.
    workload.is_some_and(|workload| {
        (workload.address_v4 == key.local || workload.address_v6 == key.local)
            && workload.mode_of(key.local_port) == PortModes::STRICT
    })
        // SAFETY: only asked whether it is there.
        && unsafe { WIRE_EXCUSED.get(key) }.is_none()
}

/// For `bpf_loop`: 0 goes on, 1 ends.
///
/// # Safety
/// `walk` is the one that `Payload::walk` was given.
unsafe extern "C" fn step(_: u64, walk: *mut c_void) -> u64 {
    // SAFETY: by the caller's promise; nobody else has it while the loop runs.
    let walk = unsafe { &mut *walk.cast::<Walk<'_, Reader>>() };
    u64::from(!walk.step())
}

/// The flow's place in the map; one is made for what `matters`. `None`: there is none, or no room for one.
#[inline(always)]
fn flow(key: &WireKey, matters: bool) -> Option<*mut WireFlow> {
    if let Some(flow) = WIRE_FLOWS.get_ptr_mut(key) {
        return Some(flow);
    }
    if matters && is_enrolled(key.netns) {
        // Another processor may have been faster.
        let _ = WIRE_FLOWS.insert(key, &EMPTY, u64::from(BPF_NOEXIST));
        return WIRE_FLOWS.get_ptr_mut(key);
    }
    None
}

/// Two processors may have packets of one direction at the same time.
#[inline(always)]
fn acquire(lock: *mut u64) -> bool {
    if exchange(lock, 1) == 0 {
        return true;
    }
    let mut asked = Asked { lock, got: 0 };
    let context: *mut Asked = &raw mut asked;
    // SAFETY: the helper hands the callback what it is given here.
    let _ = unsafe { bpf_loop(SPINS, ask as *mut c_void, context.cast(), 0) };
    asked.got != 0
}

struct Asked {
    lock: *mut u64,
    got: u64,
}

/// For `bpf_loop`: 0 goes on, 1 ends.
///
/// # Safety
/// `asked` is the one that `acquire` has given.
unsafe extern "C" fn ask(_: u64, asked: *mut c_void) -> u64 {
    // SAFETY: by the caller's promise; nobody else has it while the loop runs.
    let asked = unsafe { &mut *asked.cast::<Asked>() };
    asked.got = u64::from(exchange(asked.lock, 1) == 0);
    asked.got
}

/// In one step and fully ordered (BPF_XCHG, since Linux 5.12); core has it not for this target.
#[inline(always)]
fn exchange(place: *mut u64, mut value: u64) -> u64 {
    // SAFETY: it points into a map's value, which lives as long as the program runs, and is aligned.
    unsafe {
        asm!(
            "{value} = xchg_64({place} + 0, {value})",
            value = inout(reg) value,
            place = in(reg) place,
            options(nostack),
        );
    }
    value
}

#[inline(always)]
fn unclassified(bytes: u32) -> Counts {
    Counts {
        unclassified: u64::from(bytes),
        ..Counts::default()
    }
}

#[inline(always)]
fn add(wire: Wire, counts: &Counts, strict: u64) {
    if counts.bytes() + counts.repeated == 0 {
        return;
    }
    let Wire { netns, way } = wire;
    if let Some(totals) = totals(netns) {
        // SAFETY: as above, and each processor has its own.
        let totals = unsafe { &mut *totals };
        totals.ways[way].add(counts);
        totals.strict += strict;
    }
}

/// A pod's place in the map.
#[inline(always)]
fn totals(netns: u64) -> Option<*mut WireTotals> {
    if let Some(totals) = WIRE_TOTALS.get_ptr_mut(netns) {
        return Some(totals);
    }
    if !is_enrolled(netns) {
        return None;
    }
    let _ = WIRE_TOTALS.insert(netns, &NOTHING, u64::from(BPF_NOEXIST));
    WIRE_TOTALS.get_ptr_mut(netns)
}

/// Of a pod that has left, nothing is kept any more, though its programs may still be there.
#[inline(always)]
fn is_enrolled(netns: u64) -> bool {
    // SAFETY: only asked whether it is there.
    unsafe { WORKLOADS.get(netns) }.is_some()
}
