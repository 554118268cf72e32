//! Whoever issues this node's SVIDs: a CA within the agent, or a service.

use std::{
    collections::{BTreeMap, HashSet},
    future,
    sync::Arc,
    time::SystemTime,
};

use tokio::sync::watch;

use super::{CaClient, CaClientError, CaError, EmbeddedCa};
use crate::{
    identity::{SpiffeId, Svid, TrustBundle},
    spire::{Selectors, SpireAgent, SpireError},
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

    /// Waits until those have news that have an issuer who renews by itself: they are asked for at once.
    fn news(&self) -> impl Future<Output = HashSet<SpiffeId>> + Send {
        future::pending()
    }

    /// Whether the issuer has taken back what it has issued before.
    fn is_withdrawal(_error: &Self::Error) -> bool {
        false
    }

    /// How many it may be asked for at the same time.
    fn at_once(&self) -> usize {
        1
    }
}

/// The three kinds.
pub enum Issuer {
    Embedded(Arc<EmbeddedCa>),
    Service(Box<CaClient>),
    Spire(Box<SpireAgent>),
}

/// Why there is no SVID.
#[derive(Debug, thiserror::Error)]
pub enum IssueError {
    #[error(transparent)]
    Embedded(#[from] CaError),
    #[error(transparent)]
    Service(#[from] CaClientError),
    #[error(transparent)]
    Spire(#[from] SpireError),
}

impl Issue for Issuer {
    type Error = IssueError;

    async fn issue(&self, id: &SpiffeId, now: SystemTime) -> Result<Svid, IssueError> {
        match self {
            Self::Embedded(ca) => Ok(ca.issue(id, now)?),
            Self::Service(client) => Ok(client.issue(id, now).await?),
            Self::Spire(agent) => Ok(agent.issue(id, now).await?),
        }
    }

    fn reason(error: &IssueError) -> IssueFailure {
        match error {
            IssueError::Embedded(_) => IssueFailure::Signing,
            IssueError::Service(error) => error.reason(),
            IssueError::Spire(error) => error.reason(),
        }
    }

    async fn news(&self) -> HashSet<SpiffeId> {
        match self {
            Self::Embedded(_) | Self::Service(_) => future::pending().await,
            Self::Spire(agent) => agent.news().await,
        }
    }

    fn is_withdrawal(error: &IssueError) -> bool {
        matches!(error, IssueError::Spire(error) if error.is_withdrawal())
    }

    fn at_once(&self) -> usize {
        match self {
            Self::Embedded(_) => 1,
            Self::Service(_) | Self::Spire(_) => AT_ONCE,
        }
    }
}

impl Issuer {
    /// The CA whose directory has to be followed, if it is this process's.
    #[must_use]
    pub fn embedded(&self) -> Option<Arc<EmbeddedCa>> {
        match self {
            Self::Embedded(ca) => Some(Arc::clone(ca)),
            Self::Service(_) | Self::Spire(_) => None,
        }
    }

    /// Tells who is wanted, and what is known of their pods, to whom it matters.
    pub fn attend(&self, wanted: impl FnOnce() -> BTreeMap<SpiffeId, Selectors>) {
        match self {
            Self::Embedded(_) | Self::Service(_) => {}
            Self::Spire(agent) => agent.attend(wanted()),
        }
    }

    /// The roots that peers of this trust domain are checked against, and news of them.
    #[must_use]
    pub fn bundle(&self) -> watch::Receiver<Arc<TrustBundle>> {
        match self {
            Self::Embedded(ca) => ca.bundles(),
            Self::Service(client) => client.bundle(),
            Self::Spire(agent) => agent.bundle(),
        }
    }

    /// When the CA, or a certificate above it, expires; `None` before a service has answered, and of SPIRE, whose roots
    /// come and go.
    #[must_use]
    pub fn not_after(&self) -> Option<SystemTime> {
        match self {
            Self::Embedded(ca) => Some(ca.not_after()),
            Self::Service(client) => client.not_after(),
            Self::Spire(_) => None,
        }
    }

    /// Of the service or the SPIRE agent; `None` for the embedded CA.
    #[must_use]
    pub fn address(&self) -> Option<String> {
        match self {
            Self::Embedded(_) => None,
            Self::Service(client) => Some(client.address().to_string()),
            Self::Spire(agent) => Some(format!("unix:{}", agent.path().display())),
        }
    }
}
