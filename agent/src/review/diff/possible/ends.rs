//! Where a connection ends, and what becomes of it there.

use std::{collections::HashSet, net::IpAddr};

use super::{
    Sent,
    asked::Asked,
    kinds::{Client, Kinds},
};
use crate::{
    policy::{Routed, Ruled, Verdict},
    review::{
        course::{Answer, Course, Met, Transport, spoken},
        diff::judged::{Cause, Judged},
        nowhere::is_let_through,
    },
    store::{Lead, LeadError, Snapshot},
    workload::Endpoint,
};

/// Where a client's connections lead.
pub(super) struct Led<'a> {
    snapshot: &'a Snapshot,
    pub(super) lead: Result<Lead<'a>, LeadError>,
    /// Where they may end, of pods that are alike one; `None`: at nobody who is known.
    pub(super) places: Vec<Option<Endpoint>>,
}

impl<'a> Led<'a> {
    pub(super) fn of(
        snapshot: &'a Snapshot,
        client: &Client<'a>,
        asked: Asked<'a>,
        kinds: &Kinds<'_>,
    ) -> Self {
        let lead = match client.source {
            None => Ok(Lead::direct(asked.service(), asked.port())),
            Some(source) => asked.lead(snapshot, source),
        };
        let ends = match &lead {
            Ok(lead) => ends(snapshot, client, asked, lead),
            Err(_) => Vec::new(),
        };
        let mut seen = HashSet::new();
        let mut places: Vec<_> = ends
            .into_iter()
            .filter(|end| ends_differ(&mut seen, kinds, *end))
            .map(Some)
            .collect();
        if places.is_empty() {
            places.push(None);
        }
        Self {
            snapshot,
            lead,
            places,
        }
    }

    /// Whether connections end where those of another policy do.
    pub(super) fn ends_as(&self, other: &Self) -> bool {
        let whose = |led: &Self| {
            let lead = led.lead.as_ref().ok()?;
            Some((lead.service.map(|service| &service.name), lead.port))
        };
        let is_known = self.places.iter().all(Option::is_some);
        self.places == other.places && (is_known || whose(self) == whose(other))
    }

    /// `place`: one of its places.
    pub(super) fn end(&self, client: &Client<'a>, place: Option<Endpoint>) -> End<'a> {
        let lead = match &self.lead {
            Ok(lead) => lead,
            Err(error) => {
                let document = error.document().map(ToString::to_string);
                return End::nowhere(document.into_iter().collect());
            }
        };
        let fate = match (place, lead.service) {
            (Some(place), _) => self.at(client, lead, place),
            (None, Some(service))
                if !is_let_through(self.snapshot, client.source.is_some(), lead, service) =>
            {
                Fate::Nowhere(Vec::new())
            }
            (None, _) => Fate::Outside(lead.ruled),
        };
        End {
            fate,
            routed: lead.routed,
        }
    }

    fn at(&self, client: &Client<'a>, lead: &Lead<'a>, place: Endpoint) -> Fate<'a> {
        let pod = self.snapshot.workload_at(place.address);
        let Some(destination) = pod.filter(|pod| pod.enrolled) else {
            return Fate::Outside(lead.ruled);
        };
        let course = Course {
            policy: &self.snapshot.policy,
            source: client.source,
            unseen: None,
            destination,
            mode: self.snapshot.policy.mode(destination, place.port),
            ruled: lead.ruled,
        };
        let service = lead.service.map(|service| (&**service, lead.port));
        let met = course.met(client.address_for(place.address), place, service);
        Fate::Met(course, met)
    }

