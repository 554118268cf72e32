//! Which TCP ports of a pod are listened on, asked from the kernel.
//!
//! The `sockops` program notes every listen at once; this finds the sockets that were there before the pod
//! was enrolled, those of processes outside of its cgroup, and those that are gone.

use std::{collections::BTreeSet, io};

use netlink_packet_sock_diag::inet::StateFlags;

use super::{netns::Netns, sock_diag::SockDiag};

/// Asks inside a pod's network namespace.
pub(super) struct ListeningPorts(SockDiag);

impl ListeningPorts {
    pub(super) fn open(netns: &Netns) -> io::Result<Self> {
        SockDiag::open(netns).map(Self)
    }

    /// Ports that can be reached from outside: a socket bound to loopback is none.
    pub(super) fn list(&self) -> io::Result<BTreeSet<u16>> {
        let mut ports = BTreeSet::new();
        self.0.dump(&StateFlags::LISTEN, |response| {
            let id = &response.header.socket_id;
            if !id.source_address.to_canonical().is_loopback() {
                ports.insert(id.source_port);
            }
        })?;
        Ok(ports)
    }
}
