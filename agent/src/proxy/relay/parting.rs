//! The end of a connection of which one side is lost: what it said before it was is still passed on.
//!
//! TCP keeps what has arrived before a reset readable. Between two sockets of a relay it would be forgotten, for a
//! socket that is reset forgets what it has not sent.

use std::{
    task::{Context, Poll},
    time::{Duration, Instant},
};

use tokio::net::TcpStream;

use super::{RelayError, socket, wait::Wait};
use crate::offload::sys::{Outgoing, outgoing};

/// How long the other side may take nothing of it.
const PATIENCE: Duration = Duration::from_secs(10);

/// Which side is still there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Survivor {
    Local,
    Wire,
}

/// A side is lost, and the other is still given what it said.
pub(super) struct Parting {
    /// How it was lost.
    pub(super) error: RelayError,
    pub(super) survivor: Survivor,
    pub(super) wait: Wait,
    taken: u64,
    since: Instant,
}

impl Parting {
    /// # Errors
    /// `error`, when the connection has to end at once.
    pub(super) fn after(error: RelayError) -> Result<Box<Self>, RelayError> {
        let survivor = match error {
            RelayError::Local(_) => Survivor::Wire,
            RelayError::Wire(_) | RelayError::Truncated | RelayError::Alert(_) => Survivor::Local,
            _ => return Err(error),
        };
        Ok(Box::new(Self {
            error,
            survivor,
            wait: Wait::default(),
            taken: 0,
            since: Instant::now(),
        }))
    }

    /// Whether the survivor has everything, or takes no more. `given`: whether nothing is left but what the
    /// survivor's socket keeps.
    pub(super) fn is_over(
        &mut self,
        cx: &mut Context<'_>,
        survivor: &TcpStream,
        given: &Poll<Result<bool, RelayError>>,
    ) -> bool {
        let given = match given {
            Poll::Ready(Ok(given)) => *given,
            Poll::Ready(Err(_)) => return true,
            Poll::Pending => false,
        };
        match outgoing(survivor) {
            Ok(outgoing) if given && outgoing.kept == 0 => true,
            Ok(outgoing) => !self.is_patient(outgoing) || socket::broken(cx, survivor).is_ready(),
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
