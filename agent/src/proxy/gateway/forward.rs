//! Where a gateway's connection goes. The node's agent captures what an enrolled gateway dials, so that it is mutual
//! TLS; what a gateway dials by itself is in clear, and only where policy takes that.

use std::{collections::HashMap, net::IpAddr, sync::Arc};

use super::Entrance;
use crate::{
    policy::{Caller, ClientTls, Mode, NoRoute, Taken, Work},
    proxy::outcome::Failure,
    store::Lead,
    telemetry::RefusalReason,
    workload::{Endpoint, Service},
};

/// What a client has asked for; the same for as long as it is there.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) struct Asked {
    /// As the client knows it.
    pub(super) port: u16,
    /// SNI, or the host of its first request.
    pub(super) name: Option<Box<str>>,
    /// Where it has connected to.
    pub(super) address: IpAddr,
}

/// What is done with a connection, and where it leads.
pub(super) struct Course<'e> {
    pub(super) work: &'e Work,
    /// `None`: the client is told to come with TLS.
    pub(super) lead: Option<Lead<'e>>,
}

/// Decisions of one entrance, for as long as connections are held against it: many have asked for the same.
#[derive(Default)]
pub(super) struct Decided<'e>(HashMap<(Asked, bool), Vec<Course<'e>>>);

impl<'e> Decided<'e> {
    /// Where a connection that has been let in may be now. Of HTTP whose host nobody has looked at that is everywhere.
    pub(super) fn courses(
        &mut self,
        entrance: &'e Entrance,
        asked: &Asked,
        work: &Work,
    ) -> &[Course<'e>] {
        let everywhere = *work == Work::Http && asked.name.is_none();
        let known = self.0.entry((asked.clone(), everywhere));
        known.or_insert_with(|| match everywhere {
            true => entrance.everywhere(asked),
            false => entrance.course(asked).into_iter().collect(),
        })
    }
}

/// Resolved, and not dialled yet.
#[derive(Clone, Debug)]
pub(super) struct Way {
    pub(super) work: Work,
    pub(super) to: Target,
    pub(super) service: Option<Arc<Service>>,
    pub(super) candidates: Vec<Endpoint>,
}

/// What a route says; which endpoints that has may change.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Target {
    host: Option<String>,
    port: u16,
    subset: Option<String>,
}

impl Target {
    pub(super) fn of(lead: &Lead<'_>) -> Self {
        let subset = lead.routed.and_then(|routed| routed.subset);
        Self {
            host: lead.service.map(|service| service.host.clone()),
            port: lead.port,
            subset: subset.map(ToOwned::to_owned),
        }
    }
}

impl Asked {
    pub(super) fn caller<'a>(&'a self, entrance: &'a Entrance) -> Caller<'a> {
        Caller {
            gateway: &entrance.own,
            name: self.name.as_deref(),
            address: self.address,
        }
    }
}

impl Entrance {
    fn course(&self, asked: &Asked) -> Result<Course<'_>, Failure> {
        let gateways = self.snapshot.policy.routes().gateways();
        let taken = gateways.take(asked.port, asked.caller(self));
        let taken = taken.map_err(|error: NoRoute| {
            Failure::RefusedBecause(RefusalReason::NoRoute, error.to_string())
        })?;
        self.follow(taken, asked)
    }

    fn everywhere(&self, asked: &Asked) -> Vec<Course<'_>> {
        let gateways = self.snapshot.policy.routes().gateways();
        let places = gateways.places(asked.port, asked.caller(self));
        let courses = places.filter_map(|taken| self.follow(taken, asked).ok());
        courses.collect()
    }

    fn follow<'e>(&'e self, taken: Taken<'e>, asked: &Asked) -> Result<Course<'e>, Failure> {
        let lead = taken.routed.map(|routed| {
            let lead = self.snapshot.follow(&self.own, routed, asked.port);
            lead.map_err(|error| no_endpoint(error.to_string()))
        });
        Ok(Course {
            work: &taken.served.server.work,
            lead: lead.transpose()?,
        })
    }

    /// `None`: the client is told to come with TLS.
    pub(super) fn way(&self, asked: &Asked) -> Result<Option<Way>, Failure> {
        let Course { work, lead } = self.course(asked)?;
        let Some(lead) = lead else { return Ok(None) };
        // Of the client's family first.
        let near = asked.address;
        let mut candidates = self.snapshot.candidates(&lead, near, fastrand::usize(..));
        let others = self.snapshot.endpoints(&lead);
        candidates.extend(others.filter(|e| e.address.is_ipv4() != near.is_ipv4()));
        if candidates.is_empty() {
            let host = lead.service.map_or("", |service| &service.host);
            return Err(no_endpoint(format!("{host}:{}", lead.port)));
        }
        self.check(&lead, &candidates)?;
        Ok(Some(Way {
            work: work.clone(),
            to: Target::of(&lead),
            service: lead.service.cloned(),
            candidates,
        }))
    }

    /// What must not be sent in clear is refused, unless there is an agent that sees to it: of what a gateway dials,
    /// endpoints, it knows those in the mesh only.
    pub(super) fn check(&self, lead: &Lead<'_>, candidates: &[Endpoint]) -> Result<(), Failure> {
        let enrolled = self.own.enrolled;
        let strict = candidates.iter().any(|e| self.mode(*e) == Mode::Strict);
        let in_mesh = candidates.iter().all(|e| self.mode(*e) != Mode::Disable);
        let reason = match lead.ruled.map(|ruled| ruled.tls) {
            _ if strict && !enrolled => RefusalReason::PlaintextInStrict,
            Some(ClientTls::IstioMutual) if enrolled && in_mesh => return Ok(()),
            Some(ClientTls::IstioMutual | ClientTls::Originate(_)) => {
                RefusalReason::DestinationRuleConflict
            }
            Some(ClientTls::Disable) | None => return Ok(()),
        };
        let host = lead.service.map_or("", |service| &service.host);
        let text = format!("{host} is not for plaintext, and no agent makes TLS of what is sent");
        Err(Failure::RefusedBecause(reason, text))
    }

    pub(super) fn mode(&self, endpoint: Endpoint) -> Mode {
        let server = self.snapshot.workload_at(endpoint.address);
        server.filter(|w| w.enrolled).map_or(Mode::Disable, |w| {
            self.snapshot.policy.mode(w, endpoint.port).mode
        })
    }
}

fn no_endpoint(text: String) -> Failure {
    Failure::RefusedBecause(RefusalReason::NoEndpoint, text)
}
