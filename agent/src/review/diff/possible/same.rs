//! Servers of which both policies say the same: there is nothing to try.

use std::collections::HashMap;

use super::Led;
use crate::{store::Snapshot, workload::Endpoint};

pub(super) struct Same<'a> {
    now: &'a Snapshot,
    then: &'a Snapshot,
    known: HashMap<Endpoint, bool>,
}

impl<'a> Same<'a> {
    pub(super) fn new(now: &'a Snapshot, then: &'a Snapshot) -> Self {
        Self {
            now,
            then,
            known: HashMap::new(),
        }
    }

    /// Of connections that end at one place.
    pub(super) fn is_so(&mut self, now: &Led<'_>, then: &Led<'_>, place: Option<Endpoint>) -> bool {
        let (Ok(now), Ok(then)) = (&now.lead, &then.lead) else {
            return false;
        };
        now.ruled == then.ruled
            && now.port == then.port
            && now.service.map(|s| &s.name) == then.service.map(|s| &s.name)
            && place.map_or(now.routed == then.routed, |place| {
                self.takes_the_same(place)
            })
    }

    fn takes_the_same(&mut self, place: Endpoint) -> bool {
        let (now, then) = (&self.now.policy, &self.then.policy);
        *self.known.entry(place).or_insert_with(|| {
            let Some(server) = self.now.workload_at(place.address) else {
                return true;
            };
            let port = place.port;
            let [now_of, then_of] = [now, then].map(|policy| policy.authorization().of(server));
            now.mode(server, port) == then.mode(server, port) && now_of.eq(then_of)
        })
    }
}
