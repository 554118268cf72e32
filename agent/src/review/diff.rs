//! What another policy would make of flows: which it would cut, which it would newly allow. Of those that agents have
//! seen ([`diff`]), or of all that a directory makes possible ([`possible`]).

mod judged;
mod lists;
mod possible;
mod seen;
mod ways;

use std::sync::Arc;

use jiff::Timestamp;
pub use judged::{Cause, Judged, Sent};
use lists::Counts;
pub(super) use lists::{Lists, Reason, Tally};
pub use possible::possible;
use seen::{Outcome, Trial};
use serde::{Deserialize, Serialize};
pub(super) use ways::Reached;

use super::{course::Transport, flows::SeenFlow, sentence};
use crate::{policy::Policy, store::Snapshot};

/// What would change.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Diff {
    /// For how long back flows were looked at; `None`: nobody has seen them.
    pub window_seconds: Option<u64>,
    pub summary: Summary,
    /// Allowed now, and refused then.
    pub cut: Vec<Change>,
    /// Refused now, and allowed then.
    pub allowed: Vec<Change>,
    /// Allowed now and then, but open in plaintext: they end, and their clients come back in mutual TLS.
    pub reconnecting: Vec<Change>,
    /// Encrypted now, and in plaintext then.
    #[serde(default)]
    pub exposed: Vec<Change>,
    /// Allowed now and then, but sent to another server by a VirtualService: new connections, that is.
    #[serde(default)]
    pub elsewhere: Vec<Change>,
    /// A VirtualService would send them elsewhere, or nowhere, if their clients have asked for what it is about. What they
    /// have asked for is not known.
    #[serde(default)]
    pub uncertain: Vec<Change>,
    /// About the candidate's documents: those that have no effect.
    pub warnings: Vec<String>,
}

impl Diff {
    /// Whether nothing that is allowed would be refused or sent unencrypted, as far as anybody knows.
    #[must_use]
    pub fn is_harmless(&self) -> bool {
        let mut uncertain = self.uncertain.iter().map(|change| &change.subject);
        self.cut.is_empty()
            && self.exposed.is_empty()
            && !uncertain.any(|subject| subject.after.is_worse_than(&subject.before))
    }
}

/// In short.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Summary {
    /// How many flows were looked at.
    pub flows: u64,
    /// Rows of the lists, those that are left out for want of room among them.
    pub cut: u64,
    pub allowed: u64,
    pub reconnecting: u64,
    #[serde(default)]
    pub exposed: u64,
    #[serde(default)]
    pub elsewhere: u64,
    #[serde(default)]
    pub uncertain: u64,
    /// Flows whose server is not there any more.
    pub left_out: u64,
    /// Flows that the agent forgot for want of room since its start: they may be missing.
    pub evicted: u64,
    /// Rows that are left out of the lists: of each, there are 10,000 at most.
    #[serde(default)]
    pub omitted: u64,
    /// For people.
    pub text: Vec<String>,
}

/// Flows that would change, alike but for addresses and names asked for.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Change {
    #[serde(flatten)]
    pub subject: Subject,
    pub connections: u64,
    pub open: u64,
    pub last_seen: Option<Timestamp>,
}

/// Whose flows, and what becomes of them.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Subject {
    /// `NAMESPACE/NAME`, or the address that no known pod had.
    pub client: String,
    pub client_principal: Option<String>,
    /// `NAMESPACE/NAME`.
    pub server: String,
    pub port: u16,
    /// What the client asks for, where that makes a difference: `HOST:PORT` or `ADDRESS:PORT`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub asked: Option<String>,
    /// As it was seen.
    pub security: Transport,
    pub before: Judged,
    pub after: Judged,
}

/// Tries `candidate` on flows, in place of the snapshot's policy. `untried`: hosts that there will be only then.
pub fn diff(
    snapshot: &Snapshot,
    candidate: &Policy,
    untried: &[String],
    flows: impl IntoIterator<Item = SeenFlow>,
) -> Diff {
    let mut lists = Lists::default();
    let mut trial = Trial::new(snapshot, candidate, untried);
    let mut summary = Summary::default();
    for seen in flows {
        summary.flows += 1;
        match trial.judge(&seen) {
            None => summary.left_out += 1,
            Some(Outcome::Same) => {}
            Some(Outcome::Changed(effect, subject)) => {
                lists.add(effect, *subject, Counts::from(&seen))
            }
        }
    }
    finished(snapshot, candidate, &summary, lists)
}

fn finished(snapshot: &Snapshot, candidate: &Policy, summary: &Summary, lists: Lists) -> Diff {
    let known = snapshot.policy.ignored();
    let ignored = candidate.ignored().iter().filter(|i| !known.contains(i));
    Diff {
        window_seconds: None,
        summary: Summary {
            cut: lists.cut.len(),
            allowed: lists.allowed.len(),
            reconnecting: lists.reconnecting.len(),
            exposed: lists.exposed.len(),
            elsewhere: lists.elsewhere.len(),
            uncertain: lists.uncertain.len(),
            omitted: lists.omitted(),
            text: sentence::all(summary, &lists),
            flows: summary.flows,
            left_out: summary.left_out,
            evicted: summary.evicted,
        },
        cut: lists.cut.into_changes(),
        allowed: lists.allowed.into_changes(),
        reconnecting: lists.reconnecting.into_changes(),
        exposed: lists.exposed.into_changes(),
        elsewhere: lists.elsewhere.into_changes(),
        uncertain: lists.uncertain.into_changes(),
        warnings: ignored.map(ToString::to_string).collect(),
    }
}

/// With the candidate in force.
fn then(now: &Snapshot, candidate: &Policy) -> Snapshot {
    let mut then = now.clone();
    then.policy = Arc::new(candidate.clone());
    then
}
