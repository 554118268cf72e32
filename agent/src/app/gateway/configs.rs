//! The TLS of a gateway's servers, made again when their certificates change. What can't be used leaves what was in force
//! before; what is gone leaves nothing, and neither do clients' authorities that are others now: one of those before may
//! have been removed for a reason.

use std::{
    collections::{BTreeMap, HashMap, hash_map::RandomState},
    hash::BuildHasher as _,
    sync::Arc,
};

use super::credentials::{CredentialError, Found, Looked};
use crate::{
    identity::{TrustBundle, TrustDomain},
    policy::{Clients, Credential, ServerTls},
    proxy::Terminations,
    tls::{self, Material, TerminateError, Termination},
};

/// Keeps the last good ones.
pub(super) struct Configs {
    maker: tls::Terminations,
    /// Keyed at random: tells one material from the next without keeping it.
    hasher: RandomState,
    kept: HashMap<Arc<ServerTls>, Kept>,
}

struct Kept {
    fingerprint: u64,
    /// The same of the authorities alone.
    authorities: u64,
    termination: Arc<Termination>,
}

/// How a credential is.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(in crate::app) struct Condition {
    /// Of the certificate in force, in seconds since 1970.
    pub(in crate::app) not_after: Option<i64>,
    /// Why what is there is not in force.
    pub(in crate::app) error: Option<String>,
}

