//! Tokens of service accounts: signed, for audiences, for a time, and bound to objects that have to be there still.
//!
//! Source: KEP-1205 (bound service account tokens); k8s.io/kubernetes/pkg/serviceaccount/claims.go.

use std::collections::BTreeMap;

use aws_lc_rs::{
    encoding::AsDer as _,
    rsa::{KeyPair, KeySize},
};
use jiff::Timestamp;
use jsonwebtoken::{
    Algorithm, DecodingKey, EncodingKey, Header, Validation, decode, encode,
    jwk::{Jwk, JwkSet},
};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::User;
use crate::{objects, server::Cluster, status::Status, store::key};

/// The signing key, and under whose name it signs.
pub struct Tokens {
    issuer: String,
    signs: EncodingKey,
    jwk: Jwk,
    verifies: DecodingKey,
}

#[derive(Debug, Serialize, Deserialize)]
struct Claims {
    iss: String,
    sub: String,
    aud: Vec<String>,
    exp: i64,
    iat: i64,
    nbf: i64,
    jti: String,
    #[serde(rename = "kubernetes.io")]
    bound: Bound,
}

/// What a token is bound to.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Bound {
    pub namespace: String,
    pub serviceaccount: Reference,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub pod: Option<Reference>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub node: Option<Reference>,
}

#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Reference {
    pub name: String,
    pub uid: String,
}

/// What a good token says.
pub struct Verified {
    pub user: User,
    /// Those asked for that it is for.
    pub audiences: Vec<String>,
}

impl Tokens {
    pub fn new(issuer: &str) -> anyhow::Result<Self> {
        let key = KeyPair::generate(KeySize::Rsa2048)?;
        let der: aws_lc_rs::encoding::Pkcs8V1Der<'_> = key.as_der()?;
        let pem = pem::encode(&pem::Pem::new("PRIVATE KEY", der.as_ref()));
        let signs = EncodingKey::from_rsa_pem(pem.as_bytes())?;
        let mut jwk = Jwk::from_encoding_key(&signs, Algorithm::RS256)?;
        jwk.common.key_id = Some(objects::uid());
        jwk.common.public_key_use = Some(jsonwebtoken::jwk::PublicKeyUse::Signature);
        let verifies = DecodingKey::from_jwk(&jwk)?;
        Ok(Self {
            issuer: issuer.to_owned(),
            signs,
            jwk,
            verifies,
        })
    }

    /// The JWKS document.
    pub fn keys(&self) -> Result<Value, Status> {
        let set = JwkSet {
            keys: vec![self.jwk.clone()],
        };
        serde_json::to_value(set).map_err(Status::internal)
    }

    pub fn configuration(&self) -> Value {
        json!({
            "issuer": self.issuer, "jwks_uri": format!("{}/openid/v1/jwks", self.issuer),
            "response_types_supported": ["id_token"], "subject_types_supported": ["public"],
            "id_token_signing_alg_values_supported": ["RS256"],
        })
    }

    /// A token, and when it ends.
    ///
    /// # Errors
    /// When it can't be signed.
    pub fn sign(
        &self,
        bound: Bound,
        audiences: Vec<String>,
        seconds: i64,
    ) -> Result<(String, Timestamp), Status> {
        let now = Timestamp::now().as_second();
        let Bound {
            namespace,
            serviceaccount,
            ..
        } = &bound;
        let claims = Claims {
            iss: self.issuer.clone(),
            sub: format!("system:serviceaccount:{namespace}:{}", serviceaccount.name),
            aud: audiences,
            exp: now + seconds,
            iat: now,
            nbf: now,
            jti: objects::uid(),
            bound,
        };
        let header = Header {
            kid: self.jwk.common.key_id.clone(),
            ..Header::new(Algorithm::RS256)
        };
        let token = encode(&header, &claims, &self.signs).map_err(Status::internal)?;
        let end = Timestamp::from_second(claims.exp).map_err(Status::internal)?;
        Ok((token, end))
    }
}

/// Checks signature, time, issuer, audiences, and that what the token is bound to is still there.
///
/// # Errors
/// Why it isn't good, as TokenReview says it.
pub fn verify(cluster: &Cluster, token: &str, audiences: &[String]) -> Result<Verified, String> {
    let tokens = &cluster.tokens;
    let mut validation = Validation::new(Algorithm::RS256);
    validation.leeway = 0;
    validation.validate_nbf = true;
    validation.validate_aud = false;
    validation.set_issuer(&[&tokens.issuer]);
    let claims = decode::<Claims>(token, &tokens.verifies, &validation);
    let claims = claims
        .map_err(|error| format!("[invalid bearer token, {error}]"))?
        .claims;
    let common: Vec<String> = audiences
        .iter()
        .filter(|audience| claims.aud.contains(audience))
        .cloned()
        .collect();
    if common.is_empty() {
        let why = format!(
            "token audiences {:?} is invalid for the target audiences {audiences:?}",
            claims.aud
        );
        return Err(format!("[invalid bearer token, {why}]"));
    }
    let extra = bound_to(cluster, &claims)?;
    let Bound {
        namespace,
        serviceaccount,
        ..
    } = claims.bound;
    let user = User {
        name: claims.sub,
        uid: serviceaccount.uid,
        groups: vec![
            "system:serviceaccounts".to_owned(),
            format!("system:serviceaccounts:{namespace}"),
        ],
        extra,
    };
    Ok(Verified {
        user,
        audiences: common,
    })
}

/// What the token is bound to, all of it still there.
fn bound_to(cluster: &Cluster, claims: &Claims) -> Result<BTreeMap<String, Vec<String>>, String> {
    let Bound {
        namespace,
        serviceaccount,
        pod,
        node,
    } = &claims.bound;
    still_there(cluster, "serviceaccounts", namespace, serviceaccount)?;
    let mut told = vec![("credential-id", format!("JTI={}", claims.jti))];
    if let Some(pod) = pod {
        still_there(cluster, "pods", namespace, pod)?;
        told.push(("pod-name", pod.name.clone()));
        told.push(("pod-uid", pod.uid.clone()));
    }
    if let Some(node) = node {
        told.push(("node-name", node.name.clone()));
        told.push(("node-uid", node.uid.clone()));
    }
    let named = |name: &str| format!("authentication.kubernetes.io/{name}");
    Ok(told
        .into_iter()
        .map(|(name, value)| (named(name), vec![value]))
        .collect())
}

fn still_there(
    cluster: &Cluster,
    id: &str,
    namespace: &str,
    wanted: &Reference,
) -> Result<(), String> {
    let state = cluster.store.read();
    let found = state.get(id, &key(namespace, &wanted.name));
    let metadata = found
        .and_then(|object| object.metadata().ok())
        .unwrap_or_default();
    if metadata.get("uid").and_then(Value::as_str) == Some(&wanted.uid) {
        return Ok(());
    }
    Err(format!(
        "[invalid bearer token, {id} \"{}\" (uid {}) is gone]",
        wanted.name, wanted.uid
    ))
}
