//! Why a gateway sends a connection nowhere.

use super::Served;
use crate::policy::DocumentRef;

/// Why a connection goes nowhere.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NoRoute {
    #[error("no Gateway is for {what}")]
    NoServer { what: String },
    #[error("{gateway} redirects requests by their host, and the client has named none")]
    Redirects { gateway: DocumentRef },
    #[error("no VirtualService of {gateway} is for {what}")]
    Nobody { gateway: DocumentRef, what: String },
    #[error(
        "{first} and {second} both take what comes through {gateway}, and the client hasn't said which host it means"
    )]
    Ambiguous {
        gateway: DocumentRef,
        first: Box<DocumentRef>,
        second: Box<DocumentRef>,
    },
}

impl NoRoute {
    pub(super) fn no_server(port: u16, name: Option<&str>) -> Self {
        let what = what(port, name);
        Self::NoServer { what }
    }

    pub(super) fn nobody(served: Served<'_>, name: Option<&str>) -> Self {
        Self::Nobody {
            gateway: served.gateway.clone(),
            what: what(served.server.port, name),
        }
    }
}

fn what(port: u16, name: Option<&str>) -> String {
    match name {
        Some(name) => format!("{name}:{port}"),
        None => format!("port {port} without a name"),
    }
}
