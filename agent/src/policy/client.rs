//! What clients send: Istio's `DestinationRule`, as far as it is about TLS
//! (<https://istio.io/latest/docs/reference/config/networking/destination-rule/>).
//!
//! Without a rule, clients speak mutual TLS to whoever is in the mesh.

mod document;
mod merged;
mod origination;

use std::collections::{BTreeMap, HashMap};

pub use document::{DestinationRule, DestinationRuleSpec};
use merged::{Clients, Merged};
pub use origination::{CertificateFiles, ClientTls, Origination};

use super::{DocumentRef, Ignored, host::Host, selector::Labels};
use crate::workload::{Service, Workload};

/// Compiled destination rules of a whole mesh.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct ClientRules {
    /// By host, then by the namespace of the documents, which is [`ROOT`] for the root namespace.
    hosts: BTreeMap<Host, BTreeMap<String, Vec<Merged>>>,
}

/// No namespace is called so.
const ROOT: &str = "";

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
        let mut places = HashMap::new();
        for rule in rules {
            let namespace = &rule.document.namespace;
            let host = rule.host.clone().whole(namespace, cluster_domain);
            let of_host = compiled.hosts.entry(host.clone()).or_default();
            // As Istio's `rootNamespaceLocal`: what the root namespace keeps for itself is its own clients' first.
            let scope = if namespace == root_namespace && !rule.is_private() {
                ROOT
            } else {
                namespace
            };
            let known = of_host.entry(scope.to_owned()).or_default();
            let clients = Clients::of(&rule);
            let place = *places
                .entry((host, clients))
                .or_insert_with_key(|(_, clients)| {
                    known.push(Merged::new(clients.clone()));
                    known.len() - 1
                });
            if let Some(merged) = known.get_mut(place) {
                merged.add(rule, ignored);
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
        self.applying(client, service)?.of(port, subset)
    }

    /// The labels of a subset's pods. `None`: the client knows no such subset.
    #[must_use]
    pub fn subset(&self, client: &Workload, service: &Service, subset: &str) -> Option<&Labels> {
        self.applying(client, service)?.subset(subset)
    }

    /// What is said anywhere of a host.
    pub fn about(&self, host: &str) -> impl Iterator<Item = &ClientTls> {
        let about = Host::meaning(host).filter_map(|host| self.hosts.get(&host));
        let rules = about.flat_map(BTreeMap::values).flatten();
        rules.flat_map(Merged::each)
    }

    /// Keys of the labels that clients, or pods of subsets, are chosen by: each as often as it is named.
    pub fn labels(&self) -> impl Iterator<Item = &str> {
        let rules = self.hosts.values().flat_map(BTreeMap::values).flatten();
        rules.flat_map(Merged::labels)
    }

    /// The certificates that clients may need.
    pub fn certificates(&self) -> impl Iterator<Item = &CertificateFiles> {
        let rules = self.hosts.values().flat_map(BTreeMap::values).flatten();
        let all = rules.flat_map(Merged::each);
        all.filter_map(|tls| match tls {
            ClientTls::Originate(origination) => origination.certificate.as_ref(),
            ClientTls::Disable | ClientTls::IstioMutual => None,
        })
    }

    /// The client's namespace is asked first, then the service's, then the root; the first that has a rule for the
    /// host decides, and in it the most specific host, and then the rule that selects its clients.
    fn applying(&self, client: &Workload, service: &Service) -> Option<&Merged> {
        if self.hosts.is_empty() {
            return None;
        }
        let scopes = [client.namespace(), &*service.name.namespace, ROOT];
        scopes.into_iter().find_map(|namespace| {
            Host::meaning(&service.host).find_map(|host| {
                let rules = self.hosts.get(&host)?.get(namespace)?;
                let applying = || rules.iter().filter(|rule| rule.is_for(client));
                // Of equals the oldest, which comes first.
                let selected = applying().find(|rule| !rule.is_for_all());
                selected.or_else(|| applying().next())
            })
        })
    }
}

#[cfg(test)]
mod tests;
