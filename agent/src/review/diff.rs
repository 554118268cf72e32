//! What another policy would make of flows: which it would cut, which it would newly allow.
//!
//! A flow stays as it was seen, unless the other policy tells its client to send something else: then it is what the
//! client will send. Flows to servers that are gone, or not in the mesh, are left out.

mod lists;

use std::collections::HashMap;

use jiff::Timestamp;
pub(super) use lists::{List, Reason, Tally};
use serde::{Deserialize, Serialize};

use super::{
    course::{Answer, Course, Transport},
    flows::{SeenFlow, course},
    sentence,
};
use crate::{
    policy::{Attributes, Decision, Mode, Policy, Refusal, Verdict},
    store::Snapshot,
    workload::{Endpoint, ObjectName, Workload},
};

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
    /// About the candidate's documents: those that have no effect.
    pub warnings: Vec<String>,
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
    /// As it was seen.
    pub security: Transport,
    pub before: Judged,
    pub after: Judged,
}

/// What policy makes of a flow.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Judged {
    pub verdict: Answer,
    pub reason: Option<Cause>,
    pub security: Transport,
    /// `KIND/NAMESPACE/NAME`.
    pub decided_by: Vec<String>,
}

/// Why a flow is refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Cause {
    PlaintextInStrict,
    AuthorizationDenied,
    AuthorizationNotAllowed,
    /// The client is told to send what the server doesn't take.
    DestinationRuleConflict,
}

impl From<Refusal> for Cause {
    fn from(refusal: Refusal) -> Self {
        match refusal {
            Refusal::PlaintextInStrict => Self::PlaintextInStrict,
            Refusal::AuthorizationDenied => Self::AuthorizationDenied,
            Refusal::AuthorizationNotAllowed => Self::AuthorizationNotAllowed,
        }
    }
}

/// Tries `candidate` on flows, in place of the snapshot's policy.
pub fn diff(
    snapshot: &Snapshot,
    candidate: &Policy,
    flows: impl IntoIterator<Item = SeenFlow>,
) -> Diff {
    let [mut cut, mut allowed, mut reconnecting, mut exposed] = [(); 4].map(|()| List::default());
    let mut trial = Trial::new(snapshot, candidate);
    let mut summary = Summary::default();
    for seen in flows {
        summary.flows += 1;
        match trial.judge(&seen) {
            None => summary.left_out += 1,
            Some(Outcome::Same) => {}
            Some(Outcome::Cut(subject)) => cut.add(*subject, |s| &s.after, &seen),
            Some(Outcome::Allowed(subject)) => allowed.add(*subject, |s| &s.before, &seen),
            Some(Outcome::Exposed(subject)) => exposed.add(*subject, |s| &s.after, &seen),
            Some(Outcome::Reconnecting(subject)) => {
                reconnecting.add(*subject, |s| &s.after, &seen);
            }
        }
    }
    let known = snapshot.policy.ignored();
    let ignored = candidate.ignored().iter().filter(|i| !known.contains(i));
    Diff {
        window_seconds: None,
        summary: Summary {
            cut: cut.len(),
            allowed: allowed.len(),
            reconnecting: reconnecting.len(),
            exposed: exposed.len(),
            omitted: [&cut, &allowed, &reconnecting, &exposed]
                .map(List::omitted)
                .iter()
                .sum(),
            text: sentence::all(&summary, [&cut, &allowed, &reconnecting, &exposed]),
            ..summary
        },
        cut: cut.into_changes(),
        allowed: allowed.into_changes(),
        reconnecting: reconnecting.into_changes(),
        exposed: exposed.into_changes(),
        warnings: ignored.map(ToString::to_string).collect(),
    }
}

/// What a candidate means for a flow.
enum Outcome {
    Same,
    Cut(Box<Subject>),
    Allowed(Box<Subject>),
    Reconnecting(Box<Subject>),
    Exposed(Box<Subject>),
}

/// A candidate beside the policy that is in force.
struct Trial<'a> {
    snapshot: &'a Snapshot,
    candidate: &'a Policy,
    same_rules: bool,
    /// Servers' ports for which the candidate says the same.
    same: HashMap<(ObjectName, u16), bool>,
}

impl<'a> Trial<'a> {
    fn new(snapshot: &'a Snapshot, candidate: &'a Policy) -> Self {
        Self {
            snapshot,
            candidate,
            same_rules: snapshot.policy.clients() == candidate.clients(),
            same: HashMap::new(),
        }
    }

