//! The ways of one client to each server: told as one flow where they have the same end.

use std::{collections::HashMap, net::IpAddr};

use super::{Asked, Client, Effect, Judged, Led, Lists};
use crate::{
    review::{
        course::Transport,
        diff::{Subject, lists::Counts},
    },
    store::Snapshot,
    workload::{Endpoint, ObjectName},
};

/// A port at which connections end.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) struct Server<'a> {
    whose: Whose<'a>,
    port: u16,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
enum Whose<'a> {
    /// A pod, or a service that has none.
    Object(&'a ObjectName),
    Address(IpAddr),
}

impl<'a> Server<'a> {
    pub(super) fn of(
        snapshot: &'a Snapshot,
        led: &Led<'a>,
        place: Option<Endpoint>,
        asked: Asked<'a>,
    ) -> Self {
        let lead = led.lead.as_ref().ok();
        let service = || lead.map_or_else(|| asked.service(), |lead| lead.service);
        let pod = place.and_then(|place| snapshot.workload_at(place.address));
        let object = pod.map(|pod| &pod.name);
        let object = object.or_else(|| service().map(|service| &service.name));
        let address = match asked {
            Asked::Address(to, _) => to.ip(),
            Asked::Name(..) => IpAddr::from([0; 4]),
        };
        let port = place.map(|place| place.port);
        Self {
            whose: object.map_or(Whose::Address(address), Whose::Object),
            port: port.or(lead.map(|lead| lead.port)).unwrap_or(asked.port()),
        }
    }

    fn name(self) -> String {
        match self.whose {
            Whose::Object(name) => name.to_string(),
            Whose::Address(address) => address.to_string(),
        }
    }
}

/// What becomes of one way.
pub(super) struct Changed<'a> {
    pub asked: Asked<'a>,
    pub effect: Effect,
    pub before: Judged,
    pub after: Judged,
}

impl Changed<'_> {
    fn is_like(&self, other: &Self) -> bool {
        (self.effect, &self.before, &self.after) == (other.effect, &other.before, &other.after)
    }
}

/// All ways of a client.
#[derive(Default)]
pub(super) struct Ways<'a>(HashMap<Server<'a>, (usize, Vec<Changed<'a>>)>);

impl<'a> Ways<'a> {
    pub(super) fn count(&mut self, server: Server<'a>) {
        self.0.entry(server).or_default().0 += 1;
    }

    pub(super) fn add(&mut self, server: Server<'a>, changed: Option<Changed<'a>>) {
        if let Some(changed) = changed {
            self.0.entry(server).or_default().1.push(changed);
        }
    }

    pub(super) fn tried(&self) -> usize {
        self.0.values().map(|(tried, _)| tried).sum()
    }

    pub(super) fn flows(&self) -> u64 {
        self.0.len() as u64
    }

    pub(super) fn told(self, client: &Client<'_>, lists: &mut Lists) {
        let ways = self.0.into_iter();
        let mut ways: Vec<_> = ways
            .filter(|(_, (_, changed))| !changed.is_empty())
            .collect();
        // Rows are bounded: the same ones are told each time.
        ways.sort_unstable_by_key(|(server, _)| *server);
        for (server, (tried, changed)) in ways {
            let mut each = changed.windows(2);
            let all_alike = changed.len() == tried && each.all(|two| two[0].is_like(&two[1]));
            for changed in changed {
                let asked = changed.asked.text();
                let is_told = all_alike || changed.after.route.is_some();
                let secured = changed.before.security == Transport::MutualTls;
                let principal = client.source.filter(|_| secured);
                let subject = Subject {
                    client: client.name.to_string(),
                    client_principal: principal.map(|source| source.identity.to_string()),
                    server: server.name(),
                    port: server.port,
                    asked: (!is_told).then_some(asked),
                    security: changed.before.security,
                    before: changed.before,
                    after: changed.after,
                };
                lists.add(changed.effect, subject, Counts::default());
            }
        }
    }
}