    /// Of all places the least welcome.
    pub(super) fn worst(&self, client: &Client<'a>) -> End<'a> {
        let ends = self.places.iter().map(|place| self.end(client, *place));
        let worst = ends.max_by_key(|end| {
            let in_clear = end.transport() == Transport::Plaintext && !end.stays_inside();
            (end.verdict(), in_clear)
        });
        worst.unwrap_or_else(|| End::nowhere(Vec::new()))
    }

    /// For people, who know what was asked for.
    pub(super) fn sent(&self, asked: Asked<'_>) -> Sent {
        let lead = self.lead.as_ref().ok();
        let routed = lead.and_then(|lead| lead.routed);
        Sent {
            asked: asked.text(),
            to: lead.and_then(|lead| Some(format!("{}:{}", lead.service?.host, lead.port))),
            subset: routed.and_then(|routed| routed.subset).map(str::to_owned),
        }
    }
}

/// As the client's agent chooses: of the family of the address that the client connects to.
fn ends(
    snapshot: &Snapshot,
    client: &Client<'_>,
    asked: Asked<'_>,
    lead: &Lead<'_>,
) -> Vec<Endpoint> {
    let is_wanted = |address: IpAddr| match asked {
        Asked::Address(to, _) => address.is_ipv4() == to.is_ipv4(),
        Asked::Name(..) => client.has_family_of(address),
    };
    let mut ends: Vec<_> = match (lead.service, asked) {
        (None, Asked::Address(to, _)) => vec![Endpoint {
            address: to.ip(),
            port: to.port(),
        }],
        _ => {
            let all = snapshot.endpoints(lead);
            all.filter(|end| is_wanted(end.address)).collect()
        }
    };
    // What a pod sends to itself says nothing of the others.
    let itself = |end: &Endpoint| client.addresses.contains(&end.address);
    if !ends.iter().all(itself) {
        ends.retain(|end| !itself(end));
    }
    ends
}

fn ends_differ(seen: &mut HashSet<(usize, u16, bool)>, kinds: &Kinds<'_>, end: Endpoint) -> bool {
    let kind = kinds.of(end.address);
    kind.is_none_or(|kind| seen.insert((kind, end.port, end.address.is_ipv4())))
}

/// What becomes of a connection.
pub(super) struct End<'a> {
    fate: Fate<'a>,
    routed: Option<Routed<'a>>,
}

enum Fate<'a> {
    /// Its server is in the mesh.
    Met(Course<'a>, Met<'a>),
    /// Its server is not: only the client's side has a say.
    Outside(Option<Ruled<'a>>),
    /// There is nobody, by the fault of these documents.
    Nowhere(Vec<String>),
}

impl End<'_> {
    fn nowhere(documents: Vec<String>) -> Self {
        Self {
            fate: Fate::Nowhere(documents),
            routed: None,
        }
    }

    pub(super) fn verdict(&self) -> Answer {
        match &self.fate {
            Fate::Met(_, Met::Decided(decision)) => decision.verdict.into(),
            Fate::Met(_, Met::Inside) => Answer::Allow,
            Fate::Met(_, Met::Conflict) | Fate::Nowhere(_) => Answer::Deny,
            Fate::Outside(_) if self.transport() == Transport::MutualTls => Answer::Deny,
            Fate::Outside(_) => Answer::Allow,
        }
    }

    pub(super) fn transport(&self) -> Transport {
        match &self.fate {
            Fate::Met(course, _) => course.transport().0,
            Fate::Outside(Some(ruled)) => spoken(ruled).0,
            Fate::Outside(None) | Fate::Nowhere(_) => Transport::Plaintext,
        }
    }

    pub(super) fn stays_inside(&self) -> bool {
        matches!(self.fate, Fate::Met(_, Met::Inside))
    }

    fn cause(&self) -> Option<Cause> {
        match &self.fate {
            Fate::Met(_, Met::Decided(decision)) => match decision.verdict {
                Verdict::Refuse(refusal) => Some(refusal.into()),
                Verdict::Allow => None,
            },
            Fate::Met(_, Met::Conflict) => Some(Cause::DestinationRuleConflict),
            Fate::Met(_, Met::Inside) => None,
            Fate::Outside(_) => {
                (self.verdict() == Answer::Deny).then_some(Cause::DestinationRuleConflict)
            }
            Fate::Nowhere(_) => Some(Cause::Route),
        }
    }

    pub(super) fn told(&self) -> Judged {
        let mut decided_by = match &self.fate {
            Fate::Met(course, Met::Decided(decision)) => course.decided_by(decision),
            Fate::Met(course, Met::Conflict) => course.peers(),
            Fate::Met(_, Met::Inside) => Vec::new(),
            Fate::Outside(ruled) => ruled.iter().map(|r| r.document.to_string()).collect(),
            Fate::Nowhere(documents) => documents.clone(),
        };
        decided_by.extend(self.routed.map(|routed| routed.document.to_string()));
        Judged {
            verdict: self.verdict(),
            reason: self.cause(),
            security: self.transport(),
            decided_by,
            route: None,
        }
    }

    /// Those that say what is sent and what is taken, whoever may.
    pub(super) fn peers(&self) -> Vec<String> {
        let mut peers = match &self.fate {
            Fate::Met(course, _) => course.peers(),
            Fate::Outside(_) | Fate::Nowhere(_) => return self.told().decided_by,
        };
        peers.extend(self.routed.map(|routed| routed.document.to_string()));
        peers
    }
}
