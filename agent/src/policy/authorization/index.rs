//! All authorization policies of a mesh, so that those of one workload are found quickly.

use std::collections::BTreeMap;

use super::{Action, Attributes, AuthorizationPolicy};
use crate::{
    identity::TrustDomain,
    policy::{DocumentRef, selector::selects},
    workload::Workload,
};

/// Compiled authorization of a whole mesh.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct Authorization {
    /// Documents of the root namespace: for all namespaces, and their selectors too.
    mesh: Scope,
    namespaces: BTreeMap<String, Scope>,
}

/// Policies of one namespace, by one of the labels that they ask for.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
struct Scope {
    whole: Vec<AuthorizationPolicy>,
    /// Key, then value.
    selected: BTreeMap<String, BTreeMap<String, Vec<AuthorizationPolicy>>>,
}

/// A rule that matched.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Match<'p> {
    pub document: &'p DocumentRef,
    /// Counts from 0.
    pub rule: usize,
}

/// What the policies of a workload say about a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome<'p> {
    /// No ALLOW policy is there for the workload, and no DENY policy matched.
    Unrestricted,
    Allowed(Match<'p>),
    Denied(Match<'p>),
    /// There are ALLOW policies, of which none matched.
    NotAllowed,
}

impl Outcome<'_> {
    #[must_use]
    pub fn is_allowed(self) -> bool {
        matches!(self, Self::Unrestricted | Self::Allowed(_))
    }
}

impl Authorization {
    /// `domains`: the mesh's own trust domain, and its aliases.
    pub(in crate::policy) fn compile(
        root_namespace: &str,
        domains: &[TrustDomain],
        mut policies: Vec<AuthorizationPolicy>,
    ) -> Self {
        policies.sort_by(|a, b| a.document.cmp(&b.document));
        let mut compiled = Self::default();
        for policy in policies {
            let scope = if policy.document.namespace == root_namespace {
                &mut compiled.mesh
            } else {
                let namespace = policy.document.namespace.clone();
                compiled.namespaces.entry(namespace).or_default()
            };
            scope.add(policy.in_domains(domains));
        }
        compiled
    }

    /// The policies that are for a workload, those in dry run included.
    pub fn of<'p>(
        &'p self,
        workload: &'p Workload,
    ) -> impl Iterator<Item = &'p AuthorizationPolicy> {
        let own = self.namespaces.get(workload.namespace());
        [Some(&self.mesh), own]
            .into_iter()
            .flatten()
            .flat_map(move |scope| scope.of(workload))
    }

    /// DENY before ALLOW; where there is no ALLOW policy, what is not denied is allowed.
    #[must_use]
    pub fn decide<'p>(
        &'p self,
        workload: &'p Workload,
        connection: &Attributes<'_>,
        with_dry_run: bool,
    ) -> Outcome<'p> {
        let mut allowed = Outcome::Unrestricted;
        for policy in self.of(workload).filter(|p| with_dry_run || !p.dry_run) {
            let matched = match (policy.action, allowed) {
                // Decided already: only a DENY can change it.
                (Action::Allow, Outcome::Allowed(_)) => continue,
                _ => policy.matching_rule(connection).map(|rule| Match {
                    document: &policy.document,
                    rule,
                }),
            };
            match (policy.action, matched) {
                (Action::Deny, Some(matched)) => return Outcome::Denied(matched),
                (Action::Deny, None) => {}
                (Action::Allow, Some(matched)) => allowed = Outcome::Allowed(matched),
                (Action::Allow, None) => allowed = Outcome::NotAllowed,
            }
        }
        allowed
    }

    pub(in crate::policy) fn restricts(&self, workload: &Workload) -> bool {
        self.of(workload).any(|policy| !policy.dry_run)
    }

    /// Whether any policy for the workload is in dry run.
    #[must_use]
    pub fn has_dry_run(&self, workload: &Workload) -> bool {
        self.of(workload).any(|policy| policy.dry_run)
    }
}

impl Scope {
    fn add(&mut self, policy: AuthorizationPolicy) {
        match policy.labels.iter().next() {
            None => self.whole.push(policy),
            Some((key, value)) => {
                let values = self.selected.entry(key.clone()).or_default();
                values.entry(value.clone()).or_default().push(policy);
            }
        }
    }

    fn of<'p>(&'p self, workload: &'p Workload) -> impl Iterator<Item = &'p AuthorizationPolicy> {
        let by_label = workload.labels.iter().filter_map(|(key, value)| {
            let policies = self.selected.get(key)?.get(value)?;
            Some(policies.iter())
        });
        let selected = by_label.flatten();
        self.whole
            .iter()
            .chain(selected.filter(|policy| selects(&policy.labels, &workload.labels)))
    }
}
