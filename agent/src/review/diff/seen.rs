//! Flows that were seen, each with another policy.
//!
//! A flow stays as it was seen, unless the other policy tells its client to send something else, or sends it elsewhere:
//! then it is what the client will send, and where. Flows to servers that are gone, or not in the mesh, are left out.

use std::collections::HashMap;

use super::{
    Subject,
    judged::{Cause, Judged},
    lists::Effect,
    ways::{Led, Reached, Way, Ways},
};
use crate::{
    policy::{Attributes, Decision, Mode, Policy, Verdict},
    review::{
        course::{Answer, Course, Transport},
        flows::{SeenFlow, course},
        target::has_own_proxy,
    },
    store::Snapshot,
    workload::{ObjectName, Workload},
};

/// What a candidate means for a flow.
pub(super) enum Outcome {
    Same,
    Changed(Effect, Box<Subject>),
}

/// A candidate beside the policy that is in force.
pub(super) struct Trial<'a> {
    snapshot: &'a Snapshot,
    candidate: &'a Policy,
    ways: Ways<'a>,
    same_rules: bool,
    /// Servers' ports for which the candidate says the same.
    same: HashMap<(ObjectName, u16), bool>,
}

impl<'a> Trial<'a> {
    pub(super) fn new(
        snapshot: &'a Snapshot,
        candidate: &'a Policy,
        untried: &'a [String],
    ) -> Self {
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
    pub(super) fn judge(&mut self, seen: &SeenFlow) -> Option<Outcome> {
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
        let is_old = now.is_conflict() && before.reason != Some(Cause::DestinationRuleConflict);
        let conflict = then.is_conflict() && !is_old;
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
        let mut told = after.told();
        if effect == Effect::Exposed {
            // Whoever allows it has no part in that.
            let peers = [then.peers(), now.peers()];
            let said = peers.into_iter().find(|documents| !documents.is_empty());
            told.decided_by = said.unwrap_or_default();
        }
        Outcome::Changed(effect, subject(seen, before.told(), told))
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

    /// What was seen was not refused by the client, whatever its way: only what is new about that counts. But what was
    /// mutual TLS is in clear where that is not taken any more.
    fn before(&self, seen: &SeenFlow, server: &'a Workload) -> (Found<'a>, Course<'a>) {
        let now = self.course(&self.snapshot.policy, seen, server);
        let mut attributes = seen.flow.attributes();
        let is_past = attributes.principal.is_some()
            && (now.mode.mode == Mode::Disable || tells_otherwise(&now, seen));
        if is_past {
            attributes = in_clear(attributes);
        }
        let conflict = now.is_conflict() && is_past;
        (Found::of(now, attributes, conflict), now)
    }

    fn course(&self, policy: &'a Policy, seen: &SeenFlow, server: &'a Workload) -> Course<'a> {
        let client = seen.flow.client.as_ref();
        let client = client.and_then(|client| self.snapshot.workload(client));
        let source = client.filter(|w| w.enrolled || has_own_proxy(self.snapshot, w));
        course(
            self.snapshot,
            policy,
            source.map(AsRef::as_ref),
            server,
            seen,
        )
    }
}

/// Whether it is certain that a rule has its client send something else than mutual TLS.
fn tells_otherwise(now: &Course<'_>, seen: &SeenFlow) -> bool {
    let is_certain = seen.flow.server_name().and_then(Reached::of).is_some();
    is_certain && now.ruled.is_some() && now.transport().0 != Transport::MutualTls
}

fn in_clear(seen: Attributes<'_>) -> Attributes<'_> {
    Attributes {
        principal: None,
        sni: None,
        ..seen
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
        asked: None,
        security: security(&as_seen),
        before,
        after,
    })
}

/// The flow as it is under the other policy.
fn sent<'a>(now: &Course<'a>, then: &Course<'a>, seen: Attributes<'a>) -> Attributes<'a> {
    let (before, after) = (now.transport().0, then.transport().0);
    let plaintext = in_clear(seen);
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
