//! Why handshakes fail, in words for people.

use std::io;

use rustls::{AlertDescription, CertificateError, Error};

use crate::tls::KeyError;

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
    #[error("the peer's handshake messages are longer than allowed")]
    TooLong,
    #[error("the handshake ended without a verified peer")]
    NoPeer,
    #[error(transparent)]
    Keys(#[from] KeyError),
}

impl HandshakeError {
    /// Whether the peer is owed an alert.
    pub(super) fn is_protocol(&self) -> bool {
        match self {
            Self::Tls(error) => !matches!(error, Error::AlertReceived(_)),
            _ => false,
        }
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
