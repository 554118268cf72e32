//! What documents are called in a decision, a log line and a table.

use std::fmt;

use serde::Serialize;

/// Kinds of documents that say something about connections.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize)]
pub enum DocumentKind {
    PeerAuthentication,
    AuthorizationPolicy,
    DestinationRule,
    ServiceEntry,
    VirtualService,
    Gateway,
    /// Of `authentication.istio.io/v1alpha1`.
    Policy,
    MeshPolicy,
    /// Not a document: the mesh's mode in one line.
    MeshSwitch,
}

impl DocumentKind {
    /// Of an API that Istio has given up.
    #[must_use]
    pub const fn is_legacy(self) -> bool {
        matches!(self, Self::Policy | Self::MeshPolicy)
    }

    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::PeerAuthentication => "PeerAuthentication",
            Self::AuthorizationPolicy => "AuthorizationPolicy",
            Self::DestinationRule => "DestinationRule",
            Self::ServiceEntry => "ServiceEntry",
            Self::VirtualService => "VirtualService",
            Self::Gateway => "Gateway",
            Self::Policy => "Policy",
            Self::MeshPolicy => "MeshPolicy",
            Self::MeshSwitch => "MeshSwitch",
        }
    }
}

/// Prints as `KIND/NAMESPACE/NAME`.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize)]
pub struct DocumentRef {
    pub kind: DocumentKind,
    pub namespace: String,
    pub name: String,
}

impl DocumentRef {
    #[must_use]
    pub fn new(kind: DocumentKind, namespace: &str, name: &str) -> Self {
        Self {
            kind,
            namespace: namespace.to_owned(),
            name: name.to_owned(),
        }
    }

    /// Orders documents that compete: the older comes first, then the name decides.
    pub(super) fn precedence(&self, created: Option<i64>) -> (i64, &Self) {
        (created.unwrap_or(i64::MAX), self)
    }
}

impl fmt::Display for DocumentRef {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            kind,
            namespace,
            name,
        } = self;
        write!(f, "{}/{namespace}/{name}", kind.as_str())
    }
}
