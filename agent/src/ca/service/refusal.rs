//! Why somebody gets no certificate, as the caller, the log and the metrics are told.

use tonic::{Code, Status};

use super::{csr::CsrError, tokens::TokenError};
use crate::ca::wire::MAX_REQUEST;
use crate::{
    identity::{ParseSpiffeIdError, SpiffeId, TrustDomain},
    telemetry::CaRefusal,
};

/// Every way in which a request ends without a certificate.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    #[error("neither a bearer token nor a client certificate of the mesh")]
    NoCredentials,
    #[error("this CA takes no tokens: it was started without --token-keys, and without a cluster")]
    NoTokens,
    #[error("the token: {0}")]
    Token(#[from] TokenError),
    #[error("the identity asked for: {0}")]
    Identity(ParseSpiffeIdError),
    #[error("this CA signs for the trust domain {0} only")]
    TrustDomain(TrustDomain),
    #[error("only node accounts may ask for another identity than their own")]
    NotNodeAccount,
    #[error(
        "the caller has not proven on which node it is: only a token that is bound to a node does, and a certificate doesn't"
    )]
    NodeUnknown,
    #[error("no pod of this identity runs on node {node}")]
    NotOnNode { node: String },
    #[error(
        "no pod of this identity is known any more: a certificate is renewed only while there is one"
    )]
    Gone,
    #[error("the certificate of {0} was revoked")]
    Revoked(SpiffeId),
    #[error(transparent)]
    Csr(#[from] CsrError),
    #[error("a certificate was issued for this public key before: make a new key for each request")]
    Replayed,
    #[error("the request is longer than {MAX_REQUEST} bytes, or not well formed")]
    Malformed,
    #[error("too many requests: try again later")]
    Rate,
    #[error("the CA can't sign at the moment: see its log")]
    Signing,
}

impl Refusal {
    /// The metric's label.
    #[must_use]
    pub fn reason(&self) -> CaRefusal {
        match self {
            Self::NoCredentials | Self::NoTokens => CaRefusal::NoCredentials,
            Self::Token(error) => match error {
                TokenError::Expired | TokenError::NotYetValid => CaRefusal::TokenExpired,
                TokenError::Audience => CaRefusal::TokenAudience,
                TokenError::Issuer => CaRefusal::TokenIssuer,
                TokenError::Unreviewed => CaRefusal::TokenUnreviewed,
                TokenError::Invalid
                | TokenError::UnknownKey
                | TokenError::Unbound
                | TokenError::BoundToNobody => CaRefusal::TokenInvalid,
            },
            Self::Identity(_) | Self::TrustDomain(_) => CaRefusal::Identity,
            Self::NotNodeAccount => CaRefusal::NotNodeAccount,
            Self::NodeUnknown | Self::NotOnNode { .. } => CaRefusal::NotOnNode,
            Self::Gone => CaRefusal::Gone,
            Self::Revoked(_) => CaRefusal::Revoked,
            Self::Csr(_) => CaRefusal::Csr,
            Self::Replayed => CaRefusal::Replayed,
            Self::Malformed => CaRefusal::Malformed,
            Self::Rate => CaRefusal::Rate,
            Self::Signing => CaRefusal::Signing,
        }
    }

    fn code(&self) -> Code {
        match self {
            Self::Token(TokenError::Unreviewed) => Code::Unavailable,
            Self::NoCredentials | Self::NoTokens | Self::Token(_) => Code::Unauthenticated,
            Self::TrustDomain(_)
            | Self::NotNodeAccount
            | Self::NodeUnknown
            | Self::NotOnNode { .. }
            | Self::Gone
            | Self::Revoked(_)
            | Self::Replayed => Code::PermissionDenied,
            Self::Identity(_) | Self::Csr(_) | Self::Malformed => Code::InvalidArgument,
            Self::Rate => Code::ResourceExhausted,
            Self::Signing => Code::Internal,
        }
    }
}

impl From<Refusal> for Status {
    fn from(refusal: Refusal) -> Self {
        Self::new(refusal.code(), refusal.to_string())
    }
}
