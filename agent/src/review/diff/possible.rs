//! All connections that a set of objects makes possible: each client, and each way to each server. Nobody has seen
//! them; what becomes of them is what `explain` says, now and with a candidate in force.
//!
//! Not tried: clients that are no pods, addresses that services show to those outside of the cluster, and ports of
//! which nobody speaks.

mod asked;
mod ends;
mod kinds;
mod same;
mod ways;

use asked::Asked;
use ends::{End, Led};
use kinds::{Client, Kinds};
use same::Same;
use ways::{Changed, Server, Ways};

use super::{
    Diff, Summary, finished,
    judged::{Cause, Judged, Sent},
    lists::{Effect, Lists},
    then,
};
use crate::{
    policy::Policy,
    review::course::{Answer, Transport},
    store::{LeadError, Snapshot},
};

/// So many connections are tried at most.
const MAX_TRIED: usize = 2_000_000;

/// Tries `candidate` on all that is possible, in place of the snapshot's policy. `untried`: hosts that there will be
/// only then.
#[must_use]
pub fn possible(snapshot: &Snapshot, candidate: &Policy, untried: &[String]) -> Diff {
    let then = then(snapshot, candidate);
    let kinds = Kinds::new(snapshot, &then);
    let trial = Trial {
        now: snapshot,
        then: &then,
        services: asked::of_services(snapshot, &then),
        kinds: &kinds,
        untried,
    };
    let (summary, lists, remark) = trial.tried();
    let mut diff = finished(snapshot, candidate, &summary, lists);
    diff.warnings
        .splice(..0, kinds.remarks().into_iter().chain(remark));
    diff
}

struct Trial<'a> {
    now: &'a Snapshot,
    then: &'a Snapshot,
    /// What clients may ask for that is not a pod's address.
    services: Vec<Asked<'a>>,
    kinds: &'a Kinds<'a>,
    untried: &'a [String],
}

impl<'a> Trial<'a> {
    /// And what is to be said of it if it isn't everything.
    fn tried(&self) -> (Summary, Lists, Option<String>) {
        let (mut summary, mut lists) = (Summary::default(), Lists::default());
        let (mut tried, mut same) = (0, Same::new(self.now, self.then));
        let clients = self.kinds.clients(self.now);
        for (index, client) in clients.iter().enumerate() {
            if tried >= MAX_TRIED {
                let remark = format!(
                    "only the first {index} of {} clients are tried: there is more than {MAX_TRIED} connections to \
                     try, and --flows tries those that agents have seen",
                    clients.len()
                );
                return (summary, lists, Some(remark));
            }
            let ways = self.of_client(client, &mut same);
            tried += ways.tried();
            summary.flows += ways.flows();
            ways.told(client, &mut lists);
        }
        (summary, lists, None)
    }

    fn of_client(&self, client: &Client<'a>, same: &mut Same<'a>) -> Ways<'a> {
        let mut ways = Ways::default();
        let services = self.services.iter().copied();
        // Without an agent it is the pods' addresses that count.
        let services = services.filter(|asked| client.source.is_some() && asked.is_open_to(client));
        for asked in self.kinds.asked(client).into_iter().chain(services) {
            self.compare(client, asked, same, &mut ways);
        }
        ways
    }

    fn compare(
        &self,
        client: &Client<'a>,
        asked: Asked<'a>,
        same: &mut Same<'a>,
        ways: &mut Ways<'a>,
    ) {
        let now = Led::of(self.now, client, asked, self.kinds);
        let then = Led::of(self.then, client, asked, self.kinds);
        if now.ends_as(&then) {
            for place in &now.places {
                let server = Server::of(self.now, &now, *place, asked);
                ways.count(server);
                if same.is_so(&now, &then, *place) {
                    continue;
                }
                let [before, after] = [&now, &then].map(|led| led.end(client, *place));
                let changed = change(asked, &before, &after);
                ways.add(server, changed);
            }
            return;
        }
        let after = then.worst(client);
        for place in &now.places {
            let server = Server::of(self.now, &now, *place, asked);
            ways.count(server);
            let before = now.end(client, *place);
            let stays = then.places.contains(place);
            ways.add(server, self.sent_away(asked, &before, &after, &then, stays));
        }
    }

    /// `stays`: some still go where they went.
    fn sent_away(
        &self,
        asked: Asked<'a>,
        before: &End<'a>,
        after: &End<'a>,
        led: &Led<'a>,
        stays: bool,
    ) -> Option<Changed<'a>> {
        let is_untried =
            matches!(&led.lead, Err(LeadError::NoHost { host, .. }) if self.untried.contains(host));
        let changed = change(asked, before, after);
        let (is_allowed, still) = (
            before.verdict() == Answer::Allow,
            after.verdict() == Answer::Allow,
        );
        let effect = match &changed {
            _ if is_untried && is_allowed => Effect::Uncertain,
            Some(changed) => changed.effect,
            None if is_allowed && still && !stays => Effect::Elsewhere,
            None => return None,
        };
        let told = after.told();
        let denied = told.verdict == Answer::Deny;
        let after = Judged {
            reason: denied.then_some(Cause::Route),
            security: match effect {
                Effect::Uncertain => before.transport(),
                _ => told.security,
            },
            route: Some(led.sent(asked)),
            ..told
        };
        Some(Changed {
            asked,
            effect,
            before: before.told(),
            after,
        })
    }
}

/// `None`: nothing of which anybody would have to know.
fn change<'a>(asked: Asked<'a>, before: &End<'a>, after: &End<'a>) -> Option<Changed<'a>> {
    let in_clear = |end: &End<'_>| end.transport() == Transport::Plaintext;
    let effect = match (before.verdict(), after.verdict()) {
        (Answer::Allow, Answer::Deny) => Effect::Cut,
        (Answer::Deny, Answer::Allow) => Effect::Allowed,
        (Answer::Allow, Answer::Allow)
            if in_clear(after) && !in_clear(before) && !after.stays_inside() =>
        {
            Effect::Exposed
        }
        (Answer::Allow, Answer::Allow) | (Answer::Deny, Answer::Deny) => return None,
    };
    let mut told = after.told();
    if effect == Effect::Exposed {
        told.decided_by = after.peers();
        if told.decided_by.is_empty() {
            // What is said no more.
            told.decided_by = before.peers();
        }
    }
    Some(Changed {
        asked,
        effect,
        before: before.told(),
        after: told,
    })
}
