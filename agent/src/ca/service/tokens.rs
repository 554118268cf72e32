//! Bearer tokens of Kubernetes service accounts, checked with the issuer's public keys (a JWKS file, RFC 7517).
//!
//! Takes bound tokens only: they say of which pod and node they are, and expire. By keys alone a token that was revoked
//! by removing its pod is good until it expires: the API server knows of that (`reviewed`).

mod reviewed;

use std::{
    collections::HashSet,
    io,
    path::{Path, PathBuf},
    sync::Arc,
    time::{Duration, Instant},
};

use arc_swap::{ArcSwap, ArcSwapOption};
use jsonwebtoken::{
    Algorithm, DecodingKey, Validation,
    dangerous::insecure_decode_claims,
    decode, decode_header,
    errors::ErrorKind,
    jwk::{AlgorithmParameters, EllipticCurve, Jwk, JwkSet, KeyOperations, PublicKeyUse},
};
use serde::Deserialize;
use tokio::{
    sync::{Mutex, MutexGuard},
    task::spawn_blocking,
};

pub use reviewed::{ReviewError, Reviewed, Reviewer, Reviews};

use super::{
    Refusal,
    caller::{Caller, Proof},
};
use crate::{
    file::{self, Stamp},
    identity::{SpiffeId, TrustDomain},
};

/// How far the issuer's clock may differ, in seconds.
const LEEWAY: u64 = 10;

/// How often the file of keys is looked at.
const LOOK: Duration = Duration::from_secs(1);
/// The same when a token fits no key: anybody can send one.
const SOONER: Duration = Duration::from_millis(100);

/// Bytes of a file of keys.
const LONGEST: u64 = 1 << 20;

/// What a token must say.
#[derive(Clone, Debug)]
pub struct TokenRules {
    /// `iss`, if given.
    pub issuer: Option<String>,
    /// One of `aud`.
    pub audience: String,
}

/// Why a token proves nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum TokenError {
    #[error("it is not a token that was signed by the issuer, or it is not well formed")]
    Invalid,
    #[error("it is signed with a key that the issuer doesn't have")]
    UnknownKey,
    #[error("it has expired")]
    Expired,
    #[error("it is not valid yet")]
    NotYetValid,
    #[error("it is for another audience")]
    Audience,
    #[error("it is of another issuer")]
    Issuer,
    #[error("it is not the bound token of a Kubernetes service account")]
    Unbound,
    #[error("it is bound to no pod and to no node")]
    BoundToNobody,
    #[error("nobody can be asked whose it is: try again later")]
    Unreviewed,
}

/// Why a file of keys can't be used.
#[derive(Debug, thiserror::Error)]
pub enum TokenKeysError {
    #[error("--token-keys {}: {source}", path.display())]
    Read { path: PathBuf, source: io::Error },
    #[error("--token-keys {} is not a JSON Web Key Set: {source}", path.display())]
    Parse {
        path: PathBuf,
        source: serde_json::Error,
    },
    #[error("--token-keys {} has no RSA or P-256 key for signatures", path.display())]
    NoKey { path: PathBuf },
}

/// Who vouches for bearer tokens.
pub enum Tokens {
    /// Nobody: only certificates count.
    Untrusted,
    Keys(Arc<TokenKeys>),
    Reviews(Box<Reviews>),
}

impl Tokens {
    /// Whether what is proven is so at this moment.
    pub(super) fn are_reviewed(&self) -> bool {
        matches!(self, Self::Reviews(_))
    }

    /// Who holds the token. Whoever vouches may have to be asked, hence the wait.
    pub(super) async fn verify(
        &self,
        token: &str,
        domain: &TrustDomain,
    ) -> Result<Caller, Refusal> {
        match self {
            Self::Untrusted => Err(Refusal::NoTokens),
            Self::Keys(keys) => Ok(keys.verify(token, domain).await?),
            Self::Reviews(reviews) => Ok(reviews.verify(token, domain).await?),
        }
    }
}

/// Whose the token claims to be, for the log: nothing of it is proven.
pub(super) fn claimed(token: &str, domain: &TrustDomain) -> Option<Caller> {
    let claims: Claims = insecure_decode_claims(token).ok()?;
    caller(&claims, domain).ok()
}

/// Checks tokens, with keys that are read again when their file changes.
pub struct TokenKeys {
    path: PathBuf,
    rules: TokenRules,
    keys: ArcSwap<Vec<Key>>,
    /// Why the file as it is now isn't in use.
    fault: ArcSwapOption<String>,
    /// One look at the file at a time.
    looked: Mutex<Looked>,
}

