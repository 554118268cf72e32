//! The end of a connection that has not ended in order: what either side has said before is still passed on to the
//! other, and who is still there is told.
//!
//! TCP keeps what has arrived before a reset readable. Between two sockets of a relay it would be forgotten, for a
//! socket that is reset forgets what it has not sent.

use std::{
    task::{Context, Poll},
    time::{Duration, Instant},
};

use tokio::net::TcpStream;

use super::{RelayError, socket, wait::Wait};
use crate::{
    offload::sys::{Outgoing, outgoing},
    tls::record::{INTERNAL_ERROR, SealError},
};

/// How long a side may take nothing of what it is owed.
const PATIENCE: Duration = Duration::from_secs(10);

/// What is still to be done, and what is then to be told.
pub(super) struct Parting {
    pub(super) outcome: Result<(), RelayError>,
    /// For the pod, until it has everything.
    pub(super) local: Option<Debt>,
    /// For the peer.
    pub(super) wire: Option<Debt>,
    pub(super) wait: Wait,
}

/// What an error leaves to do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Remains {
    /// The pod is still there.
    pub(super) local: bool,
    pub(super) wire: Wire,
}

/// The peer's part of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Wire {
    /// Lost, or nothing can be said to it any more.
    Lost,
    /// Still there. It is the pod that is lost.
    There,
    /// Still there, and to be told why it is over. Never `close_notify`: the pod has not ended.
    Told(u8),
}

impl Remains {
    pub(super) fn after(error: &RelayError) -> Self {
        let wire = match error {
            RelayError::Local(_) => Wire::There,
            RelayError::Record(error) => Wire::Told(error.alert()),
            // Nobody did anything wrong.
            RelayError::KeyUpdate | RelayError::Seal(SealError::KeyUsedUp) => {
                Wire::Told(INTERNAL_ERROR)
            }
            // Without the key that the peer expects there is nothing that could be said.
            RelayError::Wire(_)
            | RelayError::Truncated
            | RelayError::Alert(_)
            | RelayError::Seal(_)
            | RelayError::Install(_) => Wire::Lost,
        };
        Self {
            local: !matches!(error, RelayError::Local(_)),
            wire,
        }
    }
}

impl Parting {
    pub(super) fn new(outcome: Result<(), RelayError>, local: bool, wire: bool) -> Box<Self> {
        Box::new(Self {
            outcome,
            local: local.then(Debt::new),
            wire: wire.then(Debt::new),
            wait: Wait::default(),
        })
    }
}

/// What one side is owed.
pub(super) struct Debt {
    taken: u64,
    since: Instant,
}

impl Debt {
    fn new() -> Self {
        Self {
            taken: 0,
            since: Instant::now(),
        }
    }

    /// Whether the side has everything, or takes no more. `given`: whether nothing is left but what its socket keeps.
    pub(super) fn is_settled(
        &mut self,
        cx: &mut Context<'_>,
        side: &TcpStream,
        given: &Poll<Result<bool, RelayError>>,
    ) -> bool {
        let given = match given {
            Poll::Ready(Ok(given)) => *given,
            Poll::Ready(Err(_)) => return true,
            Poll::Pending => false,
        };
        match outgoing(side) {
            Ok(outgoing) if given && outgoing.kept == 0 => true,
            Ok(outgoing) => !self.is_patient(outgoing) || socket::broken(cx, side).is_ready(),
            Err(_) => true,
        }
    }

    fn is_patient(&mut self, outgoing: Outgoing) -> bool {
        if outgoing.acknowledged != self.taken {
            self.taken = outgoing.acknowledged;
            self.since = Instant::now();
        }
        self.since.elapsed() < PATIENCE
    }
}
