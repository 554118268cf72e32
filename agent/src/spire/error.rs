//! Why there is no SVID from the SPIRE agent, told apart for the log, the status and the metrics.

use std::{error::Error, path::PathBuf, sync::Arc};

use tonic::{Code, Status};

use super::{BundlesError, GrantError};
use crate::telemetry::IssueFailure;

/// Every way in which there is none.
#[derive(Clone, Debug, thiserror::Error)]
pub enum SpireError {
    #[error("--spire-agent-socket {}: this is no path of a socket", .0.display())]
    Path(PathBuf),
    #[error("the SPIRE agent can't be reached at {}: {reason}", path.display())]
    Unreachable { path: PathBuf, reason: String },
    #[error(
        "the SPIRE agent doesn't take us for a delegate ({0}): give this agent a registration entry, and its SPIFFE ID \
         to the SPIRE agent's authorized_delegates"
    )]
    Denied(String),
    #[error("the SPIRE agent fails ({code:?}): {text}")]
    Failed { code: Code, text: String },
    #[error("the SPIRE agent has ended the subscription")]
    Ended,
    #[error("the SPIRE agent has said nothing yet")]
    Silent,
    #[error("the SPIRE agent has no entry for this identity{}", instead(.others))]
    Withheld { others: Vec<String> },
    #[error("the SPIRE agent's SVID: {0}")]
    Grant(#[from] Arc<GrantError>),
    #[error("the SPIRE agent's SVID has expired, and it has sent no other")]
    Expired,
    #[error("the SPIRE agent's SVID would not be accepted by its own bundle: {0}")]
    Unverified(rustls::Error),
    #[error("the SPIRE agent's bundles: {0}")]
    Bundles(#[from] Arc<BundlesError>),
    #[error("nobody asks for this identity any more")]
    Unwanted,
}

impl SpireError {
    /// What came instead of a stream, or ended one.
    pub(super) fn of_status(status: &Status, path: &std::path::Path) -> Self {
        if let Some(cause) = status.source() {
            return Self::of_transport(cause, path);
        }
        let text = status.message().to_owned();
        match status.code() {
            Code::PermissionDenied | Code::Unauthenticated => Self::Denied(text),
            Code::Unavailable => Self::Unreachable {
                path: path.to_owned(),
                reason: text,
            },
            code => Self::Failed { code, text },
        }
    }

    pub(super) fn of_transport(error: &(dyn Error + 'static), path: &std::path::Path) -> Self {
        let mut innermost = error;
        while let Some(cause) = innermost.source() {
            innermost = cause;
        }
        Self::Unreachable {
            path: path.to_owned(),
            reason: innermost.to_string(),
        }
    }

    /// Whether the SPIRE agent has taken the identity back: what was held before is not to be used either.
    #[must_use]
    pub fn is_withdrawal(&self) -> bool {
        matches!(self, Self::Withheld { .. })
    }

    /// The metric's label.
    #[must_use]
    pub fn reason(&self) -> IssueFailure {
        match self {
            Self::Path(_) | Self::Unreachable { .. } | Self::Ended => IssueFailure::Unreachable,
            Self::Denied(_) => IssueFailure::Unauthenticated,
            Self::Withheld { .. } | Self::Unwanted => IssueFailure::Denied,
            Self::Failed { .. } => IssueFailure::Refused,
            Self::Silent => IssueFailure::Timeout,
            Self::Grant(_) | Self::Expired | Self::Unverified(_) | Self::Bundles(_) => {
                IssueFailure::Answer
            }
        }
    }
}

fn instead(others: &[String]) -> String {
    match others {
        [] => String::new(),
        others => format!(", but others for its pods: {}", others.join(", ")),
    }
}
