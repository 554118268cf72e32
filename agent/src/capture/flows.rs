//! What the kernel and the agent tell each other about single connections.

use std::{
    net::{IpAddr, SocketAddr},
    sync::{Arc, Mutex, PoisonError},
};

use aya::maps::{HashMap, MapData, MapError};
use sealane_common::{Address, OriginalDestination, PeerKey, SourceKey, WireKey};

use super::netns::NetnsCookie;

/// Where a client wanted to go before its connect was redirected.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct OriginalDst(pub SocketAddr);

/// Shared handle on the per-connection maps. One system call per use, under a lock of that length.
#[derive(Clone, Debug)]
pub struct Flows(Arc<Mutex<Tables>>);

#[derive(Debug)]
struct Tables {
    originals: HashMap<MapData, SourceKey, OriginalDestination>,
    clients: HashMap<MapData, PeerKey, OriginalDestination>,
    excused: HashMap<MapData, WireKey, u8>,
}

impl Flows {
    pub(super) fn new(
        originals: HashMap<MapData, SourceKey, OriginalDestination>,
        clients: HashMap<MapData, PeerKey, OriginalDestination>,
        excused: HashMap<MapData, WireKey, u8>,
    ) -> Self {
        Self(Arc::new(Mutex::new(Tables {
            originals,
            clients,
            excused,
        })))
    }

    /// Forgets the clients that an earlier agent published: no connection outlives the agent that relays it.
    pub(super) fn clear_clients(&self) {
        let mut tables = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let stale: Vec<_> = tables.clients.keys().filter_map(Result::ok).collect();
        for key in stale {
            let _ = tables.clients.remove(&key);
        }
    }

    /// Takes the original destination of a connection that a pod's outbound listener accepted from `client`.
    /// `None`: nobody redirected it, so it was meant for the listener itself and must be refused.
    #[must_use]
    pub fn take_original(&self, netns: NetnsCookie, client: SocketAddr) -> Option<OriginalDst> {
        let key = SourceKey::new(netns.0, Address::from(client.ip()), client.port());
        let mut tables = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let original = tables.originals.get(&key, 0).ok()?;
        let _ = tables.originals.remove(&key);
        let address = IpAddr::from(original.address);
        Some(OriginalDst(SocketAddr::new(address, original.port)))
    }

    /// Shows `client` as the peer of the application's socket for a connection that the agent is about to
    /// dial from `local` to `application`, both in the pod, until [`Flows::withdraw_client`].
    ///
    /// # Errors
    /// When the map is full.
    pub fn publish_client(
        &self,
        netns: NetnsCookie,
        local: SocketAddr,
        application: SocketAddr,
        client: SocketAddr,
    ) -> Result<(), MapError> {
        let key = peer_key(netns, local, application);
        let value = OriginalDestination::new(Address::from(client.ip()), client.port());
        let mut tables = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        tables.clients.insert(key, value, 0)
    }

    /// Says that the pod will answer in clear on this connection though its port is STRICT. The kernel forgets it when
    /// another one is opened between the same ends.
    pub fn excuse(&self, netns: NetnsCookie, local: SocketAddr, remote: SocketAddr) {
        let ends = |end: SocketAddr| (Address::from(end.ip()), end.port());
        let key = WireKey::new(netns.0, ends(local), ends(remote));
        let mut tables = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Err(error) = tables.excused.insert(key, 1, 0) {
            tracing::warn!(%error, %local, %remote, "a probe will be told of as plaintext");
        }
    }

    /// Takes [`Flows::publish_client`] back.
    pub fn withdraw_client(&self, netns: NetnsCookie, local: SocketAddr, application: SocketAddr) {
        let key = peer_key(netns, local, application);
        let mut tables = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let _ = tables.clients.remove(&key);
    }
}

fn peer_key(netns: NetnsCookie, local: SocketAddr, application: SocketAddr) -> PeerKey {
    PeerKey::new(
        netns.0,
        Address::from(local.ip()),
        local.port(),
        application.port(),
    )
}
