//! Principals that nobody has.

use super::Doubt;
use crate::{
    identity::TrustDomain,
    policy::{DocumentRef, Documents, authorization::Pattern},
};

impl Documents {
    /// Principals that no identity matches.
    #[must_use]
    pub fn odd_principals(&self) -> Vec<Doubt> {
        let plain = |b: u8| b.is_ascii_alphanumeric() || b"./-_:".contains(&b);
        let doubt = |(document, principal): (&DocumentRef, &Pattern)| {
            let text = principal.text()?;
            let told = || (document.clone(), principal.to_string());
            if text.contains("://") {
                let (document, principal) = told();
                Some(Doubt::Scheme {
                    document,
                    principal,
                })
            } else if !text.bytes().all(plain) {
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

    fn principals(&self) -> impl Iterator<Item = (&DocumentRef, &Pattern)> {
        let policies = self.authorization_policies.iter();
        policies.flat_map(|policy| policy.principals().map(|p| (policy.document(), p)))
    }
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
