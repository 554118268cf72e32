//! Flows that a candidate's VirtualServices would send elsewhere.
//!
//! Who accepts a connection doesn't see what its client has asked for, only where the client's agent was led to: mutual
//! TLS asks for the name of that service. Where a client may have asked for several things, and the candidate treats them
//! differently, that is told rather than guessed. Clients without an agent go where they went.

use std::{collections::HashMap, net::IpAddr, sync::Arc};

use super::{Cause, Judged, Sent};
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
    known: HashMap<(ObjectName, ObjectName, u16, IpAddr), Arc<Way>>,
}

/// A port of a service, as a client of a pod asks for it.
#[derive(Clone, Copy)]
struct Asked<'a> {
    client: &'a Workload,
    service: &'a Arc<Service>,
    port: u16,
    /// Where the client connects to.
    address: IpAddr,
}

impl<'a> Ways<'a> {
    pub(super) fn new(now: &'a Snapshot, candidate: &Policy, untried: &'a [String]) -> Self {
        let mut then = now.clone();
        then.policy = Arc::new(candidate.clone());
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
            then,
            untried,
            routed,
            known: HashMap::new(),
        }
    }

    pub(super) fn of(&mut self, seen: &SeenFlow) -> Led {
        let (flow, endpoint) = (&seen.flow, seen.flow.endpoint());
        let now = self.now;
        let client = flow.client.as_ref().and_then(|name| now.workload(name));
        let client = client.filter(|c| c.enrolled || has_own_proxy(now, c));
        let Some(client) = client.filter(|_| !self.routed.is_empty()) else {
            return Led::Same;
        };
        let is_seen = seen.connections > 0;
        let name = match &flow.protection {
            Protection::MutualTls { sni, .. } => sni.as_deref(),
            Protection::Plaintext => None,
        };
        let reached = name.and_then(Reached::of);
        if name.is_none() && is_seen && flow.protection != Protection::Plaintext {
            // It asked for the pod's address.
            return Led::Same;
        }
        // Nobody has seen which of the ways was taken; the pod's own address is always one.
        let mut others = reached.is_none() && is_seen;
        others |= reached.is_some_and(|reached| !self.is_routed(reached.host));
        let mut worst: Option<Arc<Way>> = None;
        for asked in self.asked(client, endpoint.address) {
            let Ok(lead) = asked.lead(now) else { continue };
            let arrives = match reached {
                Some(reached) => reached.is_by(&lead),
                None => now.endpoints(&lead).any(|end| end == endpoint),
            };
            match arrives.then(|| self.way(asked, &lead, endpoint)) {
                None => {}
                Some(None) => others = true,
                Some(Some(way)) => {
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

    fn asked<'c>(&self, client: &'c Workload, server: IpAddr) -> Vec<Asked<'c>>
    where
        'a: 'c,
    {
        let routes = self.now.policy.routes();
        let asked = self.routed.iter().copied().flat_map(|service| {
            let declared = service.ports.iter().map(|port| port.port);
            let mut ports: Vec<_> = declared.chain(routes.ports(&service.host)).collect();
            ports.sort_unstable();
            ports.dedup();
            let mut addresses = service.virtual_addresses.iter();
            let own = addresses.find(|address| address.is_ipv4() == server.is_ipv4());
            let address = own.copied().unwrap_or(server);
            ports.into_iter().map(move |port| Asked {
                client,
                service,
                port,
                address,
            })
        });
        asked.collect()
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
        let key = (
            asked.client.name.clone(),
            asked.service.name.clone(),
            asked.port,
            asked.address,
        );
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

impl Asked<'_> {
    fn lead<'s>(&'s self, snapshot: &'s Snapshot) -> Result<Lead<'s>, LeadError> {
        let address = Some(self.address);
        snapshot.lead(self.client, Some(self.service), self.port, address)
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

/// Which service a client was led to.
#[derive(Clone, Copy)]
struct Reached<'n> {
    host: &'n str,
    port: u16,
    subset: &'n str,
}

impl<'n> Reached<'n> {
    /// From `outbound_.PORT_.SUBSET_.HOST` (Istio: `model.BuildDNSSrvSubsetKey`).
    fn of(name: &'n str) -> Option<Self> {
        let mut parts = name.strip_prefix("outbound_.")?.splitn(3, "_.");
        Some(Self {
            port: parts.next()?.parse().ok()?,
            subset: parts.next()?,
            host: parts.next()?,
        })
    }

    /// Agents don't name the subset.
    fn is_by(&self, lead: &Lead<'_>) -> bool {
        let subset = lead.routed.and_then(|routed| routed.subset);
        lead.service
            .is_some_and(|service| service.host == self.host)
            && lead.port == self.port
            && (self.subset.is_empty() || subset == Some(self.subset))
    }
}

#[cfg(test)]
mod tests {
    use super::Reached;

    #[test]
    fn names_tell_the_service_and_its_port() {
        let reached = |name| Reached::of(name).map(|r| (r.host, r.port, r.subset));
        assert_eq!(
            reached("outbound_.80_._.web.shop.svc.cluster.local"),
            Some(("web.shop.svc.cluster.local", 80, ""))
        );
        assert_eq!(
            reached("outbound_.80_.v1_.web.shop.svc.cluster.local"),
            Some(("web.shop.svc.cluster.local", 80, "v1"))
        );
        for name in [
            "web.example",
            "outbound_.x_._.web",
            "outbound_.80_.web",
            "outbound_.99999_._.w",
        ] {
            assert!(reached(name).is_none(), "{name}");
        }
    }
}