struct Looked {
    stamp: Stamp,
    at: Instant,
}

struct Key {
    id: Option<String>,
    algorithm: Algorithm,
    key: DecodingKey,
}

#[derive(Deserialize)]
struct Claims {
    sub: String,
    #[serde(rename = "kubernetes.io")]
    kubernetes: Option<Kubernetes>,
}

#[derive(Deserialize)]
struct Kubernetes {
    namespace: String,
    serviceaccount: Named,
    pod: Option<Named>,
    node: Option<Named>,
}

#[derive(Deserialize)]
struct Named {
    name: String,
}

impl TokenKeys {
    /// # Errors
    /// When the file can't be used.
    pub fn open(path: &Path, rules: TokenRules) -> Result<Self, TokenKeysError> {
        let stamp = Stamp::of(path).map_err(|source| TokenKeysError::Read {
            path: path.to_owned(),
            source,
        })?;
        Ok(Self {
            keys: ArcSwap::from_pointee(read(path)?),
            fault: ArcSwapOption::empty(),
            path: path.to_owned(),
            rules,
            looked: Mutex::new(Looked {
                stamp,
                at: Instant::now(),
            }),
        })
    }

    /// Why the file, when a token was checked last, was of no use: the last good keys are.
    #[must_use]
    pub fn fault(&self) -> Option<String> {
        self.fault.load().as_deref().cloned()
    }

    /// A token that no key fits may be of a key that is new.
    async fn verify(&self, token: &str, domain: &TrustDomain) -> Result<Caller, TokenError> {
        // Whoever looks already needn't be waited for.
        if let Ok(looked) = self.looked.try_lock() {
            self.look(looked, LOOK).await;
        }
        let outcome = self.verify_now(token, domain);
        match outcome {
            Err(TokenError::UnknownKey | TokenError::Invalid) => {
                match self.look(self.looked.lock().await, SOONER).await {
                    true => self.verify_now(token, domain),
                    false => outcome,
                }
            }
            outcome => outcome,
        }
    }

    fn verify_now(&self, token: &str, domain: &TrustDomain) -> Result<Caller, TokenError> {
        let header = decode_header(token).map_err(|_| TokenError::Invalid)?;
        // What must be understood, and isn't (RFC 7515, section 4.1.11).
        if header.crit.is_some() {
            return Err(TokenError::Invalid);
        }
        let keys = self.keys.load();
        let fits = |key: &&Key| {
            key.algorithm == header.alg && (header.kid.is_none() || key.id == header.kid)
        };
        let mut outcome = Err(TokenError::UnknownKey);
        for key in keys.iter().filter(fits) {
            outcome = self.verify_with(key, token, domain);
            // Without a key's name in the token, another key may be the right one.
            if outcome != Err(TokenError::Invalid) {
                break;
            }
        }
        outcome
    }

    fn verify_with(
        &self,
        key: &Key,
        token: &str,
        domain: &TrustDomain,
    ) -> Result<Caller, TokenError> {
        let mut validation = Validation::new(key.algorithm);
        validation.leeway = LEEWAY;
        validation.validate_nbf = true;
        validation.set_audience(&[&self.rules.audience]);
        let mut required = HashSet::from(["exp".to_owned(), "aud".to_owned(), "sub".to_owned()]);
        if let Some(issuer) = &self.rules.issuer {
            validation.set_issuer(&[issuer]);
            required.insert("iss".to_owned());
        }
        validation.required_spec_claims = required;
        let decoded = decode::<Claims>(token, &key.key, &validation);
        let claims = decoded.map_err(|error| token_error(error.kind()))?.claims;
        // It proves nothing about a pod: whoever may make tokens of an account has it.
        let to_nobody = |bound: &Kubernetes| bound.pod.is_none() && bound.node.is_none();
        if claims.kubernetes.as_ref().is_some_and(to_nobody) {
            return Err(TokenError::BoundToNobody);
        }
        caller(&claims, domain)
    }

