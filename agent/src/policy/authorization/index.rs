//! All authorization policies of a mesh, and what they say of a connection.

use std::{
    collections::HashMap,
    hash::{Hash, Hasher},
    sync::Arc,
};

use ipnet::IpNet;

use super::{
    Attributes, AuthorizationPolicy,
    group::{Found, Group, Search},
    key,
    scope::{Scope, Selectors},
};
use crate::{identity::TrustDomain, policy::DocumentRef, workload::Workload};

/// Compiled authorization of a whole mesh.
#[derive(Clone, Debug, Default)]
pub struct Authorization {
    /// First those of the root namespace; in each scope those without a selector, then by the first label that they
    /// ask for. Of several that match, the first is told.
    policies: Vec<Arc<AuthorizationPolicy>>,
    /// Documents of the root namespace: for all namespaces, and their selectors too.
    mesh: Scope,
    namespaces: HashMap<String, Scope>,
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

/// What the policies of a workload say, and what they would say.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Decided<'p> {
    pub enforced: Outcome<'p>,
    /// If the policies in dry run were in force; `None` if there are none.
    pub dry_run: Option<Outcome<'p>>,
}

impl Authorization {
    /// `domains`: the mesh's own trust domain, and its aliases.
    pub(in crate::policy) fn compile(
        root_namespace: &str,
        domains: &[TrustDomain],
        policies: Vec<Arc<AuthorizationPolicy>>,
    ) -> Self {
        let is_own = |policy: &AuthorizationPolicy| policy.document.namespace != root_namespace;
        let renamed = policies
            .into_iter()
            .map(|policy| policy.in_domains(domains));
        let mut policies: Vec<_> = renamed.collect();
        policies.sort_by(|a, b| {
            is_own(a)
                .cmp(&is_own(b))
                .then_with(|| a.labels.keys().next().cmp(&b.labels.keys().next()))
                .then_with(|| a.document.cmp(&b.document))
        });
        let mut mesh = Selectors::new();
        let mut namespaces = HashMap::<&str, Selectors<'_>>::new();
        for (rank, policy) in (0..).zip(&policies) {
            let scope = match is_own(policy) {
                true => namespaces.entry(&policy.document.namespace).or_default(),
                false => &mut mesh,
            };
            scope.entry(&policy.labels).or_default().push(rank);
        }
        let scopes = namespaces
            .into_iter()
            .map(|(namespace, selectors)| (namespace.to_owned(), Scope::new(&policies, selectors)));
        Self {
            mesh: Scope::new(&policies, mesh),
            namespaces: scopes.collect(),
            policies,
        }
    }

    fn groups<'p>(&'p self, workload: &'p Workload) -> impl Iterator<Item = &'p Group> {
        let own = self.namespaces.get(workload.namespace());
        let scopes = [Some(&self.mesh), own].into_iter().flatten();
        scopes.flat_map(|scope| scope.groups(&workload.labels))
    }

    /// The policies that are for a workload, those in dry run included.
    pub fn of<'p>(
        &'p self,
        workload: &'p Workload,
    ) -> impl Iterator<Item = &'p AuthorizationPolicy> {
        let members = self.groups(workload).flat_map(|group| &group.members);
        let mut ranks: Vec<_> = members.copied().collect();
        ranks.sort_unstable();
        ranks
            .into_iter()
            .filter_map(|rank| self.policies.get(rank as usize).map(|policy| &**policy))
    }

    /// Blocks of addresses that make a difference, each as often as it is named.
    pub fn blocks(&self) -> impl Iterator<Item = &IpNet> {
        self.policies.iter().flat_map(|policy| policy.blocks())
    }

    /// DENY before ALLOW; where there is no ALLOW policy, what is not denied is allowed.
    #[must_use]
    pub fn decide<'p>(
        &'p self,
        workload: &'p Workload,
        connection: &Attributes<'_>,
    ) -> Decided<'p> {
        let keys = key::of_connection(connection);
        let search =
            |with_dry_run| Search::new(&self.policies, connection, keys.clone(), with_dry_run);
        let mut enforced = search(false);
        let mut has_dry_run = false;
        for group in self.groups(workload) {
            enforced.look_in(group);
            has_dry_run |= group.has_dry_run();
        }
        let dry_run = has_dry_run.then(|| {
            let mut all = search(true);
            self.groups(workload).for_each(|group| all.look_in(group));
            all.found().into()
        });
        Decided {
            enforced: enforced.found().into(),
            dry_run,
        }
    }

    pub(in crate::policy) fn restricts(&self, workload: &Workload) -> bool {
        self.groups(workload).any(Group::is_enforced)
    }
}

impl<'p> From<Found<'p>> for Outcome<'p> {
    fn from(found: Found<'p>) -> Self {
        match (found.denied, found.allowed) {
            (Some(matched), _) => Self::Denied(matched),
            (None, Some(matched)) => Self::Allowed(matched),
            (None, None) if found.restricted => Self::NotAllowed,
            (None, None) => Self::Unrestricted,
        }
    }
}

/// The rest follows from the policies.
impl PartialEq for Authorization {
    fn eq(&self, other: &Self) -> bool {
        self.policies == other.policies
    }
}

impl Eq for Authorization {}

impl Hash for Authorization {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.policies.hash(state);
    }
}
