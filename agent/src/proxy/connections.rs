//! The live table: every connection from the moment it is captured, so that a change of policy finds it.

use std::{
    collections::HashMap,
    net::SocketAddr,
    sync::{
        Arc, Mutex, OnceLock, PoisonError,
        atomic::{AtomicU8, AtomicU16, AtomicU64, Ordering},
    },
    task::{Context, Poll},
    time::{Duration, Instant},
};

use futures_util::task::AtomicWaker;
use rustls::{CipherSuite, ProtocolVersion};
use tokio::{
    sync::Notify,
    time::{sleep, timeout},
};

use crate::{
    identity::SpiffeId,
    policy::Mode,
    telemetry::{CutReason, Direction, Transport},
    tls::CertificateId,
    workload::{Service, Workload},
};

/// From when a connection is accepted until it is in the table, with room.
const ARRIVAL: Duration = Duration::from_millis(100);

/// All live connections of this agent.
#[derive(Debug, Default)]
pub struct Connections {
    live: Mutex<HashMap<u64, Arc<Connection>>>,
    next: AtomicU64,
    ended: Notify,
}

/// One connection, from one side's point of view.
#[derive(Debug)]
pub struct Connection {
    pub id: u64,
    pub direction: Direction,
    opened: Instant,
    pub client: SocketAddr,
    /// As the client asked for it.
    pub destination: SocketAddr,
    route: OnceLock<Route>,
    session: OnceLock<Session>,
    transport: OnceLock<Transport>,
    phase: AtomicU8,
    /// The port of the socket that was dialled for an outbound connection; zero before.
    pub wire_port: AtomicU16,
    /// From the client to the server, in bytes.
    pub received: AtomicU64,
    /// From the server to the client.
    pub sent: AtomicU64,
    cut: OnceLock<CutReason>,
    /// Wakes the one task that serves it.
    wake: AtomicWaker,
}

/// Where a connection leads; known once it is resolved.
#[derive(Clone, Debug)]
pub struct Route {
    pub source: Option<Arc<Workload>>,
    pub server: Option<Arc<Workload>>,
    /// The endpoint's own port.
    pub port: u16,
    pub service: Option<Arc<Service>>,
    pub mode: Mode,
}

/// How a connection is protected; known once both ends have been heard.
#[derive(Clone, Debug)]
pub enum Session {
    MutualTls {
        client: SpiffeId,
        server: SpiffeId,
        version: ProtocolVersion,
        suite: CipherSuite,
        /// What the client asked the server for; kept by the server's side only.
        server_name: Option<Box<str>>,
        /// The peer's, where any may be revoked.
        certificates: Option<Box<Vec<CertificateId>>>,
    },
    /// With somebody who is not of the mesh, as a DestinationRule says, or a Gateway.
    Tls(Box<Agreed>),
    Plaintext,
    /// As the kubelet sends it, on a port that its pod declares for that.
    Probe,
}

/// What a handshake has agreed on.
#[derive(Clone, Debug)]
pub struct Agreed {
    pub version: ProtocolVersion,
    pub suite: CipherSuite,
    /// A server's, where they can be revoked.
    #[expect(clippy::box_collection, reason = "there is one for each connection")]
    pub certificates: Option<Box<Vec<CertificateId>>>,
}

/// What a connection is waiting for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Phase {
    Detecting = 0,
    Handshaking = 1,
    Connecting = 2,
    Open = 3,
}

/// A connection in the table; it leaves when this is dropped.
#[derive(Debug)]
pub(super) struct Registered {
    pub(super) connection: Arc<Connection>,
    table: Arc<Connections>,
}

impl Connections {
    pub(super) fn open(
        self: &Arc<Self>,
        direction: Direction,
        client: SocketAddr,
        destination: SocketAddr,
    ) -> Registered {
        let connection = Arc::new(Connection {
            id: self.next.fetch_add(1, Ordering::Relaxed) + 1,
            direction,
            opened: Instant::now(),
            client,
            destination,
            route: OnceLock::new(),
            session: OnceLock::new(),
            transport: OnceLock::new(),
            phase: AtomicU8::new(Phase::Detecting as u8),
            wire_port: AtomicU16::new(0),
            received: AtomicU64::new(0),
            sent: AtomicU64::new(0),
            cut: OnceLock::new(),
            wake: AtomicWaker::new(),
        });
        self.live().insert(connection.id, Arc::clone(&connection));
        Registered {
            connection,
            table: Arc::clone(self),
        }
    }