    /// Looks whether the file is another, unless somebody has within `pause`. Tells whether there are new keys; when
    /// it can't be used, the last good ones stay.
    async fn look(&self, mut looked: MutexGuard<'_, Looked>, pause: Duration) -> bool {
        if looked.at.elapsed() < pause {
            return false;
        }
        let (path, stamp) = (self.path.clone(), looked.stamp);
        let read = spawn_blocking(move || read_again(&path, stamp)).await;
        looked.at = Instant::now();
        match read {
            Ok(Some((stamp, Ok(keys)))) => {
                looked.stamp = stamp;
                self.keys.store(Arc::new(keys));
                self.fault.store(None);
                true
            }
            Ok(Some((stamp, Err(error)))) => {
                // What couldn't be read is tried again; what was read and is bad isn't.
                if !matches!(error, TokenKeysError::Read { .. }) {
                    looked.stamp = stamp;
                }
                tracing::warn!(%error, "the last good keys stay in use");
                let fault = format!("{error}: the last good keys stay in use");
                self.fault.store(Some(Arc::new(fault)));
                false
            }
            Ok(None) | Err(_) => false,
        }
    }
}

fn read_again(path: &Path, before: Stamp) -> Option<(Stamp, Result<Vec<Key>, TokenKeysError>)> {
    let stamp = Stamp::of(path).ok().filter(|stamp| *stamp != before)?;
    Some((stamp, read(path)))
}

fn caller(claims: &Claims, domain: &TrustDomain) -> Result<Caller, TokenError> {
    let bound = claims.kubernetes.as_ref().ok_or(TokenError::Unbound)?;
    let (namespace, account) = (&bound.namespace, &bound.serviceaccount.name);
    if claims.sub != format!("system:serviceaccount:{namespace}:{account}") {
        return Err(TokenError::Unbound);
    }
    let identity = SpiffeId::new(domain.clone(), namespace, account);
    Ok(Caller {
        identity: identity.map_err(|_| TokenError::Unbound)?,
        proof: Proof::Token {
            node: bound.node.as_ref().map(|node| node.name.clone()),
        },
    })
}

fn token_error(kind: &ErrorKind) -> TokenError {
    match kind {
        ErrorKind::ExpiredSignature => TokenError::Expired,
        ErrorKind::ImmatureSignature => TokenError::NotYetValid,
        ErrorKind::InvalidAudience => TokenError::Audience,
        ErrorKind::InvalidIssuer => TokenError::Issuer,
        ErrorKind::MissingRequiredClaim(claim) if claim == "aud" => TokenError::Audience,
        ErrorKind::MissingRequiredClaim(claim) if claim == "iss" => TokenError::Issuer,
        _ => TokenError::Invalid,
    }
}

fn read(path: &Path) -> Result<Vec<Key>, TokenKeysError> {
    let owned = || path.to_owned();
    let text = file::read(path, LONGEST).map_err(|source| TokenKeysError::Read {
        path: owned(),
        source,
    })?;
    let set: JwkSet = serde_json::from_slice(&text).map_err(|source| TokenKeysError::Parse {
        path: owned(),
        source,
    })?;
    let keys: Vec<_> = set.keys.iter().filter_map(usable).collect();
    if keys.is_empty() {
        return Err(TokenKeysError::NoKey { path: owned() });
    }
    Ok(keys)
}

/// The kinds of key that API servers sign with (`--service-account-signing-key-file`).
fn usable(jwk: &Jwk) -> Option<Key> {
    let algorithm = match &jwk.algorithm {
        AlgorithmParameters::RSA(_) => Algorithm::RS256,
        AlgorithmParameters::EllipticCurve(curve) if curve.curve == EllipticCurve::P256 => {
            Algorithm::ES256
        }
        _ => return None,
    };
    let is_for_it = is_for_signatures(jwk, algorithm);
    is_for_it.then_some(Key {
        id: jwk.common.key_id.clone(),
        algorithm,
        key: DecodingKey::from_jwk(jwk).ok()?,
    })
}

/// What a key says that it is for (RFC 7517, sections 4.2 to 4.4); one that doesn't say is for anything.
fn is_for_signatures(jwk: &Jwk, algorithm: Algorithm) -> bool {
    let common = &jwk.common;
    let of_use = common.public_key_use.as_ref();
    let operations = common.key_operations.as_ref();
    let of_key = common.key_algorithm.as_ref();
    of_use.is_none_or(|of_use| *of_use == PublicKeyUse::Signature)
        && operations.is_none_or(|all| all.contains(&KeyOperations::Verify))
        && of_key.is_none_or(|of_key| of_key.to_string() == format!("{algorithm:?}"))
}

#[cfg(test)]
mod tests;
