//! The roots of every trust domain that the SPIRE agent knows.

use rustls_pki_types::CertificateDer;
use x509_parser::{certificate::X509Certificate, prelude::FromDer as _};

use super::wire::BundlesResponse;
use crate::identity::{ParseSpiffeIdError, TrustBundle, TrustDomain};

/// Of one trust domain, and trust domains: more than is meant well.
const MOST: usize = 64;

/// Why bundles can't be used. None of them is then: those before stay in force.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BundlesError {
    #[error(transparent)]
    Domain(#[from] ParseSpiffeIdError),
    #[error("certificate {position} of {domain} is not valid X.509")]
    Certificate {
        domain: TrustDomain,
        position: usize,
    },
    #[error("certificate {position} of {domain} can't serve as a root: {source}")]
    Root {
        domain: TrustDomain,
        position: usize,
        source: webpki::Error,
    },
    #[error("more than {MOST} certificates of {0}")]
    TooMany(TrustDomain),
    #[error("more than {MOST} trust domains")]
    TooManyDomains,
    #[error("no certificate of our own trust domain, {0}: is --trust-domain SPIRE's?")]
    NotOurs(TrustDomain),
}

pub(super) fn bundle(
    response: &BundlesResponse,
    own: &TrustDomain,
) -> Result<TrustBundle, BundlesError> {
    if response.bundles.len() > MOST {
        return Err(BundlesError::TooManyDomains);
    }
    let mut bundle = TrustBundle::default();
    for (domain, certificates) in &response.bundles {
        let domain: TrustDomain = domain.strip_prefix("spiffe://").unwrap_or(domain).parse()?;
        let roots = match roots(&domain, certificates) {
            Err(error) if domain != *own => {
                tracing::warn!(%error, "the SPIRE agent's bundle of another trust domain is left out");
                continue;
            }
            roots => roots?,
        };
        for root in roots {
            bundle.add(domain.clone(), root);
        }
    }
    if bundle.roots(own).is_empty() {
        return Err(BundlesError::NotOurs(own.clone()));
    }
    Ok(bundle)
}

fn roots(
    domain: &TrustDomain,
    mut der: &[u8],
) -> Result<Vec<CertificateDer<'static>>, BundlesError> {
    let mut roots = Vec::new();
    while !der.is_empty() {
        let position = roots.len() + 1;
        let unreadable = BundlesError::Certificate {
            domain: domain.clone(),
            position,
        };
        let (rest, _) = X509Certificate::from_der(der).map_err(|_| unreadable)?;
        let root = CertificateDer::from(der[..der.len() - rest.len()].to_vec());
        webpki::anchor_from_trusted_cert(&root).map_err(|source| BundlesError::Root {
            domain: domain.clone(),
            position,
            source,
        })?;
        if position > MOST {
            return Err(BundlesError::TooMany(domain.clone()));
        }
        roots.push(root);
        der = rest;
    }
    Ok(roots)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tls::testing::authority;

    fn read(domain: &str, der: Vec<u8>) -> Result<TrustBundle, BundlesError> {
        let bundles = [(domain.to_owned(), der)].into();
        let own = "a.example".parse().unwrap();
        bundle(&BundlesResponse { bundles }, &own)
    }

    #[test]
    fn certificates_stand_one_behind_the_other_under_either_form_of_the_name() {
        let [one, two] = ["one", "two"].map(|name| authority(name).0.to_vec());
        let both = [one.clone(), two].concat();
        let own: TrustDomain = "a.example".parse().unwrap();
        for name in ["a.example", "spiffe://a.example"] {
            let bundle = read(name, both.clone()).unwrap();
            assert_eq!(bundle.roots(&own).len(), 2);
        }
        let cut = both[..both.len() - 1].to_vec();
        let refused = [
            read("a.example", cut),
            read("spiffe://a.example/path", one.clone()),
            read("https://a.example", one.clone()),
            read("a.example", one.repeat(MOST + 1)),
            read("a.example", Vec::new()),
            read("b.example", one),
        ];
        assert!(refused.iter().all(Result::is_err), "{refused:?}");
    }

    #[test]
    fn bad_bundles_of_others_are_left_out_and_keep_nothing_else_out() {
        let [own, other] = ["own", "other"].map(|name| authority(name).0.to_vec());
        let bundles = [
            ("a.example", own),
            ("b.example", b"no certificate".to_vec()),
            ("c.example", other.repeat(MOST + 1)),
            ("d.example", other[..other.len() - 1].to_vec()),
            ("e.example", other),
        ];
        let bundles = bundles.map(|(name, der)| (name.to_owned(), der)).into();
        let a: TrustDomain = "a.example".parse().unwrap();
        let bundle = bundle(&BundlesResponse { bundles }, &a).unwrap();
        let known = |name: &str| bundle.roots(&name.parse().unwrap()).len();
        let found = [
            "a.example",
            "b.example",
            "c.example",
            "d.example",
            "e.example",
        ]
        .map(known);
        assert_eq!(found, [1, 0, 0, 0, 1]);
    }
}
