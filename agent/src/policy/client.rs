//! What clients send: Istio's `DestinationRule`, as far as it is about TLS
//! (<https://istio.io/latest/docs/reference/config/networking/destination-rule/>).
//!
//! Without a rule, clients speak mutual TLS to whoever is in the mesh.

mod document;
mod origination;

use std::collections::BTreeMap;

pub(super) use document::is_private;
pub use document::{DestinationRule, DestinationRuleSpec};
pub use origination::{CertificateFiles, ClientTls, Origination};

use super::{
    DocumentRef, Ignored,
    selector::{Labels, selects},
};
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
    pub tls: &'p ClientTls,
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
            let (older, newer) = (&a.document, &b.document);
            let older = older.precedence(a.created);
            older.cmp(&newer.precedence(b.created))
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

    /// The rule for connections of `client` to a port of a service, if it says something of TLS. What is said of
    /// the subset stands before what is said of all.
    #[must_use]
    pub fn of(
        &self,
        client: &Workload,
        service: &Service,
        port: u16,
        subset: Option<&str>,
    ) -> Option<Ruled<'_>> {
        let rule = self.applying(client, service)?;
        let subset = subset.and_then(|subset| rule.subsets.get(subset));
        let subset = subset.and_then(|subset| subset.tls.of(port));
        Some(Ruled {
            tls: subset.or_else(|| rule.all.of(port))?,
            document: &rule.document,
        })
    }

    /// The labels of a subset's pods. `None`: the client knows no such subset.
    #[must_use]
    pub fn subset(&self, client: &Workload, service: &Service, subset: &str) -> Option<&Labels> {
        let rule = self.applying(client, service)?;
        Some(&rule.subsets.get(subset)?.labels)
    }

    /// What is said anywhere of a host.
    pub fn about(&self, host: &str) -> impl Iterator<Item = &ClientTls> {
        let rules = self.mesh.iter().chain(self.namespaces.values().flatten());
        let about = rules.filter(move |rule| rule.host.matches(host));
        about.flat_map(DestinationRule::each)
    }

    /// The certificates that clients may need.
    pub fn certificates(&self) -> impl Iterator<Item = &CertificateFiles> {
        let rules = self.mesh.iter().chain(self.namespaces.values().flatten());
        let all = rules.flat_map(DestinationRule::each);
        all.filter_map(|tls| match tls {
            ClientTls::Originate(origination) => origination.certificate.as_ref(),
            ClientTls::Disable | ClientTls::IstioMutual => None,
        })
    }

    /// The client's namespace is asked first, then the service's, then the root; the first that has a rule for the
    /// host decides, and in it the most specific host.
    fn applying(&self, client: &Workload, service: &Service) -> Option<&DestinationRule> {
        let (own, other) = (client.namespace(), &*service.name.namespace);
        let of = |namespace| self.namespaces.get(namespace);
        let scopes = [of(own), of(other), Some(&self.mesh)];
        scopes.into_iter().flatten().find_map(|rules| {
            let rules = rules.iter();
            let applying = rules.filter(|rule| {
                // A selector is of workloads in the rule's own namespace.
                let private = rule.private || !rule.labels.is_empty();
                rule.host.matches(&service.host)
                    && selects(&rule.labels, &client.labels)
                    && (rule.document.namespace == own || !private)
            });
            // Of equals the oldest, which comes first.
            applying.reduce(|best, next| match next.specificity() > best.specificity() {
                true => next,
                false => best,
            })
        })
    }
}
