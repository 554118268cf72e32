//! Records of the ring buffer.

use crate::Address;

/// Values of [`Event::kind`].
#[derive(Debug)]
pub struct EventKind;

impl EventKind {
    /// A connect was refused because a map had no room.
    pub const MAP_FULL: u32 = 1;
    /// A connect was refused because the agent's lease had lapsed.
    pub const LEASE_LAPSED: u32 = 2;
    /// A connect was refused because the pod has no listener for the address family.
    pub const NO_LISTENER: u32 = 3;
    /// A socket of an enrolled pod began or ceased to listen.
    pub const LISTEN_CHANGED: u32 = 4;
    /// A connect to a mesh destination went out directly because the lease had lapsed and policy allows it.
    pub const WENT_DIRECT: u32 = 5;
    /// A connect was refused because it is not known yet whether its pod is in the mesh.
    pub const UNKNOWN_POD: u32 = 6;
}

/// Something that happened in a program, for log and metric.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Event {
    /// One of [`EventKind`].
    pub kind: u32,
    /// Host order.
    pub port: u16,
    pub pad: u16,
    /// Network namespace cookie of the pod.
    pub netns: u64,
    /// The destination of the connect, or the address listened on.
    pub address: Address,
}
