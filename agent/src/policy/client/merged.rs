//! Rules of one namespace for one host, as one (Istio, pilot/pkg/model: `mergeDestinationRule`): of two subsets with
//! one name the older counts, and of all traffic policies the oldest. Rules for other clients stay apart, by their
//! selector or by whom they are exported to.

use std::collections::BTreeMap;

use super::document::{DestinationRule, SubsetRules, TlsRules};
use crate::{
    policy::{
        DocumentRef, Ignored,
        client::{ClientTls, Ruled},
        selector::{Labels, selects},
    },
    workload::{Visibility, Workload},
};

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) struct Merged {
    clients: Clients,
    all: Option<Said<TlsRules>>,
    subsets: BTreeMap<String, Said<SubsetRules>>,
}

/// Whom rules are for.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) struct Clients {
    namespace: String,
    /// Empty: all of them.
    labels: Labels,
    visibility: Visibility,
}

/// What a document says.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
struct Said<T> {
    document: DocumentRef,
    rules: T,
}

impl Clients {
    pub(super) fn of(rule: &DestinationRule) -> Self {
        Self {
            namespace: rule.document.namespace.clone(),
            labels: rule.labels.clone(),
            visibility: rule.visibility.clone(),
        }
    }

    /// A selector is of workloads in the rule's own namespace.
    fn include(&self, client: &Workload) -> bool {
        let namespace = client.namespace();
        self.visibility.reaches(namespace)
            && (self.labels.is_empty() || namespace == self.namespace)
            && selects(&self.labels, &client.labels)
    }
}

impl Merged {
    pub(super) fn new(clients: Clients) -> Self {
        Self {
            clients,
            all: None,
            subsets: BTreeMap::new(),
        }
    }

    /// Adds what a younger rule says. What is said already is told to `ignored`.
    pub(super) fn add(&mut self, rule: DestinationRule, ignored: &mut Vec<Ignored>) {
        let DestinationRule {
            document,
            all,
            subsets,
            ..
        } = rule;
        let mut overruled = |part, winner: &DocumentRef| {
            ignored.push(Ignored::Overruled {
                document: document.clone(),
                part,
                winner: winner.clone(),
            });
        };
        let said = |rules| Said {
            document: document.clone(),
            rules,
        };
        match (&self.all, all) {
            (Some(older), Some(_)) => overruled("spec.trafficPolicy".to_owned(), &older.document),
            (None, Some(all)) => self.all = Some(said(all)),
            (_, None) => {}
        }
        for (name, rules) in subsets {
            match self.subsets.get(&name) {
                Some(older) => overruled(format!("the subset {name}"), &older.document),
                None => {
                    let document = document.clone();
                    self.subsets.insert(name, Said { document, rules });
                }
            }
        }
    }

    pub(super) fn is_for(&self, client: &Workload) -> bool {
        self.clients.include(client)
    }

    pub(super) fn is_for_all(&self) -> bool {
        self.clients.labels.is_empty()
    }

    /// What is said of the subset stands before what is said of all.
    pub(super) fn of(&self, port: u16, subset: Option<&str>) -> Option<Ruled<'_>> {
        let subset = subset.and_then(|subset| self.subsets.get(subset));
        let subset = subset.and_then(|s| Some((s.rules.tls.of(port)?, &s.document)));
        let all = || {
            let all = self.all.as_ref()?;
            Some((all.rules.of(port)?, &all.document))
        };
        let (tls, document) = subset.or_else(all)?;
        Some(Ruled {
            tls: tls?,
            document,
        })
    }

    pub(super) fn subset(&self, name: &str) -> Option<&Labels> {
        Some(&self.subsets.get(name)?.rules.labels)
    }

    /// Keys of the labels that clients, or pods of subsets, are chosen by.
    pub(super) fn labels(&self) -> impl Iterator<Item = &str> {
        let subsets = self.subsets.values().map(|subset| &subset.rules.labels);
        let all = subsets.chain([&self.clients.labels]);
        all.flat_map(|labels| labels.keys().map(String::as_str))
    }

    /// All that is said of TLS, whichever subset and port it is about.
    pub(super) fn each(&self) -> impl Iterator<Item = &ClientTls> {
        let subsets = self.subsets.values().flat_map(|s| s.rules.tls.each());
        let all = self.all.iter().flat_map(|all| all.rules.each());
        all.chain(subsets)
    }
}
