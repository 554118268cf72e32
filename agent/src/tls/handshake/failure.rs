//! Why handshakes fail, in words for people.

use std::io;

use rustls::{AlertDescription, CertificateError, Error, OtherError};

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
        Error::InvalidCertificate(certificate) => {
            format!("peer certificate refused: {}", reason(certificate))
        }
        Error::AlertReceived(AlertDescription::CertificateRequired) => {
            "the peer requires a client certificate".to_owned()
        }
        Error::AlertReceived(alert) => format!("the peer refused: alert {alert:?}"),
        other => other.to_string(),
    }
}

pub(in crate::tls) fn reason(error: &CertificateError) -> String {
    match error {
        CertificateError::Other(OtherError(other)) => match of_path(&**other) {
            Some(words) => words.to_owned(),
            None => other.to_string(),
        },
        CertificateError::Revoked => "it was revoked".to_owned(),
        CertificateError::UnknownIssuer => {
            "no root that is trusted here has signed it".to_owned()
        }
        CertificateError::InvalidPurpose => {
            "its extended key usage is not that of this end of a connection (serverAuth, clientAuth)".to_owned()
        }
        other => other.to_string(),
    }
}

/// Path validation tells names of variants only.
fn of_path(error: &(dyn std::error::Error + Send + Sync + 'static)) -> Option<&'static str> {
    use webpki::Error as E;
    Some(match error.downcast_ref()? {
        E::CaUsedAsEndEntity => "it is an authority's (CA:TRUE), not a peer's own",
        E::EndEntityUsedAsCa => {
            "what has signed it is not an authority's (no CA:TRUE, or a key usage without keyCertSign)"
        }
        E::PathLenConstraintViolated => {
            "more authorities stand above it than one of them allows (path length)"
        }
        E::MaximumPathDepthExceeded
        | E::MaximumPathBuildCallsExceeded
        | E::MaximumSignatureChecksExceeded => {
            "more authorities stand above it, or beside it, than are looked at"
        }
        E::NameConstraintViolation => {
            "an authority above it may not sign this name (name constraints)"
        }
        E::UnsupportedCertVersion => "it is of an X.509 version before 3",
        E::UnsupportedSignatureAlgorithmContext(_) => {
            "it, or one above it, is signed with an algorithm that is not accepted, such as SHA-1 or MD5"
        }
        E::UnsupportedSignatureAlgorithmForPublicKeyContext(_) => {
            "it, or one above it, is signed with an algorithm that is not its signer's key's"
        }
        E::InvalidCrlSignatureForPublicKey => {
            "no revocation list with its issuer's name is signed by that, or by a known authority of that name (--crl)"
        }
        E::IssuerNotCrlSigner => {
            "its issuer, of which there is a revocation list, may not sign any (key usage without cRLSign)"
        }
        E::UnsupportedCriticalExtension => "it has a critical extension of an unknown kind",
        _ => return None,
    })
}
