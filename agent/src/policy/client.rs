//! What clients send: Istio's `DestinationRule`, as far as it is about TLS
//! (<https://istio.io/latest/docs/reference/config/networking/destination-rule/>).
//!
//! Without a rule, clients speak mutual TLS to whoever is in the mesh.

mod document;

use std::collections::BTreeMap;

pub use document::{ClientMode, DestinationRule, DestinationRuleSpec};

use super::{DocumentRef, Ignored, selector::selects};
use crate::workload::{Service, Workload};

/// Compiled destination rules of a whole mesh.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct ClientRules {
    /// Of the root namespace, oldest first.
    mesh: Vec<DestinationRule>,
    /// Of the others, likewise.
    namespaces: BTreeMap<String, Vec<DestinationRule>>,
}

/// What a rule says of a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Ruled<'p> {
    pub mode: ClientMode,
    pub document: &'p DocumentRef,
}

impl ClientRules {
    /// Documents without effect are added to `ignored`.
    pub(super) fn compile(
        root_namespace: &str,
        cluster_domain: &str,
        mut rules: Vec<DestinationRule>,
        ignored: &mut Vec<Ignored>,
    ) -> Self {
        rules.sort_by(|a, b| {
            let age = |rule: &DestinationRule| rule.created.unwrap_or(i64::MAX);
            age(a)
                .cmp(&age(b))
                .then_with(|| a.document.cmp(&b.document))
        });
        let mut compiled = Self::default();
        for mut rule in rules {
            rule.host = rule.host.whole(&rule.document.namespace, cluster_domain);
            let namespace = rule.document.namespace.clone();
            let known = if namespace == root_namespace {
                &mut compiled.mesh
            } else {
                compiled.namespaces.entry(namespace).or_default()
            };
            let older = known
                .iter()
                .find(|older| older.host == rule.host && older.labels == rule.labels);
            match older {
                Some(winner) => ignored.push(Ignored::Shadowed {
                    winner: winner.document.clone(),
                    document: rule.document,
                }),
                None => known.push(rule),
            }
        }
        compiled
    }

    /// The rule for connections of `client` to a port of a service, if it says something of TLS. The client's
    /// namespace is asked first, then the service's, then the root; the first that has a rule for the host decides,
    /// and in it the most specific host.
    #[must_use]
    pub fn of(&self, client: &Workload, service: &Service, port: u16) -> Option<Ruled<'_>> {
        let (own, other) = (client.namespace(), &*service.name.namespace);
        let of = |namespace| self.namespaces.get(namespace);
        let scopes = [of(own), of(other), Some(&self.mesh)];
        let rule = scopes.into_iter().flatten().find_map(|rules| {
            let rules = rules.iter();
            let applying = rules.filter(|rule| {
                rule.host.matches(&service.host)
                    && selects(&rule.labels, &client.labels)
                    && (rule.document.namespace == own || !rule.private)
            });
            // Of equals the oldest, which comes first.
            applying.reduce(|best, next| match next.specificity() > best.specificity() {
                true => next,
                false => best,
            })
        })?;
        let mode = rule.ports.get(&port).copied().or(rule.mode)?;
        Some(Ruled {
            mode,
            document: &rule.document,
        })
    }
}
