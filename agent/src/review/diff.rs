//! What another policy would make of flows: which it would cut, which it would newly allow.
//!
//! A flow stays as it was seen, unless the other policy tells its client to send something else: then it is what the
//! client will send. Flows to servers that are gone, or not in the mesh, are left out.

use std::{collections::BTreeMap, net::IpAddr};

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::{
    course::{Answer, Course, Transport},
    flows::{SeenFlow, course},
    sentence,
};
use crate::{
    policy::{Attributes, Mode, Policy, Refusal, Verdict},
    store::Snapshot,
    workload::Endpoint,
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
    /// About the candidate's documents: those that have no effect.
    pub warnings: Vec<String>,
}

/// In short.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Summary {
    /// How many flows were looked at.
    pub flows: u64,
    /// Rows of the lists.
    pub cut: u64,
    pub allowed: u64,
    pub reconnecting: u64,
    /// Flows whose server is not there any more.
    pub left_out: u64,
    /// Flows that the agent forgot for want of room since its start: they may be missing.
    pub evicted: u64,
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
    let mut lists = Lists::default();
    let mut summary = Summary::default();
    for seen in flows {
        match judge(snapshot, candidate, &seen) {
            Some((kind, subject)) => lists.add(kind, subject, &seen),
            None => summary.left_out += 1,
        }
        summary.flows += 1;
    }
    let Lists {
        cut,
        allowed,
        reconnecting,
    } = lists;
    let [cut, allowed, reconnecting] = [cut, allowed, reconnecting].map(|list| {
        let change = |(subject, change): (_, Counts)| change.of(subject);
        list.into_iter().map(change).collect::<Vec<Change>>()
    });
    let known = snapshot.policy.ignored();
    let ignored = candidate.ignored().iter().filter(|i| !known.contains(i));
    Diff {
        window_seconds: None,
        summary: Summary {
            cut: cut.len() as u64,
            allowed: allowed.len() as u64,
            reconnecting: reconnecting.len() as u64,
            text: sentence::all(&summary, [&cut, &allowed, &reconnecting]),
            ..summary
        },
        cut,
        allowed,
        reconnecting,
        warnings: ignored.map(ToString::to_string).collect(),
    }
}

/// What a candidate means for a flow.
#[derive(Clone, Copy)]
enum Kind {
    Same,
    Cut,
    Allowed,
    Reconnecting,
}

#[derive(Default)]
struct Lists {
    cut: BTreeMap<Subject, Counts>,
    allowed: BTreeMap<Subject, Counts>,
    reconnecting: BTreeMap<Subject, Counts>,
}

#[derive(Default)]
struct Counts {
    connections: u64,
    open: u64,
    last_seen: Option<Timestamp>,
}

impl Lists {
    fn add(&mut self, kind: Kind, subject: Subject, seen: &SeenFlow) {
        let list = match kind {
            Kind::Same => return,
            Kind::Cut => &mut self.cut,
            Kind::Allowed => &mut self.allowed,
            Kind::Reconnecting => &mut self.reconnecting,
        };
        let counts = list.entry(subject).or_default();
        counts.connections += seen.connections;
        counts.open += seen.open;
        counts.last_seen = counts.last_seen.max(seen.last_seen);
    }
}

impl Counts {
    fn of(self, subject: Subject) -> Change {
        Change {
            subject,
            connections: self.connections,
            open: self.open,
            last_seen: self.last_seen,
        }
    }
}

/// `None`: policy says nothing of the flow, for its server is not in the mesh.
fn judge(snapshot: &Snapshot, candidate: &Policy, seen: &SeenFlow) -> Option<(Kind, Subject)> {
    let flow = &seen.flow;
    let server = snapshot.workload(&flow.server).filter(|w| w.enrolled)?;
    let client = flow.client.as_ref().and_then(|c| snapshot.workload(c));
    let source = client.filter(|w| w.enrolled).map(AsRef::as_ref);
    let endpoint = Endpoint {
        address: flow.server_address,
        port: flow.port,
    };
    let [now, then] = [&snapshot.policy, candidate]
        .map(|policy| course(snapshot, policy, source, server, endpoint));
    let as_seen = flow.attributes();
    // What was seen was not refused by the client, whatever its way: only what is new about that counts.
    let before = judged(&now, &as_seen, now.is_conflict() && seen.connections == 0);
    let conflict = then.is_conflict() && (seen.connections == 0 || !now.is_conflict());
    let after = judged(&then, &sent(&now, &then, as_seen), conflict);
    let kind = match (before.verdict, after.verdict) {
        (Answer::Allow, Answer::Deny) => Kind::Cut,
        (Answer::Deny, Answer::Allow) => Kind::Allowed,
        (Answer::Allow, Answer::Allow)
            if seen.open > 0 && judged(&then, &as_seen, false).verdict == Answer::Deny =>
        {
            Kind::Reconnecting
        }
        (Answer::Allow, Answer::Allow) | (Answer::Deny, Answer::Deny) => Kind::Same,
    };
    let address = |ip: IpAddr| ip.to_string();
    let name = flow.client.as_ref().map(ToString::to_string);
    let subject = Subject {
        client: name.unwrap_or_else(|| address(flow.client_address)),
        client_principal: as_seen.principal.map(ToString::to_string),
        server: flow.server.to_string(),
        port: flow.port,
        security: security(&as_seen),
        before,
        after,
    };
    Some((kind, subject))
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

fn judged(course: &Course<'_>, attributes: &Attributes<'_>, conflict: bool) -> Judged {
    let decision = course.policy.evaluate(course.destination, attributes);
    let (reason, decided_by) = match decision.verdict {
        Verdict::Refuse(refusal) => (Some(refusal.into()), course.decided_by(&decision)),
        Verdict::Allow if conflict => (Some(Cause::DestinationRuleConflict), course.peers()),
        Verdict::Allow => (None, course.decided_by(&decision)),
    };
    Judged {
        verdict: match reason {
            Some(_) => Answer::Deny,
            None => Answer::Allow,
        },
        reason,
        security: security(attributes),
        decided_by,
    }
}

fn security(attributes: &Attributes<'_>) -> Transport {
    match attributes.principal {
        Some(_) => Transport::MutualTls,
        None => Transport::Plaintext,
    }
}