    fn is_same(&mut self, server: &Workload, port: u16) -> bool {
        let (now, then) = (&self.snapshot.policy, self.candidate);
        let same_rules = self.same_rules;
        let key = (server.name.clone(), port);
        *self.same.entry(key).or_insert_with(|| {
            let [now_of, then_of] = [now, then].map(|policy| policy.authorization().of(server));
            same_rules && now.mode(server, port) == then.mode(server, port) && now_of.eq(then_of)
        })
    }

    /// `None`: policy says nothing of the flow, for its server is not in the mesh.
    fn judge(&mut self, seen: &SeenFlow) -> Option<Outcome> {
        let (snapshot, flow) = (self.snapshot, &seen.flow);
        let server = snapshot.workload(&flow.server).filter(|w| w.enrolled)?;
        if self.is_same(server, flow.port) {
            return Some(Outcome::Same);
        }
        let client = flow.client.as_ref().and_then(|c| snapshot.workload(c));
        let source = client.filter(|w| w.enrolled).map(AsRef::as_ref);
        let endpoint = Endpoint {
            address: flow.server_address,
            port: flow.port,
        };
        let [now, then] = [&snapshot.policy, self.candidate]
            .map(|policy| course(snapshot, policy, source, server, endpoint));
        let as_seen = flow.attributes();
        // What was seen was not refused by the client, whatever its way: only what is new about that counts.
        let before = Found::of(now, as_seen, now.is_conflict() && seen.connections == 0);
        let conflict = then.is_conflict() && (seen.connections == 0 || !now.is_conflict());
        let after = Found::of(then, sent(&now, &then, as_seen), conflict);
        let subject = || {
            let name = flow.client.as_ref().map(ToString::to_string);
            Box::new(Subject {
                client: name.unwrap_or_else(|| flow.client_address.to_string()),
                client_principal: as_seen.principal.map(ToString::to_string),
                server: flow.server.to_string(),
                port: flow.port,
                security: security(&as_seen),
                before: before.told(),
                after: after.told(),
            })
        };
        let is_exposed =
            before.security == Transport::MutualTls && after.security == Transport::Plaintext;
        let stays = || Found::of(then, as_seen, false).reason.is_none();
        Some(match (before.reason, after.reason) {
            (None, Some(_)) => Outcome::Cut(subject()),
            (Some(_), None) => Outcome::Allowed(subject()),
            (None, None) if is_exposed => Outcome::Exposed(subject()),
            (None, None) if seen.open > 0 && !stays() => Outcome::Reconnecting(subject()),
            (None, None) | (Some(_), Some(_)) => Outcome::Same,
        })
    }
}

/// The flow as it is under the other policy.
fn sent<'a>(now: &Course<'a>, then: &Course<'a>, seen: Attributes<'a>) -> Attributes<'a> {
    let (before, after) = (now.transport().0, then.transport().0);
    let plaintext = Attributes {
        principal: None,
        sni: None,
        ..seen
    };
    match (after, then.source) {
        // Nobody answers TLS there but the application.
        _ if then.mode.mode == Mode::Disable => plaintext,
        _ if before == after => seen,
        (Transport::MutualTls, Some(source)) => Attributes {
            principal: Some(&source.identity),
            ..seen
        },
        _ => plaintext,
    }
}

/// What policy makes of a flow, before it is put into words.
struct Found<'a> {
    course: Course<'a>,
    decision: Decision<'a>,
    reason: Option<Cause>,
    security: Transport,
}

impl<'a> Found<'a> {
    fn of(course: Course<'a>, attributes: Attributes<'_>, conflict: bool) -> Self {
        let decision = course.policy.evaluate(course.destination, &attributes);
        Self {
            reason: match decision.verdict {
                Verdict::Refuse(refusal) => Some(refusal.into()),
                Verdict::Allow => conflict.then_some(Cause::DestinationRuleConflict),
            },
            security: security(&attributes),
            course,
            decision,
        }
    }

    fn told(&self) -> Judged {
        Judged {
            verdict: match self.reason {
                Some(_) => Answer::Deny,
                None => Answer::Allow,
            },
            reason: self.reason,
            security: self.security,
            decided_by: match self.reason {
                Some(Cause::DestinationRuleConflict) => self.course.peers(),
                Some(_) | None => self.course.decided_by(&self.decision),
            },
        }
    }
}

fn security(attributes: &Attributes<'_>) -> Transport {
    match attributes.principal {
        Some(_) => Transport::MutualTls,
        None => Transport::Plaintext,
    }
}
