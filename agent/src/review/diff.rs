//! What another policy would make of flows: which it would cut, which it would newly allow.
//!
//! A flow stays as it was seen, unless the other policy tells its client to send something else, or sends it elsewhere:
//! then it is what the client will send, and where. Flows to servers that are gone, or not in the mesh, are left out.

mod judged;
mod lists;
mod ways;

use std::collections::HashMap;

use jiff::Timestamp;
pub use judged::{Cause, Judged, Sent};
use lists::Effect;
pub(super) use lists::{Lists, Reason, Tally};
use serde::{Deserialize, Serialize};
use ways::{Led, Way, Ways};

use super::{
    course::{Answer, Course, Transport},
    flows::{SeenFlow, course},
    sentence,
};
use crate::{
    policy::{Attributes, Decision, Mode, Policy, Verdict},
    store::Snapshot,
    workload::{ObjectName, Workload},
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
            Some(Outcome::Changed(effect, subject)) => lists.add(effect, *subject, &seen),
        }
    }
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
            text: sentence::all(&summary, &lists),
            ..summary
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

/// What a candidate means for a flow.
enum Outcome {
    Same,
    Changed(Effect, Box<Subject>),
}

/// A candidate beside the policy that is in force.
struct Trial<'a> {
    snapshot: &'a Snapshot,
    candidate: &'a Policy,
    ways: Ways<'a>,
    same_rules: bool,
    /// Servers' ports for which the candidate says the same.
    same: HashMap<(ObjectName, u16), bool>,
}

impl<'a> Trial<'a> {
    fn new(snapshot: &'a Snapshot, candidate: &'a Policy, untried: &'a [String]) -> Self {
        Self {
            snapshot,
            candidate,
            ways: Ways::new(snapshot, candidate, untried),
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
        let server = self.snapshot.workload(&seen.flow.server);
        let server = server.filter(|server| server.enrolled)?;
        Some(match self.ways.of(seen) {
            Led::Same => self.arriving(seen, server),
            Led::Elsewhere(way) => self.sent_away(seen, server, &way),
            Led::Perhaps(way) => {
                let (before, _) = self.before(seen, server);
                let (before, after) = (before.told(), way.judged(before.security));
                match self.arriving(seen, server) {
                    worst @ Outcome::Changed(Effect::Cut | Effect::Exposed, _) => worst,
                    changed @ Outcome::Changed(..) if !after.is_worse_than(&before) => changed,
                    _ => {
                        let subject = subject(seen, before, after);
                        Outcome::Changed(Effect::Uncertain, subject)
                    }
                }
            }
        })
    }

    /// A flow that goes where it went.
    fn arriving(&mut self, seen: &SeenFlow, server: &'a Workload) -> Outcome {
        if self.is_same(server, seen.flow.port) {
            return Outcome::Same;
        }
        let (before, now) = self.before(seen, server);
        let then = self.course(self.candidate, seen, server);
        let as_seen = seen.flow.attributes();
        let conflict = then.is_conflict() && (seen.connections == 0 || !now.is_conflict());
        let after = Found::of(then, sent(&now, &then, as_seen), conflict);
        let is_exposed =
            before.security == Transport::MutualTls && after.security == Transport::Plaintext;
        let stays = || Found::of(then, as_seen, false).reason.is_none();
        let effect = match (before.reason, after.reason) {
            (None, Some(_)) => Effect::Cut,
            (Some(_), None) => Effect::Allowed,
            (None, None) if is_exposed => Effect::Exposed,
            (None, None) if seen.open > 0 && !stays() => Effect::Reconnecting,
            (None, None) | (Some(_), Some(_)) => return Outcome::Same,
        };
        Outcome::Changed(effect, subject(seen, before.told(), after.told()))
    }

    fn sent_away(&self, seen: &SeenFlow, server: &'a Workload, way: &Way) -> Outcome {
        let (before, _) = self.before(seen, server);
        let (before, after) = (before.told(), way.judged(before.security));
        let is_exposed = after.is_worse_than(&before) && !way.stays_inside;
        let effect = match (before.verdict, after.verdict) {
            (Answer::Allow, Answer::Deny) => Effect::Cut,
            (Answer::Deny, Answer::Allow) => Effect::Allowed,
            (Answer::Allow, Answer::Allow) if is_exposed => Effect::Exposed,
            (Answer::Allow, Answer::Allow) => Effect::Elsewhere,
            (Answer::Deny, Answer::Deny) => return Outcome::Same,
        };
        Outcome::Changed(effect, subject(seen, before, after))
    }

    /// What was seen was not refused by the client, whatever its way: only what is new about that counts.
    fn before(&self, seen: &SeenFlow, server: &'a Workload) -> (Found<'a>, Course<'a>) {
        let now = self.course(&self.snapshot.policy, seen, server);
        let conflict = now.is_conflict() && seen.connections == 0;
        (Found::of(now, seen.flow.attributes(), conflict), now)
    }

    fn course(&self, policy: &'a Policy, seen: &SeenFlow, server: &'a Workload) -> Course<'a> {
        let client = seen.flow.client.as_ref();
        let client = client.and_then(|client| self.snapshot.workload(client));
        let source = client.filter(|w| w.enrolled).map(AsRef::as_ref);
        let endpoint = seen.flow.endpoint();
        course(self.snapshot, policy, source, server, endpoint)
    }
}

fn subject(seen: &SeenFlow, before: Judged, after: Judged) -> Box<Subject> {
    let (flow, as_seen) = (&seen.flow, seen.flow.attributes());
    let name = flow.client.as_ref().map(ToString::to_string);
    Box::new(Subject {
        client: name.unwrap_or_else(|| flow.client_address.to_string()),
        client_principal: as_seen.principal.map(ToString::to_string),
        server: flow.server.to_string(),
        port: flow.port,
        security: security(&as_seen),
        before,
        after,
    })
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
            route: None,
        }
    }
}

fn security(attributes: &Attributes<'_>) -> Transport {
    match attributes.principal {
        Some(_) => Transport::MutualTls,
        None => Transport::Plaintext,
    }
}
