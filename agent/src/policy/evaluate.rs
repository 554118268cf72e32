//! One connection -> allowed or not, and why.

use std::fmt;

use serde::Serialize;

use super::{
    Policy,
    authorization::{Attributes, Decided, Outcome},
    peer::{Effective, Mode},
};
use crate::workload::Workload;

/// Whether a connection may go on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    Allow,
    Refuse(Refusal),
}

/// Why not. A metric label: the set is closed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Refusal {
    /// STRICT, and the client did not speak mutual TLS.
    PlaintextInStrict,
    /// A DENY policy matched.
    AuthorizationDenied,
    /// There are ALLOW policies, and none matched.
    AuthorizationNotAllowed,
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::PlaintextInStrict => "plaintext_in_strict",
            Self::AuthorizationDenied => "authorization_denied",
            Self::AuthorizationNotAllowed => "authorization_not_allowed",
        })
    }
}

/// A verdict with what it follows from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Decision<'p> {
    pub verdict: Verdict,
    pub mode: Effective<'p>,
    pub authorization: Outcome<'p>,
    /// What it would be if the policies in dry run were in force; `None` if there are none.
    pub dry_run: Option<Outcome<'p>>,
}

impl Policy {
    /// Decides on a connection to a workload. Peer authentication comes first: without it there is nobody to
    /// authorize.
    #[must_use]
    pub fn evaluate<'p>(
        &'p self,
        server: &'p Workload,
        connection: &Attributes<'_>,
    ) -> Decision<'p> {
        let mode = self.mode(server, connection.port);
        let Decided {
            enforced: authorization,
            dry_run,
        } = self.authorization.decide(server, connection);
        let verdict = match (mode.mode, authorization) {
            (Mode::Strict, _) if connection.principal.is_none() => {
                Verdict::Refuse(Refusal::PlaintextInStrict)
            }
            (_, Outcome::Denied(_)) => Verdict::Refuse(Refusal::AuthorizationDenied),
            (_, Outcome::NotAllowed) => Verdict::Refuse(Refusal::AuthorizationNotAllowed),
            (_, Outcome::Unrestricted | Outcome::Allowed(_)) => Verdict::Allow,
        };
        Decision {
            verdict,
            mode,
            authorization,
            dry_run,
        }
    }
}
