//! One connection -> allowed or not, and why.

use std::fmt;

use serde::Serialize;

use super::{
    compile::Policy,
    document::{Mode, PolicyRef},
};
use crate::{identity::SpiffeId, workload::Workload};

/// What the server's side has observed of a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Transport<'a> {
    /// Mutual TLS, and whose certificate the client proved to hold.
    MutualTls(&'a SpiffeId),
    /// Anything else: no identity.
    Plaintext,
}

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
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::PlaintextInStrict => "plaintext_in_strict",
        })
    }
}

/// A verdict with the mode and the document that it follows from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Decision {
    pub verdict: Verdict,
    pub mode: Mode,
    /// `None`: the built-in default.
    pub document: Option<PolicyRef>,
}

impl Policy {
    /// Decides on a connection to `port` of `server`.
    #[must_use]
    pub fn evaluate(&self, server: &Workload, port: u16, transport: Transport<'_>) -> Decision {
        let effective = self.mode(server, port);
        let verdict = match (effective.mode, transport) {
            (Mode::Strict, Transport::Plaintext) => Verdict::Refuse(Refusal::PlaintextInStrict),
            (Mode::Strict | Mode::Permissive | Mode::Disable, _) => Verdict::Allow,
        };
        Decision {
            verdict,
            mode: effective.mode,
            document: effective.document.cloned(),
        }
    }
}
