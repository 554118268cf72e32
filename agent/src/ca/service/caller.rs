//! Who asks, as far as it is proven.

use std::fmt;

use crate::identity::SpiffeId;

/// Somebody who has proven who it is.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) struct Caller {
    pub(super) identity: SpiffeId,
    pub(super) proof: Proof,
}

/// How.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) enum Proof {
    /// A service account's token, of a pod on this node if the token is bound to one.
    Token { node: Option<String> },
    /// Its present SVID.
    Certificate,
}

impl Caller {
    pub(super) fn of_certificate(identity: SpiffeId) -> Self {
        Self {
            identity,
            proof: Proof::Certificate,
        }
    }
}

impl fmt::Display for Caller {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.proof {
            Proof::Token { node: Some(node) } => write!(f, "{} on node {node}", self.identity),
            Proof::Token { node: None } | Proof::Certificate => write!(f, "{}", self.identity),
        }
    }
}

/// The token of an `authorization` header (RFC 6750, section 2.1).
pub(super) fn bearer(header: &str) -> Option<&str> {
    let (scheme, token) = header.split_once(' ')?;
    let token = token.trim();
    (scheme.eq_ignore_ascii_case("bearer") && !token.is_empty()).then_some(token)
}
