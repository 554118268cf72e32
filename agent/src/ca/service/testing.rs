//! A CA service for tests, and tokens that it believes.

use std::{fs, path::PathBuf, sync::Arc, time::SystemTime};

use jsonwebtoken::{
    Algorithm, EncodingKey, Header, encode,
    jwk::{Jwk, JwkSet},
};
use serde_json::{Value, json};
use tempfile::TempDir;

use super::*;
use crate::{ca::leaf, identity::TrustDomain};

pub(in crate::ca) const AUDIENCE: &str = "sealane-ca";
pub(in crate::ca) const ISSUER: &str = "https://kubernetes.test";

/// Files, and a key that signs tokens.
pub(in crate::ca) struct Bench {
    pub(in crate::ca) dir: TempDir,
    pub(in crate::ca) ca: Arc<EmbeddedCa>,
    pub(in crate::ca) revoked: Arc<Revoked>,
    key: EncodingKey,
}

/// `shop/web` runs on node `a`, and nothing else anywhere.
pub(super) struct OnePod {
    /// By whoever asks.
    pub(super) is_read: bool,
}

impl Placement for OnePod {
    fn runs_on(&self, identity: &SpiffeId, node: &str) -> bool {
        self.exists(identity) && node == "a"
    }

    fn is_read(&self) -> bool {
        self.is_read
    }

    fn exists(&self, identity: &SpiffeId) -> bool {
        *identity == id("shop", "web")
    }
}

/// All that it is told.
#[derive(Default)]
pub(in crate::ca) struct Revoked(std::sync::Mutex<Vec<CertificateId>>);

impl Revoked {
    pub(in crate::ca) fn add(&self, chain: &[rustls_pki_types::CertificateDer<'_>]) {
        self.0
            .lock()
            .unwrap()
            .extend(CertificateId::of_chain(chain));
    }
}

impl Revocation for Revoked {
    fn revokes(&self, chain: &[CertificateId]) -> bool {
        let revoked = self.0.lock().unwrap();
        chain.iter().any(|id| revoked.contains(id))
    }
}

pub(in crate::ca) fn domain() -> TrustDomain {
    "cluster.local".parse().unwrap()
}

pub(in crate::ca) fn id(namespace: &str, account: &str) -> SpiffeId {
    SpiffeId::new(domain(), namespace, account).unwrap()
}

impl Bench {
    pub(in crate::ca) fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let day = Duration::from_secs(24 * 3600);
        let ca = EmbeddedCa::open(&dir.path().join("ca"), &domain(), day).unwrap();
        let bench = Self {
            ca: Arc::new(ca),
            revoked: Arc::default(),
            key: signing_key(),
            dir,
        };
        bench.write_keys(&[&bench.key]);
        bench
    }

    pub(in crate::ca) fn keys_path(&self) -> PathBuf {
        self.dir.path().join("jwks.json")
    }

    fn write_keys(&self, keys: &[&EncodingKey]) {
        let jwk = |key: &&EncodingKey| Jwk::from_encoding_key(key, Algorithm::ES256).unwrap();
        let set = JwkSet {
            keys: keys.iter().map(jwk).collect(),
        };
        fs::write(self.keys_path(), serde_json::to_vec(&set).unwrap()).unwrap();
    }

    /// As an API server would put another key in the place of its own.
    pub(in crate::ca) fn rotate_key(&mut self) {
        self.key = signing_key();
        self.write_keys(&[&self.key]);
    }

    pub(in crate::ca) fn rules() -> TokenRules {
        TokenRules {
            issuer: Some(ISSUER.to_owned()),
            audience: AUDIENCE.to_owned(),
        }
    }

    pub(in crate::ca) fn service(&self) -> CaService {
        self.service_with_rate(500)
    }

    pub(in crate::ca) fn service_with_metrics(&self, metrics: CaMetrics) -> CaService {
        CaService {
            metrics,
            ..self.service()
        }
    }

    pub(in crate::ca) fn service_with_rate(&self, rate: u32) -> CaService {
        CaService::new(
            Arc::clone(&self.ca),
            Tokens::Keys(Arc::new(
                TokenKeys::open(&self.keys_path(), Self::rules()).unwrap(),
            )),
            Arc::new(OnePod { is_read: false }),
            ServiceSettings {
                revocation: Arc::clone(&self.revoked) as Arc<dyn Revocation>,
                node_accounts: vec!["sealane-system/sealane-agent".parse().unwrap()],
                rate: NonZeroU32::new(rate).unwrap(),
            },
            CaMetrics::new().unwrap(),
        )
    }

    /// Of the agent on a node.
    pub(in crate::ca) fn agent_token(&self, node: &str) -> String {
        let mut claims = claims("sealane-system", "sealane-agent");
        claims["kubernetes.io"]["node"] = json!({"name": node});
        self.token(&claims)
    }

    pub(in crate::ca) fn token(&self, claims: &Value) -> String {
        self.token_with(&Header::new(Algorithm::ES256), claims)
    }

    pub(in crate::ca) fn token_with(&self, header: &Header, claims: &Value) -> String {
        encode(header, claims, &self.key).unwrap()
    }
}

fn signing_key() -> EncodingKey {
    let key = leaf::generate_key().unwrap();
    EncodingKey::from_ec_der(key.to_pkcs8v1().unwrap().as_ref())
}

pub(in crate::ca) fn now() -> u64 {
    let since = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH);
    since.unwrap().as_secs()
}

/// Of a bound token.
pub(in crate::ca) fn claims(namespace: &str, account: &str) -> Value {
    json!({
        "iss": ISSUER,
        "aud": [AUDIENCE],
        "sub": format!("system:serviceaccount:{namespace}:{account}"),
        "exp": now() + 600,
        "nbf": now() - 10,
        "kubernetes.io": {
            "namespace": namespace,
            "serviceaccount": {"name": account, "uid": "1"},
            "pod": {"name": "p", "uid": "2"},
        },
    })
}
