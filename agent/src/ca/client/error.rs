//! Why the agent has no certificate from the CA service, told apart for the log, the status and the metrics.

use std::{error::Error, io, path::PathBuf};

use tonic::{Code, Status};

use super::{AnswerError, ConnectError};
use crate::{ca::CaError, telemetry::IssueFailure};

/// Every way in which asking fails.
#[derive(Debug, thiserror::Error)]
pub enum CaClientError {
    #[error("--ca-address is not HOST:PORT")]
    Address,
    #[error("--ca-token {}: {source}", path.display())]
    Token { path: PathBuf, source: io::Error },
    #[error("--ca-token {} is not one line of text", path.display())]
    TokenForm { path: PathBuf },
    #[error(transparent)]
    Connect(#[from] ConnectError),
    #[error("the connection to the CA: {0}")]
    Connection(String),
    #[error("the CA's certificate: {0}")]
    ServerCertificate(String),
    #[error("the CA did not answer in time")]
    Timeout,
    #[error("the CA does not know us: {0}")]
    Unauthenticated(String),
    #[error("the CA refuses: {0}")]
    Denied(String),
    #[error("the CA has no time for us: {0}")]
    Rate(String),
    #[error("the CA fails ({code:?}): {text}")]
    Failed { code: Code, text: String },
    #[error("the CA's answer: {0}")]
    Answer(#[from] AnswerError),
    #[error("the request can't be made: {0}")]
    Csr(rcgen::Error),
    #[error(transparent)]
    Key(#[from] CaError),
}

impl CaClientError {
    /// The metric's label.
    #[must_use]
    pub fn reason(&self) -> IssueFailure {
        match self {
            Self::Address | Self::Connect(_) | Self::Connection(_) => IssueFailure::Unreachable,
            Self::Token { .. } | Self::TokenForm { .. } => IssueFailure::Token,
            Self::ServerCertificate(_) => IssueFailure::Tls,
            Self::Timeout => IssueFailure::Timeout,
            Self::Unauthenticated(_) => IssueFailure::Unauthenticated,
            Self::Denied(_) => IssueFailure::Denied,
            Self::Rate(_) => IssueFailure::Rate,
            Self::Failed { .. } => IssueFailure::Refused,
            Self::Answer(_) => IssueFailure::Answer,
            Self::Csr(_) | Self::Key(_) => IssueFailure::Signing,
        }
    }

    /// What came instead of an answer.
    pub(super) fn of_status(status: &Status) -> Self {
        if let Some(error) = status.source() {
            return Self::of_transport(error);
        }
        let text = status.message().to_owned();
        match status.code() {
            Code::Unauthenticated => Self::Unauthenticated(text),
            Code::PermissionDenied => Self::Denied(text),
            Code::ResourceExhausted => Self::Rate(text),
            Code::Unavailable => Self::Connection(text),
            Code::DeadlineExceeded => Self::Timeout,
            code => Self::Failed { code, text },
        }
    }

    /// The transport wraps what the connector said.
    pub(super) fn of_transport(error: &(dyn Error + 'static)) -> Self {
        let mut cause = Some(error);
        let mut innermost = error;
        while let Some(error) = cause {
            match error.downcast_ref() {
                Some(ConnectError::Handshake(text)) => {
                    return Self::ServerCertificate(text.clone());
                }
                Some(other) => return Self::Connection(other.to_string()),
                None => {}
            }
            innermost = error;
            cause = error.source();
        }
        Self::Connection(innermost.to_string())
    }
}
