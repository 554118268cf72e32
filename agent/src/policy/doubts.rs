//! What documents say that will hardly be meant. Nothing of it keeps a document from counting.

use std::collections::{HashMap, HashSet};

use super::{DocumentRef, Documents, Labels, host::Host, selector::selects};
use crate::workload::Workload;

/// One thing that is probably a mistake.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Doubt {
    #[error("{document} is for {host}, which no service and no ServiceEntry has")]
    NoHost { document: DocumentRef, host: Host },
    #[error("{document}: its selector matches no pod {}", among(.namespace.as_deref()))]
    NoWorkload {
        document: DocumentRef,
        /// `None`: it is for all.
        namespace: Option<String>,
    },
    #[error(
        "{document}: the principal {principal:?} matches nobody: principals are written without `spiffe://`"
    )]
    Scheme {
        document: DocumentRef,
        principal: String,
    },
    #[error(
        "{document}: the principal {principal:?} matches nobody: no identity has such characters; is it a placeholder?"
    )]
    Characters {
        document: DocumentRef,
        principal: String,
    },
}

fn among(namespace: Option<&str>) -> String {
    namespace.map_or_else(
        || "of the mesh".to_owned(),
        |namespace| format!("of the namespace {namespace}"),
    )
}

impl Documents {
    /// Documents for hosts that are none of `known`.
    #[must_use]
    pub fn for_unknown_hosts<'h>(
        &self,
        cluster_domain: &str,
        known: impl Iterator<Item = &'h str>,
    ) -> Vec<Doubt> {
        let known: HashSet<_> = known.flat_map(Host::meaning).collect();
        let rules = self.destination_rules.iter();
        let rules = rules.map(|rule| (&rule.document, rule.host()));
        let routes = self.virtual_services.iter();
        let routes = routes.filter(|routes| routes.is_for_pods());
        let routes = routes.flat_map(|r| r.hosts().map(|host| (&r.document, host)));
        let whole = |(document, host): (&DocumentRef, &Host)| {
            let host = host.clone().whole(&document.namespace, cluster_domain);
            (!known.contains(&host)).then(|| Doubt::NoHost {
                document: document.clone(),
                host,
            })
        };
        rules.chain(routes).filter_map(whole).collect()
    }

    /// Documents with a selector that none of the workloads satisfies.
    #[must_use]
    pub fn selecting_nobody(&self, root_namespace: &str, workloads: &[Workload]) -> Vec<Doubt> {
        let pods = Pods::new(workloads);
        let peers = self.peer_authentications.iter();
        let peers = peers.map(|peer| (&peer.document, peer.labels(), false));
        let policies = self.authorization_policies.iter();
        let policies = policies.map(|policy| (policy.document(), policy.labels(), true));
        let rules = self.destination_rules.iter();
        let rules = rules.map(|rule| (&rule.document, rule.labels(), false));
        let all = peers.chain(policies).chain(rules);
        let doubt = |(document, labels, everywhere): (&DocumentRef, &Labels, bool)| {
            let own = (!everywhere || document.namespace != root_namespace)
                .then_some(document.namespace.as_str());
            (!pods.has(own, labels)).then(|| Doubt::NoWorkload {
                document: document.clone(),
                namespace: own.map(str::to_owned),
            })
        };
        all.filter_map(doubt).collect()
    }

    /// Principals that no identity matches.
    #[must_use]
    pub fn odd_principals(&self) -> Vec<Doubt> {
        let policies = self.authorization_policies.iter();
        let principals =
            policies.flat_map(|policy| policy.principals().map(|p| (policy.document(), p)));
        let doubt = |(document, principal): (&DocumentRef, &str)| {
            let (document, principal) = (document.clone(), principal.to_owned());
            let plain = |b: u8| b.is_ascii_alphanumeric() || b"./-_:".contains(&b);
            if principal.contains("://") {
                Some(Doubt::Scheme {
                    document,
                    principal,
                })
            } else if !principal.bytes().all(plain) {
                Some(Doubt::Characters {
                    document,
                    principal,
                })
            } else {
                None
            }
        };
        principals.filter_map(doubt).collect()
    }
}

/// Pods by label, so that each selector looks at few of them.
struct Pods<'w> {
    by_label: HashMap<(&'w str, &'w str), Vec<&'w Workload>>,
}

impl<'w> Pods<'w> {
    fn new(workloads: &'w [Workload]) -> Self {
        let mut by_label: HashMap<_, Vec<_>> = HashMap::new();
        for workload in workloads {
            for (key, value) in &workload.labels {
                let label = (key.as_str(), value.as_str());
                by_label.entry(label).or_default().push(workload);
            }
        }
        Self { by_label }
    }

    /// Whether there is one with these labels, in a namespace or anywhere.
    fn has<'s>(&'s self, namespace: Option<&str>, labels: &'s Labels) -> bool {
        let mut fewest: Option<&'s [&Workload]> = None;
        for (key, value) in labels {
            let pods = self.by_label.get(&(key.as_str(), value.as_str()));
            let pods = pods.map_or(&[][..], Vec::as_slice);
            if fewest.is_none_or(|fewest| pods.len() < fewest.len()) {
                fewest = Some(pods);
            }
        }
        let is_meant = |pod: &&Workload| {
            let within = namespace.is_none_or(|namespace| pod.namespace() == namespace);
            within && selects(labels, &pod.labels)
        };
        // No label: everything.
        fewest.is_none_or(|pods| pods.iter().any(is_meant))
    }
}
