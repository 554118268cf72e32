//! From errors to the closed sets that metrics and access log use.

use rustls::{CertificateError, Error};

use super::relay::RelayError;
use crate::{
    policy::Refusal,
    telemetry::{CutReason, HandshakeFailure, Metrics, RefusalReason, Side},
    tls::{HandshakeError, VerifyError},
};

/// Why a connection did not run to its end.
#[derive(Debug, thiserror::Error)]
pub(super) enum Failure {
    #[error("{0}")]
    Refused(RefusalReason),
    #[error("{0}: {1}")]
    RefusedBecause(RefusalReason, String),
    #[error("cut: {0}")]
    Cut(CutReason),
    #[error(transparent)]
    Relay(#[from] RelayError),
    /// The client was gone before there was anything to do.
    #[error("the client closed before it said anything")]
    Abandoned,
}

impl Failure {
    pub(super) fn refusal(&self) -> Option<RefusalReason> {
        match self {
            Self::Refused(reason) | Self::RefusedBecause(reason, _) => Some(*reason),
            Self::Cut(_) | Self::Relay(_) | Self::Abandoned => None,
        }
    }
}

impl From<Refusal> for RefusalReason {
    fn from(refusal: Refusal) -> Self {
        match refusal {
            Refusal::PlaintextInStrict => Self::PlaintextInStrict,
            Refusal::AuthorizationDenied => Self::AuthorizationDenied,
            Refusal::AuthorizationNotAllowed => Self::AuthorizationNotAllowed,
        }
    }
}

/// Counts a handshake that was not done in time.
pub(super) fn handshake_timeout(metrics: &Metrics, side: Side) -> Failure {
    metrics.handshake_failed(side, HandshakeFailure::Timeout);
    let text = "no handshake in time".to_owned();
    Failure::RefusedBecause(RefusalReason::HandshakeFailed, text)
}

pub(super) fn handshake_failure(error: &HandshakeError) -> HandshakeFailure {
    match error {
        HandshakeError::Io(error) if error.kind() == std::io::ErrorKind::ConnectionReset => {
            HandshakeFailure::PeerClosed
        }
        HandshakeError::Io(_) => HandshakeFailure::Io,
        HandshakeError::Closed => HandshakeFailure::PeerClosed,
        HandshakeError::Tls(error) => tls_failure(error),
        HandshakeError::EarlyData
        | HandshakeError::TooLong
        | HandshakeError::NoPeer
        | HandshakeError::Keys(_) => HandshakeFailure::Protocol,
    }
}

fn tls_failure(error: &Error) -> HandshakeFailure {
    match error {
        Error::InvalidCertificate(certificate) => certificate_failure(certificate),
        Error::NoCertificatesPresented => HandshakeFailure::NoCertificate,
        Error::AlertReceived(_) => HandshakeFailure::PeerAlert,
        Error::PeerIncompatible(_) => HandshakeFailure::Incompatible,
        _ => HandshakeFailure::Protocol,
    }
}

fn certificate_failure(error: &CertificateError) -> HandshakeFailure {
    match error {
        CertificateError::Expired
        | CertificateError::ExpiredContext { .. }
        | CertificateError::NotValidYet
        | CertificateError::NotValidYetContext { .. } => HandshakeFailure::NotInValidity,
        CertificateError::Other(other) => match other.0.downcast_ref::<VerifyError>() {
            Some(VerifyError::WrongIdentity { .. }) => HandshakeFailure::WrongIdentity,
            _ => HandshakeFailure::Untrusted,
        },
        _ => HandshakeFailure::Untrusted,
    }
}
