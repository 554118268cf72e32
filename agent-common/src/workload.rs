//! What the kernel knows of a workload, of a destination, and of the agent.

use crate::Address;

/// Ports that can differ from a workload's own mode. More in one workload is refused by the agent.
pub const MAX_PORT_MODES: usize = 32;

/// Peer authentication of one port (Istio `PeerAuthentication.spec.portLevelMtls`).
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct PortMode {
    /// Host order.
    pub port: u16,
    /// One of the constants of [`PortModes`]; zero marks an unused slot.
    pub mode: u8,
    pub pad: u8,
}

/// Values of `Workload::mode` and [`PortMode::mode`]. Zero is none of them: a value that was never written
/// must not read as a permission.
#[derive(Debug)]
pub struct PortModes;

impl PortModes {
    pub const DISABLE: u8 = 1;
    pub const PERMISSIVE: u8 = 2;
    pub const STRICT: u8 = 3;
}

/// What happens to new connections once the agent's lease has lapsed.
#[derive(Debug)]
pub struct OnLoss;

impl OnLoss {
    /// Refuse. Also what any unknown value means.
    pub const REFUSE: u32 = 1;
    /// Let them go where they wanted to go, in clear.
    pub const DIRECT: u32 = 2;
}

/// An enrolled workload. Key: the cookie of its network namespace.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Workload {
    /// The pod's own addresses, shown by `getsockname` on a redirected socket; unspecified if it has none.
    pub address_v4: Address,
    pub address_v6: Address,
    /// Ports of the agent's outbound listeners on `127.0.0.1` and `::1` in the pod; zero: no such family.
    pub outbound_v4: u16,
    pub outbound_v6: u16,
    /// Inbound mode of the ports that `ports` doesn't name ([`PortModes`]).
    pub mode: u8,
    pub pad: [u8; 3],
    /// Outbound connections after agent loss ([`OnLoss`]).
    pub outbound_on_loss: u32,
    /// Inbound connections to PERMISSIVE ports after agent loss ([`OnLoss`]); STRICT ports refuse.
    pub permissive_on_loss: u32,
    pub ports: [PortMode; MAX_PORT_MODES],
}

impl Workload {
    /// The mode of a port ([`PortModes`]).
    #[inline(always)]
    #[must_use]
    pub const fn mode_of(&self, port: u16) -> u8 {
        let mut i = 0;
        while i < MAX_PORT_MODES {
            let entry = self.ports[i];
            if entry.mode != 0 && entry.port == port {
                return entry.mode;
            }
            i += 1;
        }
        self.mode
    }
}

/// A destination whose connections are captured. Key: its address, longest prefix first.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Destination {
    /// Connections to it after agent loss ([`OnLoss`]).
    pub on_loss: u32,
    pub pad: u32,
}

/// The agent as the kernel sees it.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct AgentState {
    /// `CLOCK_BOOTTIME` in nanoseconds at which the agent counts as lost. Zero: it has left.
    pub lease_expires: u64,
    /// Connections of this cgroup (the agent's own) are never captured.
    pub cgroup: u64,
    /// The cgroup of all pods: what is below it and in no map is a pod that nobody has spoken of yet, and is refused
    /// where it would be captured if it were in the mesh. Zero: such pods are let through.
    pub pods: u64,
}