/// What is wrong with a credential.
#[derive(Debug, thiserror::Error)]
enum Trouble {
    #[error(transparent)]
    Credential(#[from] CredentialError),
    #[error(transparent)]
    Terminate(#[from] TerminateError),
}

impl Configs {
    pub(super) fn new(maker: tls::Terminations) -> Self {
        Self {
            maker,
            hasher: RandomState::new(),
            kept: HashMap::new(),
        }
    }

    /// What is in force for these servers now, and how each credential is. Blocks.
    pub(super) fn update(
        &mut self,
        wanted: &[Arc<ServerTls>],
        found: &Found,
    ) -> BTreeMap<Credential, Condition> {
        self.kept.retain(|tls, _| wanted.contains(tls));
        let mut conditions = BTreeMap::<_, Condition>::new();
        for tls in wanted {
            let looked = found.look(&tls.credential);
            let authorities = looked.as_ref().ok();
            let authorities = authorities.map(|l| self.hasher.hash_one(&l.authorities));
            let taken = looked
                .and_then(Looked::material)
                .map_err(Trouble::from)
                .and_then(|m| self.take(tls, &m));
            let trouble = taken.err();
            let error = trouble.map(|trouble| self.suffer(tls, &trouble, authorities));
            let in_force = self.kept.get(tls);
            let not_after = in_force.and_then(|kept| kept.termination.not_after);
            let condition = conditions.entry(tls.credential.clone()).or_default();
            condition.error = condition.error.take().or(error);
            condition.not_after = condition.not_after.or(not_after);
        }
        conditions
    }

    pub(super) fn current(&self) -> Terminations {
        let kept = self.kept.iter();
        kept.map(|(tls, kept)| (Arc::clone(tls), Arc::clone(&kept.termination)))
            .collect()
    }

    /// Whom clients' certificates come from, as those of one domain.
    pub(super) fn authorities(&self, domain: &TrustDomain) -> TrustBundle {
        let mut bundle = TrustBundle::default();
        let kept = self.kept.values();
        for authority in kept.flat_map(|kept| &kept.termination.authorities) {
            bundle.add(domain.clone(), authority.clone());
        }
        bundle
    }

    fn take(&mut self, tls: &Arc<ServerTls>, material: &Material) -> Result<(), Trouble> {
        let Material {
            chain,
            key,
            authorities,
        } = material;
        let fingerprint = self.hasher.hash_one((chain, &**key, authorities));
        let same = self.kept.get(tls);
        if same.is_some_and(|kept| kept.fingerprint == fingerprint) {
            return Ok(());
        }
        let termination = Arc::new(self.maker.termination(tls, material)?);
        let kept = Kept {
            fingerprint,
            authorities: self.hasher.hash_one(authorities),
            termination,
        };
        self.kept.insert(Arc::clone(tls), kept);
        Ok(())
    }

    /// `authorities`: those that are there now, if that is known.
    fn suffer(
        &mut self,
        tls: &Arc<ServerTls>,
        trouble: &Trouble,
        authorities: Option<u64>,
    ) -> String {
        let closed = match trouble {
            Trouble::Credential(error) => error.is_absence(),
            Trouble::Terminate(error) => matches!(error, TerminateError::NoAuthorities),
        };
        let others = self.kept.get(tls).is_some_and(|kept| {
            tls.clients != Clients::Anybody
                && authorities.is_some_and(|authorities| authorities != kept.authorities)
        });
        if closed || others {
            self.kept.remove(tls);
        }
        let consequence = match self.kept.contains_key(tls) {
            true => "the one before stays in force",
            false => "connections are refused",
        };
        format!("{}: {trouble}: {consequence}", tls.credential)
    }
}

#[cfg(test)]
mod tests {
    use std::{fs, path::Path};

    use rcgen::{BasicConstraints, CertificateParams, IsCa, KeyPair};

    use super::*;
    use crate::{
        policy::{DocumentKind, DocumentRef, Documents, Gateway, Policy, Scope, Work},
        tls::{Revocations, Suites, TrustAnchors},
    };

    #[derive(Debug)]
    struct Nothing;

    impl Revocations for Nothing {
        fn anchors(&self) -> Arc<TrustAnchors> {
            Arc::default()
        }
    }

    fn mutual() -> Arc<ServerTls> {
        server("MUTUAL")
    }

    fn server(mode: &str) -> Arc<ServerTls> {
        let spec = r#"{"servers": [{"port": {"number": 443, "name": "p", "protocol": "HTTPS"}, "hosts": ["*"],
                       "tls": {"mode": "MUTUAL", "credentialName": "c"}}]}"#;
        let spec = spec.replace("MUTUAL", mode);
        let document = DocumentRef::new(DocumentKind::Gateway, "edge", "g");
        let gateway = Gateway::new(document, None, serde_json::from_str(&spec).unwrap());
        let documents = Documents {
            gateways: vec![gateway.unwrap()],
            ..Documents::default()
        };
        let scope = Scope {
            root_namespace: "root",
            cluster_domain: "cluster.local",
            trust_domains: &[],
        };
        let policy = Policy::compile(scope, documents);
        let labels = crate::policy::Labels::new();
        let mut servers = policy.routes().gateways().of(&labels);
        match &servers.next().unwrap().server.work {
            Work::Terminate(tls) => Arc::clone(tls),
            other => panic!("{other:?}"),
        }
    }

    fn put_pair(dir: &Path) {
        let key = KeyPair::generate().unwrap();
        let params = CertificateParams::new(["a.example".to_owned()]).unwrap();
        let certificate = params.self_signed(&key).unwrap();
        fs::write(dir.join("tls.crt"), certificate.pem()).unwrap();
        fs::write(dir.join("tls.key"), key.serialize_pem()).unwrap();
    }

    fn put_authority(dir: &Path) {
        let mut params = CertificateParams::default();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let root = params.self_signed(&KeyPair::generate().unwrap()).unwrap();
        fs::write(dir.join("ca.crt"), root.pem()).unwrap();
    }

    #[test]
    fn authorities_that_are_others_now_close_beside_a_bad_key() {
        let root = tempfile::tempdir().unwrap();
        let (found, dir) = (
            Found::Mounted(root.path().to_owned()),
            root.path().join("c"),
        );
        fs::create_dir(&dir).unwrap();
        for (mode, stays) in [
            ("MUTUAL", false),
            ("OPTIONAL_MUTUAL", false),
            ("SIMPLE", true),
        ] {
            let tls = server(mode);
            let none = tls::Terminations::new(&Suites::preferring(&[]), Arc::new(Nothing));
            let mut configs = Configs::new(none);
            let mut is_open = || {
                configs.update(&[Arc::clone(&tls)], &found);
                configs.current().contains_key(&tls)
            };
            let bad_key = || fs::write(dir.join("tls.key"), "no key").unwrap();
            let no_key = || fs::remove_file(dir.join("tls.key")).unwrap();
            for spoil in [&bad_key as &dyn Fn(), &no_key] {
                put_pair(&dir);
                put_authority(&dir);
                assert!(is_open(), "{mode}");
                spoil();
                assert!(is_open(), "{mode}: the authorities are the same");
                put_authority(&dir);
                assert_eq!(is_open(), stays, "{mode}: others");
            }
            put_pair(&dir);
            assert!(is_open(), "{mode}: good again");
            fs::copy(dir.join("tls.crt"), dir.join("ca.crt")).unwrap();
            assert_eq!(is_open(), stays, "{mode}: no authority's");
            put_authority(&dir);
            assert!(is_open(), "{mode}: good once more");
            fs::write(dir.join("ca.crt"), "no certificate").unwrap();
            assert_eq!(is_open(), stays, "{mode}: nobody knows which");
        }
    }

    #[test]
    fn what_is_bad_changes_nothing_and_what_is_gone_closes() {
        let root = tempfile::tempdir().unwrap();
        let (found, dir) = (
            Found::Mounted(root.path().to_owned()),
            root.path().join("c"),
        );
        let tls = mutual();
        let none = tls::Terminations::new(&Suites::preferring(&[]), Arc::new(Nothing));
        let mut configs = Configs::new(none);
        let mut look = || {
            let conditions = configs.update(&[Arc::clone(&tls)], &found);
            let Condition { error, not_after } = &conditions[&tls.credential];
            let healthy = error.is_none();
            assert_eq!(not_after.is_some(), configs.current().contains_key(&tls));
            (healthy, configs.current().remove(&tls))
        };
        assert!(matches!(look(), (false, None)));
        fs::create_dir(&dir).unwrap();
        put_pair(&dir);
        assert!(
            matches!(look(), (false, None)),
            "MUTUAL without authorities"
        );
        put_authority(&dir);
        let (healthy, first) = look();
        let first = first.filter(|_| healthy).unwrap();
        assert!(first.is_for("a.example"));
        assert!(!first.is_for("*.example") && !first.is_for("b.example"));
        let same = |other: &Arc<Termination>| Arc::ptr_eq(&first, other);
        assert!(look().1.is_some_and(|c| same(&c)), "made again for nothing");

        fs::write(dir.join("tls.key"), "no key").unwrap();
        let (healthy, kept) = look();
        assert!(!healthy && kept.is_some_and(|c| same(&c)));
        fs::remove_file(dir.join("tls.key")).unwrap();
        let (healthy, kept) = look();
        assert!(!healthy && kept.is_some_and(|c| same(&c)));
        put_pair(&dir);
        let (healthy, next) = look();
        assert!(healthy && next.is_some_and(|c| !same(&c)));
        let key = KeyPair::generate().unwrap();
        let mut expired = CertificateParams::new(["a.example".to_owned()]).unwrap();
        expired.not_after = rcgen::date_time_ymd(2020, 1, 1);
        let expired = expired.self_signed(&key).unwrap();
        fs::write(dir.join("tls.crt"), expired.pem()).unwrap();
        fs::write(dir.join("tls.key"), key.serialize_pem()).unwrap();
        let (healthy, kept) = look();
        assert!(!healthy && kept.is_some(), "the one before stays");
        fs::remove_file(dir.join("ca.crt")).unwrap();
        assert!(matches!(look(), (false, None)), "the authorities are gone");
        put_pair(&dir);
        put_authority(&dir);
        assert!(matches!(look(), (true, Some(_))));
        fs::remove_dir_all(&dir).unwrap();
        assert!(matches!(look(), (false, None)), "the Secret is gone");
    }
}
