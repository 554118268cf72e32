//! Policies with one selector, and which of their rules is the first to match.

use std::sync::Arc;

use super::{
    Action, Attributes, AuthorizationPolicy, Match,
    key::{self, Key},
};

/// Policies in their order: their places in it are their ranks.
pub(super) type Ranked = [Arc<AuthorizationPolicy>];

/// Policies of one scope with the same selector.
#[derive(Clone, Debug, Default)]
pub(super) struct Group {
    /// Ranks.
    pub(super) members: Vec<u32>,
    /// By key, then by rank and rule.
    entries: Vec<Entry>,
    enforced: Kinds,
    dry_run: Kinds,
}

/// Of which there are any.
#[derive(Clone, Copy, Debug, Default)]
struct Kinds {
    allow: bool,
    deny: bool,
}

/// A rule, under one of its keys.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Entry {
    key: Key,
    place: Place,
    denies: bool,
    dry_run: bool,
}

/// The rank of a policy, then the number of one of its rules.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Place {
    rank: u32,
    rule: u32,
}

impl Group {
    pub(super) fn new(policies: &Ranked, members: Vec<u32>) -> Self {
        let mut group = Self::default();
        for rank in &members {
            if let Some(policy) = policies.get(*rank as usize) {
                group.add(*rank, policy);
            }
        }
        group.entries.sort_unstable();
        group.entries.shrink_to_fit();
        group.members = members;
        group
    }

    fn add(&mut self, rank: u32, policy: &AuthorizationPolicy) {
        if policy.action == Action::Audit {
            return;
        }
        let kinds = match policy.dry_run {
            true => &mut self.dry_run,
            false => &mut self.enforced,
        };
        let denies = policy.action == Action::Deny;
        kinds.deny |= denies;
        kinds.allow |= !denies;
        for (rule, terms) in (0..).zip(&policy.rules) {
            let entry = |key| Entry {
                key,
                place: Place { rank, rule },
                denies,
                dry_run: policy.dry_run,
            };
            self.entries
                .extend(key::of_rule(terms).into_iter().map(entry));
        }
    }

    pub(super) fn is_enforced(&self) -> bool {
        self.enforced.allow || self.enforced.deny
    }

    pub(super) fn has_dry_run(&self) -> bool {
        self.dry_run.allow || self.dry_run.deny
    }
}

/// The first rules that match a connection.
pub(super) struct Search<'p, 'c, K> {
    policies: &'p Ranked,
    connection: &'c Attributes<'c>,
    keys: K,
    with_dry_run: bool,
    restricted: bool,
    denied: Option<Place>,
    allowed: Option<Place>,
}

/// What was found.
#[derive(Clone, Copy, Debug)]
pub(super) struct Found<'p> {
    /// By any ALLOW policy.
    pub(super) restricted: bool,
    pub(super) denied: Option<Match<'p>>,
    pub(super) allowed: Option<Match<'p>>,
}

impl<'p, 'c, K: Iterator<Item = Key> + Clone> Search<'p, 'c, K> {
    /// `keys`: of the connection.
    pub(super) fn new(
        policies: &'p Ranked,
        connection: &'c Attributes<'c>,
        keys: K,
        with_dry_run: bool,
    ) -> Self {
        Self {
            policies,
            connection,
            keys,
            with_dry_run,
            restricted: false,
            denied: None,
            allowed: None,
        }
    }

    pub(super) fn look_in(&mut self, group: &Group) {
        self.restricted |= group.enforced.allow || self.with_dry_run && group.dry_run.allow;
        for key in self.keys.clone() {
            let start = group.entries.partition_point(|entry| entry.key < key);
            let entries = group.entries.iter().skip(start);
            for entry in entries.take_while(|entry| entry.key == key) {
                self.ask(entry);
            }
        }
    }

    fn ask(&mut self, entry: &Entry) {
        let first = if entry.denies {
            self.denied
        } else {
            self.allowed
        };
        let late = first.is_some_and(|first| first <= entry.place);
        if late || entry.dry_run && !self.with_dry_run {
            return;
        }
        let policy = self.policies.get(entry.place.rank as usize);
        let rule = policy.and_then(|policy| policy.rules.get(entry.place.rule as usize));
        if rule.is_some_and(|rule| rule.matches(self.connection)) {
            let first = if entry.denies {
                &mut self.denied
            } else {
                &mut self.allowed
            };
            *first = Some(entry.place);
        }
    }

    pub(super) fn found(&self) -> Found<'p> {
        let of = |place: Option<Place>| {
            let Place { rank, rule } = place?;
            let document = &self.policies.get(rank as usize)?.document;
            let rule = rule as usize;
            Some(Match { document, rule })
        };
        Found {
            restricted: self.restricted,
            denied: of(self.denied),
            allowed: of(self.allowed),
        }
    }
}
