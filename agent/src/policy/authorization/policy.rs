//! One document, ready to be asked.

use std::{fmt, sync::Arc};

use ipnet::IpNet;

use super::{
    document::AuthorizationPolicySpec,
    pattern::Pattern,
    read,
    term::{Named, Rule},
};
use crate::{
    identity::TrustDomain,
    policy::{DocumentKind, DocumentRef, Invalid, selector::Labels},
};

/// What happens to a connection that a rule matches.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Action {
    Allow,
    Deny,
    /// Changes nothing about what is allowed.
    Audit,
}

impl fmt::Display for Action {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Allow => "ALLOW",
            Self::Deny => "DENY",
            Self::Audit => "AUDIT",
        })
    }
}

/// One document that makes sense in itself.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct AuthorizationPolicy {
    pub(super) document: DocumentRef,
    /// Empty: the whole scope.
    pub(super) labels: Labels,
    pub(super) action: Action,
    /// `istio.io/dry-run: "true"`: only told, not enforced.
    pub(super) dry_run: bool,
    /// Without any, nothing matches.
    pub(super) rules: Vec<Rule>,
}

impl AuthorizationPolicy {
    /// # Errors
    /// Every field that makes no sense.
    pub fn new(
        document: DocumentRef,
        dry_run: bool,
        spec: AuthorizationPolicySpec,
    ) -> Result<Self, Vec<Invalid>> {
        let mut errors = Vec::new();
        let read = read::spec(&document.namespace, spec, &mut errors);
        if !errors.is_empty() {
            return Err(errors);
        }
        let read::Read {
            action,
            labels,
            rules,
        } = read;
        Ok(Self {
            document,
            labels,
            action,
            dry_run,
            rules,
        })
    }

    /// For all workloads of a namespace; of the mesh, if it is the root namespace.
    pub(in crate::policy) fn deny_all(namespace: &str, name: &str) -> Self {
        Self {
            document: DocumentRef::new(DocumentKind::AuthorizationPolicy, namespace, name),
            labels: Labels::new(),
            action: Action::Deny,
            dry_run: false,
            rules: vec![Rule::default()],
        }
    }

    #[must_use]
    pub fn document(&self) -> &DocumentRef {
        &self.document
    }

    #[must_use]
    pub fn action(&self) -> Action {
        self.action
    }

    #[must_use]
    pub fn is_dry_run(&self) -> bool {
        self.dry_run
    }

    /// Of the workloads that it is for; empty: the whole scope.
    pub(in crate::policy) fn labels(&self) -> &Labels {
        &self.labels
    }

    pub(in crate::policy) fn principals(&self) -> impl Iterator<Item = &Pattern> {
        self.rules.iter().flat_map(Rule::principals)
    }

    pub(in crate::policy) fn named(&self) -> impl Iterator<Item = Named<'_>> {
        self.rules.iter().flat_map(Rule::named)
    }

    /// Of workloads, each as often as it is named.
    pub fn ports(&self) -> impl Iterator<Item = u16> {
        self.rules.iter().flat_map(Rule::ports)
    }

    pub(super) fn blocks(&self) -> impl Iterator<Item = &IpNet> {
        self.rules.iter().flat_map(Rule::blocks)
    }

    /// How many may match at a port of the workload; `None`: at one that nobody names.
    #[must_use]
    pub fn rules_for(&self, port: Option<u16>) -> usize {
        self.rules.iter().filter(|rule| rule.is_for(port)).count()
    }

    /// Principals of the mesh's own trust domain, under all the names that it has.
    pub(super) fn in_domains(mut self: Arc<Self>, domains: &[TrustDomain]) -> Arc<Self> {
        let is_renamed = |rule: &Rule| rule.principals().any(|p| p.is_renamed_in(domains));
        if !self.rules.iter().any(is_renamed) {
            return self;
        }
        let rules = &mut Arc::make_mut(&mut self).rules;
        for pair in rules.iter_mut().flat_map(Rule::principals_mut) {
            for patterns in [&mut pair.any_of, &mut pair.none_of] {
                let renamed = patterns.drain(..).flat_map(|p| p.in_domains(domains));
                *patterns = renamed.collect();
            }
        }
        self
    }
}
