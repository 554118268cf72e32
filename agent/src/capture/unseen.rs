//! Connections of a pod that never came to the agent: opened before the pod was enrolled, while its port was
//! DISABLE, or while the agent was lost.

use std::{collections::HashSet, io, net::SocketAddr};

use netlink_packet_sock_diag::{
    constants::TCP_LISTEN,
    inet::{InetResponse, SocketId, StateFlags},
};

use super::{
    Pod,
    sock_diag::{SockDiag, canonical, cgroup},
};

/// One inbound connection, as the pod's application has it.
#[derive(Clone, Debug)]
pub struct Unseen {
    pub local: SocketAddr,
    pub remote: SocketAddr,
    family: u8,
    id: SocketId,
}

/// What is found in a pod, and the means to end it.
pub struct UnseenSockets {
    diag: SockDiag,
    pub found: Vec<Unseen>,
}

impl UnseenSockets {
    /// Lists connections to ports on which the pod listens, without the agent's own.
    ///
    /// # Errors
    /// As setns(2), netlink(7).
    pub fn of(pod: &Pod) -> io::Result<Self> {
        let diag = SockDiag::open(&pod.netns)?;
        let states = StateFlags::LISTEN
            | StateFlags::ESTABLISHED
            | StateFlags::SYN_RECV
            | StateFlags::FIN_WAIT1
            | StateFlags::FIN_WAIT2
            | StateFlags::CLOSE_WAIT;
        let (mut listened, mut found) = (HashSet::new(), Vec::new());
        diag.dump(&states, |response| {
            if response.header.state == TCP_LISTEN {
                listened.insert(response.header.socket_id.source_port);
            } else if cgroup(response).is_some_and(|id| id != pod.agent_cgroup) {
                found.push(Unseen::of(response));
            }
        })?;
        // A connection within the pod is nobody's business; the agent's own to the application look like one.
        found.retain(|unseen| {
            listened.contains(&unseen.local.port())
                && !unseen.remote.ip().is_loopback()
                && unseen.remote.ip() != unseen.local.ip()
        });
        Ok(Self { diag, found })
    }

    /// Ends one: the peer sees a reset. One that has ended meanwhile is none to end.
    ///
    /// # Errors
    /// When the kernel can't (CONFIG_INET_DIAG_DESTROY).
    pub fn destroy(&self, unseen: &Unseen) -> io::Result<()> {
        match self.diag.destroy(unseen.family, &unseen.id) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
            result => result,
        }
    }
}

impl Unseen {
    fn of(response: &InetResponse) -> Self {
        let id = &response.header.socket_id;
        Self {
            local: canonical(id.source_address, id.source_port),
            remote: canonical(id.destination_address, id.destination_port),
            family: response.header.family,
            id: id.clone(),
        }
    }
}
