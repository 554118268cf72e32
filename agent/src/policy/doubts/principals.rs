//! Principals that nobody has.

use std::{
    collections::{BTreeSet, HashSet},
    sync::Arc,
};

use ipnet::IpNet;

use super::Doubt;
use crate::{
    identity::TrustDomain,
    policy::{
        DocumentRef, Documents,
        authorization::{Account, Named, Pattern},
    },
    workload::Workload,
};

impl Documents {
    /// Principals that no identity matches.
    #[must_use]
    pub fn odd_principals(&self) -> Vec<Doubt> {
        let doubt = |(document, principal): (&DocumentRef, &Pattern)| {
            let text = principal.text()?;
            let told = || (document.clone(), principal.to_string());
            if text.contains("://") {
                let (document, principal) = told();
                Some(Doubt::Scheme {
                    document,
                    principal,
                })
            } else if !text.bytes().all(is_of_identities) {
                let (document, principal) = told();
                Some(Doubt::Characters {
                    document,
                    principal,
                })
            } else if matches!(principal, Pattern::Exact(_)) && !is_identity(text) {
                let (document, principal) = told();
                Some(Doubt::Identity {
                    document,
                    principal,
                })
            } else {
                None
            }
        };
        self.principals().filter_map(doubt).collect()
    }

    /// Principals of trust domains that are none of `domains`, of which the first is the mesh's own.
    #[must_use]
    pub fn foreign_principals(&self, domains: &[TrustDomain]) -> Vec<Doubt> {
        let own = domains.first().map_or("", TrustDomain::as_str);
        let doubt = |(document, principal): (&DocumentRef, &Pattern)| {
            let domain = principal.trust_domain()?;
            let is_known =
                domain == "cluster.local" || domains.iter().any(|d| d.as_str() == domain);
            // Others are told already.
            let is_domain = domain.parse::<TrustDomain>().is_ok();
            (!is_known && is_domain).then(|| Doubt::TrustDomain {
                document: document.clone(),
                principal: principal.to_string(),
                domain: domain.to_owned(),
                own: own.to_owned(),
            })
        };
        self.principals().filter_map(doubt).collect()
    }

    /// Clients that policies name in full and that no pod is now, and addresses that none can have. `domains`: all that
    /// the mesh's own trust domain is called.
    #[must_use]
    pub fn absent_clients(
        &self,
        domains: &[TrustDomain],
        workloads: &[Arc<Workload>],
    ) -> Vec<Doubt> {
        let known = Known::new(domains, workloads);
        let policies = self.authorization_policies.iter();
        let named = policies.flat_map(|policy| policy.named().map(move |n| (policy, n)));
        let absent = named.filter_map(|(policy, named)| {
            let document = policy.document().clone();
            let client = known.lacks(named)?;
            Some(Doubt::Absent { document, client })
        });
        absent.collect::<BTreeSet<_>>().into_iter().collect()
    }

    fn principals(&self) -> impl Iterator<Item = (&DocumentRef, &Pattern)> {
        let policies = self.authorization_policies.iter();
        policies.flat_map(|policy| policy.principals().map(|p| (policy.document(), p)))
    }
}

/// Who is there.
struct Known<'k> {
    domains: &'k [TrustDomain],
    accounts: HashSet<(&'k str, &'k str)>,
    namespaces: HashSet<&'k str>,
}

impl<'k> Known<'k> {
    fn new(domains: &'k [TrustDomain], workloads: &'k [Arc<Workload>]) -> Self {
        let identities = workloads.iter().map(|workload| &workload.identity);
        Self {
            domains,
            accounts: identities
                .map(|id| (id.namespace(), id.service_account()))
                .collect(),
            namespaces: workloads
                .iter()
                .map(|workload| workload.namespace())
                .collect(),
        }
    }

    /// In words, if it is nobody. Without any pod nothing is known.
    fn lacks(&self, named: Named<'_>) -> Option<String> {
        let is_account = |account| self.accounts.is_empty() || self.accounts.contains(&account);
        match named {
            Named::Principal(text) => {
                let mut parts = text.split('/');
                let domain = parts.next()?;
                let is_own = domain == "cluster.local"
                    || self.domains.iter().any(|own| own.as_str() == domain);
                let account = (parts.nth(1)?, parts.nth(1)?);
                let is_whole = is_identity(text) && text.bytes().all(is_of_identities);
                (is_own && is_whole && !is_account(account))
                    .then(|| format!("the principal {text:?}, which no pod has now"))
            }
            Named::Namespace(name) => {
                let is_known = self.namespaces.is_empty() || self.namespaces.contains(name);
                (!is_known).then(|| format!("the namespace {name:?}, in which no pod is now"))
            }
            Named::Account(Account { namespace, name }) => (!is_account((namespace, name)))
                .then(|| format!("the service account {namespace}/{name}, which no pod has now")),
            Named::Block(block) => is_mapped(block)
                .then(|| format!("{block}: no client has such an address, write it as IPv4")),
        }
    }
}

/// As Envoy, IPv4 clients are compared with IPv4 blocks alone.
fn is_mapped(block: &IpNet) -> bool {
    match block {
        IpNet::V4(_) => false,
        IpNet::V6(block) => block.prefix_len() >= 96 && block.addr().to_ipv4_mapped().is_some(),
    }
}

fn is_of_identities(b: u8) -> bool {
    b.is_ascii_alphanumeric() || b"./-_:".contains(&b)
}

fn is_identity(principal: &str) -> bool {
    let mut parts = principal.split('/');
    let [domain, ns, namespace, sa, account] = [(); 5].map(|()| parts.next().unwrap_or_default());
    parts.next().is_none()
        && (ns, sa) == ("ns", "sa")
        && [domain, namespace, account]
            .iter()
            .all(|part| !part.is_empty())
}
