//! What documents say that will hardly be meant. Nothing of it keeps a document from counting.

mod pods;
mod ports;
mod principals;
mod root;
mod subsets;

use std::{collections::HashSet, sync::Arc};

use super::{DocumentRef, Documents, Labels, host::Host};
use crate::workload::{ObjectName, Service, Workload};
use pods::Pods;

/// One thing that is probably a mistake.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, thiserror::Error)]
pub enum Doubt {
    #[error("{document} is for {host}, which no service and no ServiceEntry has")]
    NoHost { document: DocumentRef, host: Host },
    #[error(
        "{document} is for the pods of its own namespace only: documents for the whole mesh are those of {root} \
         (--root-namespace)"
    )]
    NotRoot { document: DocumentRef, root: String },
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
    #[error(
        "{document}: the principal {principal:?} matches nobody: an identity is \
         TRUST-DOMAIN/ns/NAMESPACE/sa/SERVICE-ACCOUNT"
    )]
    Identity {
        document: DocumentRef,
        principal: String,
    },
    #[error(
        "{document}: the principal {principal:?} matches nobody: the trust domain is {own}, and {domain} is no other \
         name of it (--trust-domain-alias); only with roots of that domain (--trust-bundle) somebody can have it"
    )]
    TrustDomain {
        document: DocumentRef,
        principal: String,
        domain: String,
        own: String,
    },
    #[error("{document} names {client}")]
    Absent {
        document: DocumentRef,
        /// Who, and why that is nobody.
        client: String,
    },
    #[error(
        "{document} names port {port}, which no container of the pods that it is for declares, and no service leads \
         there: it means nothing unless one of them listens on it all the same{}", instead(.service)
    )]
    NoPort {
        document: DocumentRef,
        port: u16,
        /// One that has a port of this number, and where that leads to.
        service: Option<(ObjectName, u16)>,
    },
    #[error("{document} names port {port} of {host}, which has {}", listed(.known))]
    NoServicePort {
        document: DocumentRef,
        host: Host,
        port: u16,
        known: Vec<u16>,
    },
    #[error(
        "{document} leads to subset {subset} of {host}, which no DestinationRule defines: connections that it matches \
         are refused"
    )]
    NoSubset {
        document: DocumentRef,
        host: Host,
        subset: String,
    },
    #[error(
        "{document} leads to subset {subset} of {host}, and no ready pod of that service has the labels which {rule} \
         asks for: connections that it matches are refused"
    )]
    EmptySubset {
        document: DocumentRef,
        host: Host,
        subset: String,
        rule: DocumentRef,
    },
}

/// What is known beside the documents.
#[derive(Clone, Copy, Debug)]
pub struct Known<'k> {
    pub root_namespace: &'k str,
    /// Such as `cluster.local`: the end of every service's host name.
    pub cluster_domain: &'k str,
    pub workloads: &'k [Arc<Workload>],
    /// Those outside of the mesh among them.
    pub services: &'k [&'k Service],
}

impl Documents {
    /// What is doubtful in view of the pods and services that there are.
    #[must_use]
    pub fn doubts(&self, known: &Known<'_>) -> Vec<Doubt> {
        let mut doubts = self.odd_subsets(known);
        doubts.extend(self.odd_service_ports(known));
        if !known.workloads.is_empty() {
            let pods = Pods::new(known);
            doubts.extend(self.selecting_nobody(known, &pods));
            doubts.extend(self.odd_ports(known, &pods));
        }
        let mut told = HashSet::new();
        doubts.retain(|doubt| told.insert(doubt.to_string()));
        doubts
    }

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
    fn selecting_nobody<'d>(
        &'d self,
        known: &Known<'_>,
        pods: &'d Pods<'_>,
    ) -> impl Iterator<Item = Doubt> + 'd {
        let peers = self.peer_authentications.iter();
        let peers = peers.map(|peer| (&peer.document, peer.labels(), false));
        let policies = self.authorization_policies.iter();
        let policies = policies.map(|policy| (policy.document(), policy.labels(), true));
        let rules = self.destination_rules.iter();
        let rules = rules.map(|rule| (&rule.document, rule.labels(), false));
        let root = known.root_namespace.to_owned();
        let doubt = move |(document, labels, everywhere): (&DocumentRef, &Labels, bool)| {
            let own = within(document, everywhere, &root);
            let found = pods.selected(own, labels).next();
            (found.is_none() && !labels.is_empty()).then(|| Doubt::NoWorkload {
                document: document.clone(),
                namespace: own.map(str::to_owned),
            })
        };
        peers.chain(policies).chain(rules).filter_map(doubt)
    }
}

/// The namespace in which a document selects pods; `None`: in all of them.
fn within<'d>(document: &'d DocumentRef, everywhere: bool, root: &str) -> Option<&'d str> {
    let own = !everywhere || document.namespace != root;
    own.then_some(document.namespace.as_str())
}

fn among(namespace: Option<&str>) -> String {
    namespace.map_or_else(
        || "of the mesh".to_owned(),
        |namespace| format!("of the namespace {namespace}"),
    )
}

fn instead(service: &Option<(ObjectName, u16)>) -> String {
    service.as_ref().map_or_else(String::new, |(name, target)| {
        format!(". It is a port of service {name}, whose pods have it as {target}: that is what policies name")
    })
}

fn listed(known: &[u16]) -> String {
    if known.is_empty() {
        return "no ports".to_owned();
    }
    let known: Vec<_> = known.iter().map(u16::to_string).collect();
    format!(
        "{}: it is the service's ports that are named here",
        known.join(", ")
    )
}
