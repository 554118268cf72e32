//! Flows that a candidate's VirtualServices would send elsewhere.
//!
//! Who accepts a connection doesn't see what its client has asked for, only where the client's agent was led to: mutual
//! TLS asks for the name of that service. Where a client may have asked for several things, and the candidate treats them
//! differently, that is told rather than guessed. Clients without an agent go where they went.

mod asks;

use std::{collections::HashMap, net::IpAddr, sync::Arc};

pub(in crate::review) use asks::Reached;
use asks::{Asked, Asks};

use super::{Cause, Judged, Sent, then};
use crate::{
    policy::{Policy, Protection},
    review::{
        course::{Answer, Transport},
        explain::{Explanation, explain},
        flows::SeenFlow,
        target::has_own_proxy,
    },
    store::{Lead, LeadError, Snapshot},
    workload::{Endpoint, ObjectName, Service, Workload},
};

/// What becomes of a flow's way.
pub(super) enum Led {
    Same,
    /// Whatever its client has asked for leads elsewhere.
    Elsewhere(Arc<Way>),
    /// Some of what its client may have asked for does.
    Perhaps(Arc<Way>),
}

/// Where the candidate sends those who ask for something.
pub(super) struct Way {
    sent: Sent,
    /// `None`: nobody can tell.
    explanation: Option<Explanation>,
    /// Who says so.
    document: Option<String>,
    /// It ends where it began, and nobody else sees it.
    pub(super) stays_inside: bool,
}

/// What clients ask for that reach a server, now and then.
pub(super) struct Ways<'a> {
    now: &'a Snapshot,
    then: Snapshot,
    /// Hosts that there will be only then.
    untried: &'a [String],
    /// Those of which it is said where connections go, now or then.
    routed: Vec<&'a Arc<Service>>,
    /// Of the client whose flows were asked about last.
    asks: Option<Asks<'a>>,
    /// Of that client, by what is asked for.
    known: HashMap<(ObjectName, u16, IpAddr), Arc<Way>>,
}

impl<'a> Ways<'a> {
    pub(super) fn new(now: &'a Snapshot, candidate: &Policy, untried: &'a [String]) -> Self {
        let is_same = now.policy.routes() == candidate.routes()
            && now.policy.clients() == candidate.clients();
        let policies = [&*now.policy, candidate];
        let is_led = |service: &&Arc<Service>| {
            let host = &service.host;
            let mut leading = policies.iter().flat_map(|p| p.routes().leading(host));
            !is_same && leading.next().is_some()
        };
        let mut routed: Vec<_> = now.services().filter(is_led).collect();
        routed.sort_unstable_by(|a, b| a.name.cmp(&b.name));
        Self {
            now,
            then: then(now, candidate),
            untried,
            routed,
            asks: None,
            known: HashMap::new(),
        }
    }

    /// Costs least when the flows of a client come one after the other.
    pub(super) fn of(&mut self, seen: &SeenFlow) -> Led {
        let (flow, endpoint) = (&seen.flow, seen.flow.endpoint());
        let now = self.now;
        let client = flow.client.as_ref().and_then(|name| now.workload(name));
        let client = client.filter(|c| c.enrolled || has_own_proxy(now, c));
        let Some(client) = client.filter(|_| !self.routed.is_empty()) else {
            return Led::Same;
        };
        let name = flow.server_name();
        let reached = name.and_then(Reached::of);
        if name.is_none() && flow.protection != Protection::Plaintext {
            // It asked for the pod's address.
            return Led::Same;
        }
        // Nobody has seen which of the ways was taken; the pod's own address is always one.
        let mut others = reached.is_none();
        others |= reached.is_some_and(|reached| !self.is_routed(reached.host));
        let mut worst: Option<Arc<Way>> = None;
        for asked in self.asked(client, reached, endpoint) {
            let Ok(lead) = asked.lead(now) else { continue };
            match self.way(asked, &lead, endpoint) {
                None => others = true,
                Some(way) => {
                    let worse = worst.as_ref().is_none_or(|worst| way.rank() > worst.rank());
                    worst = if worse { Some(way) } else { worst };
                }
            }
        }
        match worst {
            None => Led::Same,
            Some(way) if others || way.explanation.is_none() => Led::Perhaps(way),
            Some(way) => Led::Elsewhere(way),
        }
    }

