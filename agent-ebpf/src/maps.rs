//! The state that the programs share with each other and with the agent. Layouts: `sealane_common`.
//!
//! Hash maps are not preallocated: they cost what is in them. None evicts: full means refused.

use aya_ebpf::{
    Global,
    bindings::BPF_F_NO_PREALLOC,
    macros::map,
    maps::{Array, HashMap, LpmTrie, LruHashMap, PerCpuHashMap, ProgramArray, RingBuf, SockHash},
};
use sealane_common::{
    Address, AgentState, Destination, LAYOUT_VERSION, ListenKey, ListenerKey, OriginalDestination,
    PeerKey, SourceKey, WireFlow, WireKey, WireTotals, Workload, capacity,
};

#[unsafe(no_mangle)]
pub static LAYOUT: Global<u32> = Global::new(LAYOUT_VERSION);

#[unsafe(no_mangle)]
pub static NETNS_COOKIE: Global<u64> = Global::new(0);

#[map]
pub static AGENT: Array<AgentState> = Array::with_max_entries(1, 0);

#[map]
pub static WORKLOADS: HashMap<u64, Workload> =
    HashMap::with_max_entries(capacity::WORKLOADS, BPF_F_NO_PREALLOC);

#[map]
pub static OTHERS: HashMap<u64, u32> =
    HashMap::with_max_entries(capacity::OTHERS, BPF_F_NO_PREALLOC);

#[map]
pub static DESTINATIONS: LpmTrie<Address, Destination> =
    LpmTrie::with_max_entries(capacity::DESTINATIONS, BPF_F_NO_PREALLOC);

#[map]
pub static SOCKETS: HashMap<u64, OriginalDestination> =
    HashMap::with_max_entries(capacity::SOCKETS, BPF_F_NO_PREALLOC);

#[map]
pub static ORIGINALS: HashMap<SourceKey, OriginalDestination> =
    HashMap::with_max_entries(capacity::ORIGINALS, BPF_F_NO_PREALLOC);

#[map]
pub static CLIENTS: HashMap<PeerKey, OriginalDestination> =
    HashMap::with_max_entries(capacity::CLIENTS, BPF_F_NO_PREALLOC);

#[map]
pub static LISTENING: HashMap<ListenKey, u32> =
    HashMap::with_max_entries(capacity::LISTENING, BPF_F_NO_PREALLOC);

#[map]
pub static LISTENERS: SockHash<ListenerKey> =
    SockHash::with_max_entries(2 * capacity::WORKLOADS, 0);

#[map]
pub static WIRE_FLOWS: HashMap<WireKey, WireFlow> =
    HashMap::with_max_entries(capacity::WIRE_FLOWS, BPF_F_NO_PREALLOC);

#[map]
pub static WIRE_TOTALS: PerCpuHashMap<u64, WireTotals> =
    PerCpuHashMap::with_max_entries(capacity::WIRE_TOTALS, BPF_F_NO_PREALLOC);

#[map]
pub static WIRE_EXCUSED: LruHashMap<WireKey, u8> =
    LruHashMap::with_max_entries(capacity::WIRE_EXCUSED, 0);

#[map]
pub static WIRE_PROGRAM: ProgramArray = ProgramArray::with_max_entries(1, 0);

#[map]
pub static EVENTS: RingBuf = RingBuf::with_byte_size(capacity::EVENTS, 0);
