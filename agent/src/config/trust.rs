//! Whom to trust: what was typed, checked.

use super::{ConfigError, MeshConfig, trust_domain};
use crate::{
    cli::TrustArgs,
    trust::{BundleSource, Endpoint, TrustConfig},
};

const FLAG: &str = "--trust-bundle";

pub(super) fn trust(args: &TrustArgs, mesh: &MeshConfig) -> Result<TrustConfig, ConfigError> {
    let mut federated = Vec::new();
    for written in &args.trust_bundles {
        let refused = |why| ConfigError::TrustBundle {
            value: written.clone(),
            why,
        };
        let (domain, source) = written
            .split_once('=')
            .ok_or_else(|| refused("write DOMAIN=FILE or DOMAIN=URL"))?;
        let domain = trust_domain(FLAG, domain)?;
        if domain == mesh.trust_domain || mesh.trust_domain_aliases.contains(&domain) {
            return Err(refused("the roots of the own trust domain are the CA's"));
        }
        if federated.iter().any(|(known, _)| *known == domain) {
            return Err(refused("this trust domain was given before"));
        }
        federated.push((domain, bundle(source).map_err(refused)?));
    }
    Ok(TrustConfig {
        domain: mesh.trust_domain.clone(),
        aliases: mesh.trust_domain_aliases.clone(),
        federated,
        endpoint_authorities: args.bundle_endpoint_ca.clone(),
        revocation_lists: args.revocation_lists.clone(),
    })
}

fn bundle(source: &str) -> Result<BundleSource, &'static str> {
    if let Some(endpoint) = Endpoint::parse(source) {
        return Ok(BundleSource::Endpoint(endpoint));
    }
    if source.is_empty() || source.contains("://") {
        return Err("write a file's path, or https://HOST[:PORT]/PATH");
    }
    Ok(BundleSource::File(source.into()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(bundles: &[&str]) -> Result<TrustConfig, ConfigError> {
        let mesh = MeshConfig {
            trust_domain: "cluster.local".parse().unwrap(),
            trust_domain_aliases: vec!["old.local".parse().unwrap()],
            cluster_domain: "cluster.local".to_owned(),
            root_namespace: "istio-system".to_owned(),
        };
        let args = TrustArgs {
            trust_bundles: bundles.iter().map(ToString::to_string).collect(),
            ..TrustArgs::default()
        };
        trust(&args, &mesh)
    }

    #[test]
    fn files_and_endpoints() {
        let config = read(&["b.example=/b.pem", "c.example=https://c.example/bundle"]).unwrap();
        let (_, file) = &config.federated[0];
        assert_eq!(*file, BundleSource::File("/b.pem".into()));
        assert!(matches!(config.federated[1].1, BundleSource::Endpoint(_)));
        for refused in [
            &["b.example"][..],
            &["B!=/b.pem"],
            &["b.example="],
            &["b.example=http://c.example/"],
            &["cluster.local=/b.pem"],
            &["old.local=/b.pem"],
            &["b.example=/b.pem", "b.example=/c.pem"],
        ] {
            assert!(read(refused).is_err(), "{refused:?}");
        }
    }
}