    fn is_routed(&self, host: &str) -> bool {
        self.routed.iter().any(|service| service.host == host)
    }

    /// What a client may have asked for, to come where it came.
    fn asked(
        &mut self,
        client: &'a Workload,
        reached: Option<Reached<'_>>,
        endpoint: Endpoint,
    ) -> Vec<Asked<'a>> {
        let is_known = |asks: &Asks<'_>| asks.is_of(client, endpoint.address);
        if !self.asks.as_ref().is_some_and(is_known) {
            self.known.clear();
            let is_ipv4 = endpoint.address.is_ipv4();
            self.asks = Some(Asks::new(self.now, &self.routed, client, is_ipv4));
        }
        let asks = self.asks.iter();
        asks.flat_map(|asks| asks.leading(self.now, reached, endpoint))
            .collect()
    }

    /// `None`: it leads where it led.
    fn way(&mut self, asked: Asked<'_>, now: &Lead<'_>, endpoint: Endpoint) -> Option<Arc<Way>> {
        let then = asked.lead(&self.then);
        let stays = |then: &Lead<'_>| {
            let mut ends = self.then.endpoints(then);
            ends.any(|end| end == endpoint) || self.then.endpoints(then).eq(self.now.endpoints(now))
        };
        if then.as_ref().is_ok_and(stays) {
            return None;
        }
        let key = (asked.service.name.clone(), asked.port, asked.address);
        if let Some(known) = self.known.get(&key) {
            return Some(Arc::clone(known));
        }
        let way = Arc::new(self.tried(asked, &then));
        self.known.insert(key, Arc::clone(&way));
        Some(way)
    }

    fn tried(&self, asked: Asked<'_>, then: &Result<Lead<'_>, LeadError>) -> Way {
        let text = format!("{}:{}", asked.service.host, asked.port);
        let lead = then.as_ref().ok();
        let routed = lead.and_then(|lead| lead.routed);
        let to = lead.and_then(|lead| Some(format!("{}:{}", lead.service?.host, lead.port)));
        let document = match then {
            Ok(_) => routed.map(|routed| routed.document),
            Err(error) => error.document(),
        };
        let untried =
            matches!(then, Err(LeadError::NoHost { host, .. }) if self.untried.contains(host));
        let client = asked.client.name.to_string();
        let explained = (!untried).then(|| explain(&self.then, &client, &text).ok());
        let own = &asked.client.addresses;
        let mut ends = lead
            .iter()
            .flat_map(|lead| self.then.endpoints(lead))
            .peekable();
        let stays_inside = ends.peek().is_some() && ends.all(|end| own.contains(&end.address));
        Way {
            stays_inside,
            sent: Sent {
                to,
                subset: routed.and_then(|routed| routed.subset).map(str::to_owned),
                asked: text,
            },
            explanation: explained.flatten(),
            document: document.map(ToString::to_string),
        }
    }
}

impl Way {
    /// The worst is the highest.
    fn rank(&self) -> (bool, Option<Answer>, bool) {
        let explanation = self.explanation.as_ref();
        let in_clear = explanation.is_some_and(|e| e.transport == Transport::Plaintext);
        (
            explanation.is_none(),
            explanation.map(|e| e.verdict),
            in_clear && !self.stays_inside,
        )
    }

    /// `security`: of the flow as it was seen.
    pub(super) fn judged(&self, security: Transport) -> Judged {
        let explanation = self.explanation.as_ref();
        let verdict = explanation.map_or(Answer::Deny, |e| e.verdict);
        Judged {
            verdict,
            reason: (verdict == Answer::Deny).then_some(Cause::Route),
            security: explanation.map_or(security, |e| e.transport),
            decided_by: match explanation {
                Some(explanation) => explanation.decided_by.clone(),
                None => self.document.iter().cloned().collect(),
            },
            route: Some(self.sent.clone()),
        }
    }
}
