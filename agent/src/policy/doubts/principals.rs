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
        let doubt = |(document, principal): (&DocumentRef, &Pattern)| {
            let (document, text) = (document.clone(), principal.text()?);
            let written = principal.to_string();
            let plain = |b: u8| b.is_ascii_alphanumeric() || b"./-_:".contains(&b);
            if text.contains("://") {
                Some(Doubt::Scheme {
                    document,
                    principal: written,
                })
            } else if !text.bytes().all(plain) {
                Some(Doubt::Characters {
                    document,
                    principal: written,
                })
            } else {
                let whole = matches!(principal, Pattern::Exact(_));
                (whole && !is_identity(text)).then_some(Doubt::Identity {
                    document,
                    principal: written,
                })
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
    let parts: Vec<_> = principal.split('/').collect();
    matches!(parts[..], [_, "ns", _, "sa", _]) && parts.iter().all(|part| !part.is_empty())
}
