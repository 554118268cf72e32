//! Keys and values that live as long as a connection or a listener.

use crate::Address;

/// An address and port: where a redirected client wanted to go, or who a connection really comes from.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct OriginalDestination {
    pub address: Address,
    /// Host order.
    pub port: u16,
    pub pad: [u8; 6],
}

impl OriginalDestination {
    #[must_use]
    pub const fn new(address: Address, port: u16) -> Self {
        Self {
            address,
            port,
            pad: [0; 6],
        }
    }
}

/// A redirected client's socket as the agent's listener sees it.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct SourceKey {
    /// Network namespace cookie.
    pub netns: u64,
    pub address: Address,
    /// Host order.
    pub port: u16,
    pub pad: [u8; 6],
}

impl SourceKey {
    #[must_use]
    pub const fn new(netns: u64, address: Address, port: u16) -> Self {
        Self {
            netns,
            address,
            port,
            pad: [0; 6],
        }
    }
}

/// A connection from the agent to an application, as the application's socket sees it.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct PeerKey {
    /// Network namespace cookie.
    pub netns: u64,
    /// The agent's end.
    pub address: Address,
    pub port: u16,
    /// The application's port.
    pub local_port: u16,
    pub pad: u32,
}

impl PeerKey {
    #[must_use]
    pub const fn new(netns: u64, address: Address, port: u16, local_port: u16) -> Self {
        Self {
            netns,
            address,
            port,
            local_port,
            pad: 0,
        }
    }
}

/// The agent's inbound listener of one address family in a pod. A listener that is bound to `::1` takes no
/// IPv4 arrivals (net/ipv6/af_inet6.c, `__inet6_bind` sets `sk_ipv6only`), so there are two.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct ListenerKey {
    /// Network namespace cookie.
    pub netns: u64,
    /// 4 or 6.
    pub version: u32,
    pub pad: u32,
}

impl ListenerKey {
    #[must_use]
    pub const fn new(netns: u64, v4: bool) -> Self {
        Self {
            netns,
            version: if v4 { 4 } else { 6 },
            pad: 0,
        }
    }
}

/// A TCP port of a pod on which somebody listens.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct ListenKey {
    /// Network namespace cookie.
    pub netns: u64,
    /// Host order.
    pub port: u16,
    pub pad: [u8; 6],
}

impl ListenKey {
    #[must_use]
    pub const fn new(netns: u64, port: u16) -> Self {
        Self {
            netns,
            port,
            pad: [0; 6],
        }
    }
}