    /// A copy of the table, in the order of opening.
    #[must_use]
    pub fn list(&self) -> Vec<Arc<Connection>> {
        let mut list: Vec<_> = self.live().values().cloned().collect();
        list.sort_unstable_by_key(|c| c.id);
        list
    }

    #[must_use]
    pub fn len(&self) -> usize {
        self.live().len()
    }

    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Waits until no connection is left, or `limit` has passed; then the rest is cut.
    pub async fn drain(&self, limit: Duration) {
        if !self.become_empty(limit).await {
            for connection in self.list() {
                connection.cut(CutReason::DrainDeadline);
            }
        }
    }

    /// Waits until no connection is left, or `limit` has passed. Returns whether none is.
    pub async fn become_empty(&self, limit: Duration) -> bool {
        let empty = async {
            loop {
                let ended = self.ended.notified();
                if !self.is_empty() {
                    ended.await;
                }
                sleep(ARRIVAL).await;
                if self.is_empty() {
                    return;
                }
            }
        };
        timeout(limit, empty).await.is_ok()
    }

    fn live(&self) -> std::sync::MutexGuard<'_, HashMap<u64, Arc<Connection>>> {
        self.live.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Registered {
    fn drop(&mut self) {
        let mut live = self.table.live();
        live.remove(&self.connection.id);
        if live.is_empty() {
            live.shrink_to(64);
            self.table.ended.notify_waiters();
        }
    }
}

impl Session {
    /// Who the client has proven to be, and the name that it asked for.
    pub(super) fn proven(&self) -> (Option<&SpiffeId>, Option<&str>) {
        match self {
            Self::MutualTls {
                client,
                server_name,
                ..
            } => (Some(client), server_name.as_deref()),
            Self::Tls(_) | Self::Plaintext | Self::Probe => (None, None),
        }
    }
}

impl Connection {
    pub(super) fn set_route(&self, route: Route) {
        let _ = self.route.set(route);
    }

    pub(super) fn set_session(&self, session: Session) {
        let _ = self.session.set(session);
    }

    pub(super) fn set_transport(&self, transport: Transport) {
        let _ = self.transport.set(transport);
    }

    pub(super) fn enter(&self, phase: Phase) {
        self.phase.store(phase as u8, Ordering::Relaxed);
    }

    #[must_use]
    pub fn route(&self) -> Option<&Route> {
        self.route.get()
    }

    #[must_use]
    pub fn session(&self) -> Option<&Session> {
        self.session.get()
    }

    /// How its bytes move, once they do.
    #[must_use]
    pub fn transport(&self) -> Option<Transport> {
        self.transport.get().copied()
    }

    #[must_use]
    pub fn phase(&self) -> Phase {
        match self.phase.load(Ordering::Relaxed) {
            0 => Phase::Detecting,
            1 => Phase::Handshaking,
            2 => Phase::Connecting,
            _ => Phase::Open,
        }
    }

    #[must_use]
    pub fn age(&self) -> Duration {
        self.opened.elapsed()
    }

    /// Ends the connection; the first reason counts.
    pub(super) fn cut(&self, reason: CutReason) {
        let _ = self.cut.set(reason);
        self.wake.wake();
    }

    /// Ready when the connection must end. Only the task that serves it may ask.
    pub(super) fn poll_cut(&self, cx: &mut Context<'_>) -> Poll<CutReason> {
        if let Some(reason) = self.cut.get() {
            return Poll::Ready(*reason);
        }
        self.wake.register(cx.waker());
        match self.cut.get() {
            Some(reason) => Poll::Ready(*reason),
            None => Poll::Pending,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn what_arrives_while_others_end_is_waited_for() {
        let table = Arc::new(Connections::default());
        let any: SocketAddr = "10.0.0.1:80".parse().unwrap();
        let first = table.open(Direction::Inbound, any, any);
        let (later, begun) = (Arc::clone(&table), Instant::now());
        let arriving = async move {
            sleep(ARRIVAL).await;
            drop(first);
            // Accepted already, and not in the table yet.
            sleep(ARRIVAL / 4).await;
            let second = later.open(Direction::Inbound, any, any);
            sleep(3 * ARRIVAL).await;
            drop(second);
        };
        let (empty, ()) = tokio::join!(table.become_empty(60 * ARRIVAL), arriving);
        assert!(empty);
        assert!(begun.elapsed() > 4 * ARRIVAL, "{:?}", begun.elapsed());
        let _lasting = table.open(Direction::Inbound, any, any);
        assert!(!table.become_empty(ARRIVAL).await);
    }
}
