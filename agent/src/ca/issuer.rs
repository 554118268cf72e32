//! Whoever issues this node's SVIDs: a CA within the agent, or a service.

use std::{sync::Arc, time::SystemTime};

use tokio::sync::watch;

use super::{CaClient, CaClientError, CaError, EmbeddedCa};
use crate::{
    identity::{SpiffeId, Svid, TrustBundle},
    telemetry::IssueFailure,
};

/// Requests at a time to a service; the most urgent are sent first.
const AT_ONCE: usize = 16;

/// Whoever can make an SVID.
pub trait Issue: Send + Sync + 'static {
    type Error: std::error::Error + Send + Sync + 'static;

    /// A fresh key and a certificate for it, valid at `now`.
    fn issue(
        &self,
        id: &SpiffeId,
        now: SystemTime,
    ) -> impl Future<Output = Result<Svid, Self::Error>> + Send;

    /// For the metrics.
    fn reason(error: &Self::Error) -> IssueFailure;

    /// How many it may be asked for at the same time.
    fn at_once(&self) -> usize {
        1
    }
}

/// The two kinds.
pub enum Issuer {
    Embedded(Arc<EmbeddedCa>),
    Service(Box<CaClient>),
}

/// Why there is no SVID.
#[derive(Debug, thiserror::Error)]
pub enum IssueError {
    #[error(transparent)]
    Embedded(#[from] CaError),
    #[error(transparent)]
    Service(#[from] CaClientError),
}

impl Issue for Issuer {
    type Error = IssueError;

    async fn issue(&self, id: &SpiffeId, now: SystemTime) -> Result<Svid, IssueError> {
        match self {
            Self::Embedded(ca) => Ok(ca.issue(id, now)?),
            Self::Service(client) => Ok(client.issue(id, now).await?),
        }
    }

    fn reason(error: &IssueError) -> IssueFailure {
        match error {
            IssueError::Embedded(_) => IssueFailure::Signing,
            IssueError::Service(error) => error.reason(),
        }
    }

    fn at_once(&self) -> usize {
        match self {
            Self::Embedded(_) => 1,
            Self::Service(_) => AT_ONCE,
        }
    }
}

impl Issuer {
    /// The CA whose directory has to be followed, if it is this process's.
    #[must_use]
    pub fn embedded(&self) -> Option<Arc<EmbeddedCa>> {
        match self {
            Self::Embedded(ca) => Some(Arc::clone(ca)),
            Self::Service(_) => None,
        }
    }

    /// The roots that peers of this trust domain are checked against, and news of them.
    #[must_use]
    pub fn bundle(&self) -> watch::Receiver<Arc<TrustBundle>> {
        match self {
            Self::Embedded(ca) => ca.bundles(),
            Self::Service(client) => client.bundle(),
        }
    }

    /// When the CA, or a certificate above it, expires; `None` before a service has answered.
    #[must_use]
    pub fn not_after(&self) -> Option<SystemTime> {
        match self {
            Self::Embedded(ca) => Some(ca.not_after()),
            Self::Service(client) => client.not_after(),
        }
    }

    /// Of the service; `None` for the embedded CA.
    #[must_use]
    pub fn address(&self) -> Option<String> {
        match self {
            Self::Embedded(_) => None,
            Self::Service(client) => Some(client.address().to_string()),
        }
    }
}
