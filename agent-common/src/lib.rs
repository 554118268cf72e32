//! Types shared by Sealane's agent and its eBPF programs.
//!
//! Every struct here is the layout of a BPF map's key or value, or of a ring-buffer record: no implicit
//! padding, no `bool`, `enum` or `Option`, addresses always sixteen bytes (IPv4 as `::ffff:a.b.c.d`), ports
//! always in host order. The programs and the agent decide, this crate says what the bytes mean; the one piece of logic
//! is [`framing`], so that it can be tested where it doesn't run. Any change of a layout bumps [`LAYOUT_VERSION`], which is part of the path that the maps are
//! pinned under, so that an agent never adopts maps of another layout.
#![no_std]

mod address;
mod event;
mod flow;
pub mod framing;
mod layout;
mod wire;
mod workload;

pub use address::Address;
pub use event::{Event, EventKind};
pub use flow::{ListenKey, ListenerKey, OriginalDestination, PeerKey, SourceKey};
pub use wire::{Closed, Doubt, Verdict, Way, WireFlow, WireKey, WireTotals};
pub use workload::{
    AgentState, Destination, MAX_PORT_MODES, OnLoss, PortMode, PortModes, Workload,
};

/// Version of every layout in this crate taken together. Part of the pin path.
pub const LAYOUT_VERSION: u32 = 2;

/// Names of the maps, as they stand in the object file and below the pin directory.
pub mod map {
    /// `u32 (always 0) -> AgentState`
    pub const AGENT: &str = "AGENT";
    /// `u64 (network namespace cookie) -> Workload`
    pub const WORKLOADS: &str = "WORKLOADS";
    /// `u64 (network namespace cookie) -> u32`: the node's own, and those of pods that are known not to be in the mesh
    pub const OTHERS: &str = "OTHERS";
    /// Longest prefix match of an [`Address`](crate::Address) `-> Destination`
    pub const DESTINATIONS: &str = "DESTINATIONS";
    /// `u64 (socket cookie) -> OriginalDestination`, for the life of the client's socket
    pub const SOCKETS: &str = "SOCKETS";
    /// `SourceKey -> OriginalDestination`, from establishment until the agent takes it
    pub const ORIGINALS: &str = "ORIGINALS";
    /// `PeerKey -> OriginalDestination` holding the real client of a connection that the agent dialled
    pub const CLIENTS: &str = "CLIENTS";
    /// `ListenKey -> u32`: ports of enrolled pods on which somebody listens
    pub const LISTENING: &str = "LISTENING";
    /// `ListenerKey -> inbound listener of the agent`
    pub const LISTENERS: &str = "LISTENERS";
    /// `WireKey -> WireFlow`: connections on the wire
    pub const WIRE_FLOWS: &str = "WIRE_FLOWS";
    /// `u64 (network namespace cookie) -> WireTotals`, for each processor
    pub const WIRE_TOTALS: &str = "WIRE_TOTALS";
    /// The program that follows the wire of all pods
    pub const WIRE_PROGRAM: &str = "WIRE_PROGRAM";
    /// `WireKey -> u8`: connections that a STRICT port answers in clear with good reason, as the agent says
    pub const WIRE_EXCUSED: &str = "WIRE_EXCUSED";
    /// Ring buffer of [`Event`](crate::Event)
    pub const EVENTS: &str = "EVENTS";
}

/// Capacities, in entries (bytes for the ring buffer). A full map refuses; it never evicts.
pub mod capacity {
    pub const WORKLOADS: u32 = 4_096;
    pub const OTHERS: u32 = 4_096;
    pub const DESTINATIONS: u32 = 262_144;
    pub const SOCKETS: u32 = 262_144;
    pub const ORIGINALS: u32 = 65_536;
    pub const CLIENTS: u32 = 262_144;
    pub const LISTENING: u32 = 65_536;
    pub const WIRE_FLOWS: u32 = 131_072;
    pub const WIRE_TOTALS: u32 = 4_096;
    /// The only one that evicts: what is forgotten is told of too often, not too seldom.
    pub const WIRE_EXCUSED: u32 = 8_192;
    pub const EVENTS: u32 = 1 << 18;
}

/// Read-only globals that the agent sets when it loads the object.
pub mod global {
    /// `u32`: [`LAYOUT_VERSION`](crate::LAYOUT_VERSION) that the object was built with.
    pub const LAYOUT: &str = "LAYOUT";
    /// `u64`: the network namespace cookie that one `sk_lookup` instance serves. The program type has no
    /// helper to ask for it (net/core/filter.c, `sk_lookup_func_proto`), so each pod gets its own instance.
    pub const NETNS_COOKIE: &str = "NETNS_COOKIE";
}
