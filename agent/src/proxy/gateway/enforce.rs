//! A change of documents, certificates or trust reaches what is established: connections that would not be let in, or
//! not be sent where they are, are cut.
//!
//! A connection is in the table before it is asked whether the entrance is still the one that it came by: so either it
//! sees the next one itself, or it is found here.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, PoisonError},
    time::Instant,
};

use rustls::ProtocolVersion;

use super::{
    Entrance, Gateway,
    forward::{Asked, Course, Decided, Target, Way},
};
use crate::{
    policy::{Clients, ServerTls, TlsVersion, Work},
    proxy::{connections::Agreed, outcome::Failure},
    store::Lead,
    telemetry::{CutReason, RefusalReason},
    tls::ClientChain,
    workload::{Endpoint, ObjectName},
};

/// What a client has been let in for.
#[derive(Debug)]
pub(super) struct Admission {
    asked: Asked,
    work: Work,
    /// Of TLS that ends here.
    shown: Option<Arc<Shown>>,
    to: Target,
    endpoint: Endpoint,
    /// Whose the endpoint was.
    server: Option<ObjectName>,
}

/// What was agreed on with a client, and what it has shown.
#[derive(Debug)]
pub(super) struct Shown {
    pub(super) agreed: Agreed,
    pub(super) chain: Option<ClientChain>,
    /// That the first request inside was for, where that was looked at.
    pub(super) host: Option<Box<str>>,
}

/// Those that are established, or nearly so.
#[derive(Debug, Default)]
pub struct Admissions(Mutex<HashMap<u64, Arc<Admission>>>);

impl Admissions {
    pub(super) fn note(&self, connection: u64, admission: Arc<Admission>) {
        self.admitted().insert(connection, admission);
    }

    pub(super) fn forget(&self, connection: u64) {
        let mut admitted = self.admitted();
        admitted.remove(&connection);
        if admitted.is_empty() {
            admitted.shrink_to(64);
        }
    }

    fn of(&self, connection: u64) -> Option<Arc<Admission>> {
        self.admitted().get(&connection).cloned()
    }

    fn admitted(&self) -> std::sync::MutexGuard<'_, HashMap<u64, Arc<Admission>>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Gateway {
    /// Puts what is in force in the place of what was, and cuts what it doesn't allow. Nothing is allowed without.
    /// `since` is when that became known. Takes its time with many connections.
    pub fn enter_by(&self, entrance: Option<&Arc<Entrance>>, since: Instant) {
        self.entrance.store(entrance.cloned());
        let mut decided = Decided::default();
        for connection in self.connections.list() {
            let Some(admission) = self.admissions.of(connection.id) else {
                continue;
            };
            let objection = match entrance {
                Some(entrance) => entrance.objection(&admission, &mut decided),
                None => Some(CutReason::WorkloadGone),
            };
            if let Some(reason) = objection {
                connection.cut(reason);
                self.metrics.connection_cut(reason, since.elapsed());
            }
        }
    }
}

impl Admission {
    pub(super) fn new(
        asked: &Asked,
        way: &Way,
        shown: Option<&Arc<Shown>>,
        endpoint: Endpoint,
        entrance: &Entrance,
    ) -> Self {
        Self {
            asked: asked.clone(),
            work: way.work.clone(),
            shown: shown.cloned(),
            to: way.to.clone(),
            endpoint,
            server: entrance.owner(endpoint),
        }
    }
}

impl Entrance {
    fn owner(&self, endpoint: Endpoint) -> Option<ObjectName> {
        let server = self.snapshot.workload_at(endpoint.address);
        server.map(|server| server.name.clone())
    }

    /// Why an established connection must not go on. That its endpoint takes no new connections is no reason.
    fn objection<'e>(
        &'e self,
        admission: &Admission,
        decided: &mut Decided<'e>,
    ) -> Option<CutReason> {
        let endpoint = admission.endpoint;
        let is_there = |lead: &&Lead<'_>| {
            Target::of(lead) == admission.to || self.snapshot.endpoints(lead).any(|e| e == endpoint)
        };
        let courses = decided.courses(self, &admission.asked, &admission.work);
        let mut courses = courses.iter();
        let course = courses
            .find_map(|Course { work, lead }| Some((*work, lead.as_ref().filter(is_there)?)));
        let Some((work, lead)) = course else {
            return Some(CutReason::RouteGone);
        };
        let refused = self.check(lead, &[endpoint]).is_err();
        let plaintext = refused.then_some(CutReason::BecameStrict);
        self.distrust(work, admission).or(plaintext)
    }

    /// Whether a connection that was dialled under an earlier entrance may be opened.
    pub(super) fn allows(&self, admission: &Admission, way: &Way) -> bool {
        way.candidates.contains(&admission.endpoint)
            && self.owner(admission.endpoint) == admission.server
    }

    /// Whether what was agreed on with a client is not enough any more.
    ///
    /// # Errors
    /// When it isn't.
    pub(super) fn trusts(&self, way: &Way, admission: &Admission) -> Result<(), Failure> {
        let Some(reason) = self.distrust(&way.work, admission) else {
            return Ok(());
        };
        let refusal = match reason {
            CutReason::RouteGone => RefusalReason::NoRoute,
            _ => RefusalReason::HandshakeFailed,
        };
        let text = format!("what the Gateway says has changed meanwhile: {reason}");
        Err(Failure::RefusedBecause(refusal, text))
    }

    fn distrust(&self, work: &Work, admission: &Admission) -> Option<CutReason> {
        match (work, &admission.work, admission.shown.as_deref()) {
            (Work::Terminate(tls), Work::Terminate(_), Some(shown)) => {
                // Where no request has been looked at, the first may still come.
                let misdirected = match shown.host.as_deref() {
                    Some(host) => !self.admits(&admission.asked, host, tls),
                    None => self.differ(&admission.asked, tls),
                };
                let gone = misdirected.then_some(CutReason::RouteGone);
                gone.or_else(|| self.outdated(tls, shown))
            }
            (Work::Terminate(_), ..) => Some(CutReason::RouteGone),
            (work, before, _) => (work != before).then_some(CutReason::RouteGone),
        }
    }

    fn outdated(&self, tls: &Arc<ServerTls>, shown: &Shown) -> Option<CutReason> {
        let version = match shown.agreed.version {
            ProtocolVersion::TLSv1_3 => TlsVersion::V13,
            _ => TlsVersion::V12,
        };
        if !tls.takes(version, shown.agreed.suite.into()) {
            return Some(CutReason::TlsSettings);
        }
        let good = match (tls.clients, &shown.chain) {
            (Clients::Anybody, _) | (Clients::Optional, None) => true,
            (Clients::Certified, None) => false,
            (_, Some(chain)) => {
                let termination = self.terminations.get(tls);
                termination.is_some_and(|termination| termination.admits(chain))
            }
        };
        (!good).then_some(CutReason::Untrusted)
    }
}

#[cfg(test)]
mod tests;
