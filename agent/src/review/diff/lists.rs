//! Flows that would change, sorted by what becomes of them. Rows are bounded, counts are not.

use std::collections::{BTreeMap, BTreeSet, btree_map::Entry};

use jiff::Timestamp;

use super::{Cause, Change, Judged, Subject};
use crate::review::flows::SeenFlow;

/// Rows of one list.
pub(in crate::review) const MAX_ROWS: usize = 10_000;

/// Why, and by which documents.
pub(in crate::review) type Reason = (Option<Cause>, Vec<String>);

/// What a candidate means for a flow.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Effect {
    Cut,
    Allowed,
    Reconnecting,
    Exposed,
    Elsewhere,
    Uncertain,
}

/// All of them.
#[derive(Default)]
pub(in crate::review) struct Lists {
    pub(in crate::review) cut: List,
    pub(in crate::review) allowed: List,
    pub(in crate::review) reconnecting: List,
    pub(in crate::review) exposed: List,
    pub(in crate::review) elsewhere: List,
    pub(in crate::review) uncertain: List,
}

impl Lists {
    pub(super) fn add(&mut self, effect: Effect, subject: Subject, counts: Counts) {
        let decisive: fn(&Subject) -> &Judged = match effect {
            Effect::Allowed => |subject| &subject.before,
            _ => |subject| &subject.after,
        };
        let list = match effect {
            Effect::Cut => &mut self.cut,
            Effect::Allowed => &mut self.allowed,
            Effect::Reconnecting => &mut self.reconnecting,
            Effect::Exposed => &mut self.exposed,
            Effect::Elsewhere => &mut self.elsewhere,
            Effect::Uncertain => &mut self.uncertain,
        };
        list.add(subject, decisive, counts);
    }

    /// Rows that are left out.
    pub(super) fn omitted(&self) -> u64 {
        let lists = [
            &self.cut,
            &self.allowed,
            &self.reconnecting,
            &self.exposed,
            &self.elsewhere,
            &self.uncertain,
        ];
        lists.iter().map(|list| list.omitted).sum()
    }
}

/// One of the lists.
#[derive(Default)]
pub(in crate::review) struct List {
    rows: BTreeMap<Subject, Counts>,
    tallies: BTreeMap<Reason, Tally>,
    omitted: u64,
}

/// How much there is of one reason.
#[derive(Default)]
pub(in crate::review) struct Tally {
    pub(in crate::review) flows: u64,
    pub(in crate::review) open: u64,
    pub(in crate::review) clients: BTreeSet<String>,
    /// Of servers.
    pub(in crate::review) namespaces: BTreeSet<String>,
}

/// What was seen of a flow.
#[derive(Clone, Copy, Default)]
pub(super) struct Counts {
    connections: u64,
    open: u64,
    last_seen: Option<Timestamp>,
}

impl From<&SeenFlow> for Counts {
    fn from(seen: &SeenFlow) -> Self {
        Self {
            connections: seen.connections,
            open: seen.open,
            last_seen: seen.last_seen,
        }
    }
}

impl List {
    /// `decisive` says why.
    fn add(&mut self, subject: Subject, decisive: fn(&Subject) -> &Judged, seen: Counts) {
        let judged = decisive(&subject);
        let reason = (judged.reason, judged.decided_by.clone());
        let tally = self.tallies.entry(reason).or_default();
        tally.open += seen.open;
        if !tally.clients.contains(&subject.client) {
            tally.clients.insert(subject.client.clone());
        }
        let server = subject.server.split_once('/');
        let namespace = server.map_or(&*subject.server, |(namespace, _)| namespace);
        if !tally.namespaces.contains(namespace) {
            tally.namespaces.insert(namespace.to_owned());
        }
        let full = self.rows.len() >= MAX_ROWS;
        let counts = match self.rows.entry(subject) {
            Entry::Occupied(known) => known.into_mut(),
            Entry::Vacant(_) if full => {
                tally.flows += 1;
                self.omitted += 1;
                return;
            }
            Entry::Vacant(new) => {
                tally.flows += 1;
                new.insert(Counts::default())
            }
        };
        counts.connections += seen.connections;
        counts.open += seen.open;
        counts.last_seen = counts.last_seen.max(seen.last_seen);
    }

    pub(in crate::review) fn tallies(&self) -> &BTreeMap<Reason, Tally> {
        &self.tallies
    }

    /// Rows, those that are left out among them.
    pub(super) fn len(&self) -> u64 {
        self.rows.len() as u64 + self.omitted
    }

    pub(super) fn into_changes(self) -> Vec<Change> {
        let change = |(subject, counts): (Subject, Counts)| Change {
            subject,
            connections: counts.connections,
            open: counts.open,
            last_seen: counts.last_seen,
        };
        self.rows.into_iter().map(change).collect()
    }
}
