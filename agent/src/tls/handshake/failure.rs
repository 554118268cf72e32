//! Why handshakes fail, in words for the log and in a closed set for the metric.

use std::{fmt, io};

use rustls::{AlertDescription, CertificateError, Error};

use crate::tls::{keys::KeyError, verify::VerifyError};

/// What ended a handshake.
#[derive(Debug, thiserror::Error)]
pub enum HandshakeError {
    #[error(transparent)]
    Io(#[from] io::Error),
    #[error("{}", describe(.0))]
    Tls(#[from] Error),
    #[error("the peer closed the connection during the handshake")]
    Closed,
    #[error("the peer sent application data before the handshake was done")]
    EarlyData,
    #[error("the handshake ended without a verified peer")]
    NoPeer,
    #[error(transparent)]
    Keys(#[from] KeyError),
}

/// Metric label `reason` of failed handshakes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum HandshakeFailure {
    Io,
    Closed,
    Timeout,
    NotTls,
    NoCertificate,
    UnknownIssuer,
    Expired,
    NotYetValid,
    WrongIdentity,
    BadCertificate,
    PeerAlert,
    Protocol,
    NoSvid,
}

impl HandshakeFailure {
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Io => "io",
            Self::Closed => "closed",
            Self::Timeout => "timeout",
            Self::NotTls => "not_tls",
            Self::NoCertificate => "no_certificate",
            Self::UnknownIssuer => "unknown_issuer",
            Self::Expired => "expired",
            Self::NotYetValid => "not_yet_valid",
            Self::WrongIdentity => "wrong_identity",
            Self::BadCertificate => "bad_certificate",
            Self::PeerAlert => "peer_alert",
            Self::Protocol => "protocol",
            Self::NoSvid => "no_svid",
        }
    }
}

impl fmt::Display for HandshakeFailure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl HandshakeError {
    /// Whether the peer is owed an alert.
    pub(super) fn is_protocol(&self) -> bool {
        matches!(self, Self::Tls(_) | Self::EarlyData)
    }

    #[must_use]
    pub fn failure(&self) -> HandshakeFailure {
        match self {
            Self::Io(_) => HandshakeFailure::Io,
            Self::Closed => HandshakeFailure::Closed,
            Self::Tls(error) => classify(error),
            Self::EarlyData | Self::NoPeer | Self::Keys(_) => HandshakeFailure::Protocol,
        }
    }
}

fn classify(error: &Error) -> HandshakeFailure {
    match error {
        Error::InvalidCertificate(certificate) => classify_certificate(certificate),
        Error::NoCertificatesPresented => HandshakeFailure::NoCertificate,
        Error::AlertReceived(_) => HandshakeFailure::PeerAlert,
        Error::InvalidMessage(_) => HandshakeFailure::NotTls,
        _ => HandshakeFailure::Protocol,
    }
}

fn classify_certificate(error: &CertificateError) -> HandshakeFailure {
    match error {
        CertificateError::Expired | CertificateError::ExpiredContext { .. } => {
            HandshakeFailure::Expired
        }
        CertificateError::NotValidYet | CertificateError::NotValidYetContext { .. } => {
            HandshakeFailure::NotYetValid
        }
        CertificateError::UnknownIssuer | CertificateError::BadSignature => {
            HandshakeFailure::UnknownIssuer
        }
        CertificateError::Other(other) => match other.0.downcast_ref::<VerifyError>() {
            Some(VerifyError::WrongIdentity { .. }) => HandshakeFailure::WrongIdentity,
            Some(VerifyError::TrustDomain(_)) => HandshakeFailure::UnknownIssuer,
            _ => HandshakeFailure::BadCertificate,
        },
        _ => HandshakeFailure::BadCertificate,
    }
}

/// rustls' own words, but those of ours where they say more.
fn describe(error: &Error) -> String {
    match error {
        Error::InvalidCertificate(CertificateError::Other(other)) => {
            format!("peer certificate refused: {}", other.0)
        }
        Error::InvalidCertificate(certificate) => {
            format!("peer certificate refused: {certificate}")
        }
        Error::AlertReceived(AlertDescription::CertificateRequired) => {
            "the peer requires a client certificate".to_owned()
        }
        Error::AlertReceived(alert) => format!("the peer refused: alert {alert:?}"),
        other => other.to_string(),
    }
}
