//! Tokens that an API server vouches for (TokenReview,
//! <https://kubernetes.io/docs/reference/kubernetes-api/authentication-resources/token-review-v1/>).
//!
//! It knows of pods and accounts that are gone, and of its own keys. It is asked again only after a while: a burst of
//! requests of one agent is one question.

use std::{
    collections::HashMap,
    future::Future,
    hash::{BuildHasher, RandomState},
    pin::Pin,
    sync::{Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant, SystemTime},
};

use jsonwebtoken::dangerous::insecure_decode_claims;
use serde::Deserialize;

use super::TokenError;
use crate::{
    ca::service::caller::{Caller, Proof},
    identity::{SpiffeId, TrustDomain},
};

/// For how long an answer counts: as long as API servers keep their own (`--authentication-token-webhook-cache-…` aside,
/// `tokencache` of k8s.io/apiserver: 10 s).
const GOOD_FOR: Duration = Duration::from_secs(10);

/// Answers that are kept: one for each agent of a large cluster.
const MOST: usize = 4096;

/// Who asks an API server about tokens.
pub trait Reviewer: Send + Sync + 'static {
    /// Whose the token is. `audience` is one that it must be for.
    fn review<'a>(
        &'a self,
        token: &'a str,
        audience: &'a str,
    ) -> Pin<Box<dyn Future<Output = Result<Reviewed, ReviewError>> + Send + 'a>>;
}

/// Whose a token is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Reviewed {
    /// Such as `system:serviceaccount:shop:web`.
    pub username: String,
    /// Of the pod that it is bound to, if the server says so.
    pub node: Option<String>,
}

/// Why there is no such answer.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ReviewError {
    #[error("the API server does not accept the token")]
    Refused,
    #[error("the API server can't be asked: {0}")]
    Unreachable(String),
}

/// Asks, and remembers for a while.
pub struct Reviews {
    reviewer: Box<dyn Reviewer>,
    audience: String,
    answers: Mutex<HashMap<u128, Answer>>,
    /// Keyed at random: no token can be made that is taken for another.
    hashers: [RandomState; 2],
}

struct Answer {
    caller: Caller,
    until: Instant,
}

impl Reviews {
    /// Of tokens for an audience.
    #[must_use]
    pub fn new(reviewer: Box<dyn Reviewer>, audience: String) -> Self {
        Self {
            reviewer,
            audience,
            answers: Mutex::default(),
            hashers: [RandomState::new(), RandomState::new()],
        }
    }

    pub(super) async fn verify(
        &self,
        token: &str,
        domain: &TrustDomain,
    ) -> Result<Caller, TokenError> {
        let key = self.key(token);
        let now = Instant::now();
        if let Some(answer) = self.answers().get(&key).filter(|answer| answer.until > now) {
            return Ok(answer.caller.clone());
        }
        let reviewed = self.reviewer.review(token, &self.audience).await;
        let reviewed = reviewed.map_err(|error| match error {
            ReviewError::Refused => self.likely(token),
            ReviewError::Unreachable(why) => {
                tracing::warn!(%why, "a token can't be reviewed");
                TokenError::Unreviewed
            }
        })?;
        let caller = caller(&reviewed, domain)?;
        self.remember(key, caller.clone());
        Ok(caller)
    }

    fn remember(&self, key: u128, caller: Caller) {
        let now = Instant::now();
        let mut answers = self.answers();
        if answers.len() >= MOST {
            answers.retain(|_, answer| answer.until > now);
        }
        if answers.len() < MOST {
            let until = now + GOOD_FOR;
            answers.insert(key, Answer { caller, until });
        }
    }

    fn answers(&self) -> MutexGuard<'_, HashMap<u128, Answer>> {
        self.answers.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn key(&self, token: &str) -> u128 {
        let [high, low] = self
            .hashers
            .each_ref()
            .map(|h| u128::from(h.hash_one(token)));
        high << 64 | low
    }

    /// Why the server will have refused it: that has no words of its own for it. Nothing is believed of such a token.
    fn likely(&self, token: &str) -> TokenError {
        let Ok(claims) = insecure_decode_claims::<Unproven>(token) else {
            return TokenError::Invalid;
        };
        let now = SystemTime::UNIX_EPOCH
            .elapsed()
            .unwrap_or_default()
            .as_secs();
        match &claims {
            Unproven { exp: Some(exp), .. } if *exp <= now => TokenError::Expired,
            Unproven { aud, .. } if !aud.contains(&self.audience) => TokenError::Audience,
            _ => TokenError::Invalid,
        }
    }
}

#[derive(Deserialize)]
struct Unproven {
    exp: Option<u64>,
    #[serde(default)]
    aud: Vec<String>,
}

fn caller(reviewed: &Reviewed, domain: &TrustDomain) -> Result<Caller, TokenError> {
    let account = reviewed.username.strip_prefix("system:serviceaccount:");
    let (namespace, account) = account
        .and_then(|account| account.split_once(':'))
        .ok_or(TokenError::Unbound)?;
    let identity = SpiffeId::new(domain.clone(), namespace, account);
    Ok(Caller {
        identity: identity.map_err(|_| TokenError::Unbound)?,
        proof: Proof::Token {
            node: reviewed.node.clone(),
        },
    })
}

#[cfg(test)]
mod tests {
    use std::sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    };

    use base64::{Engine as _, prelude::BASE64_URL_SAFE_NO_PAD};

    use super::*;
    use crate::ca::service::testing::domain;

    struct Server {
        asked: Arc<AtomicUsize>,
        answer: Result<Reviewed, ReviewError>,
    }

    impl Reviewer for Server {
        fn review<'a>(
            &'a self,
            _token: &'a str,
            _audience: &'a str,
        ) -> Pin<Box<dyn Future<Output = Result<Reviewed, ReviewError>> + Send + 'a>> {
            self.asked.fetch_add(1, Ordering::Relaxed);
            Box::pin(async { self.answer.clone() })
        }
    }

    fn reviews(answer: Result<Reviewed, ReviewError>) -> (Reviews, Arc<AtomicUsize>) {
        let asked = Arc::new(AtomicUsize::new(0));
        let server = Server {
            asked: Arc::clone(&asked),
            answer,
        };
        (
            Reviews::new(Box::new(server), "sealane-ca".to_owned()),
            asked,
        )
    }

    fn of(username: &str) -> Result<Reviewed, ReviewError> {
        Ok(Reviewed {
            username: username.to_owned(),
            node: Some("a".to_owned()),
        })
    }

    fn token(claims: &str) -> String {
        let part = |text: &str| BASE64_URL_SAFE_NO_PAD.encode(text);
        format!("{}.{}.x", part(r#"{"alg":"RS256"}"#), part(claims))
    }

    #[tokio::test]
    async fn a_service_account_is_who_the_server_says_and_is_asked_for_once() {
        let (reviews, asked) = reviews(of("system:serviceaccount:shop:web"));
        for _ in 0..3 {
            let caller = reviews.verify("one", &domain()).await.unwrap();
            assert_eq!(
                caller.identity.to_string(),
                "spiffe://cluster.local/ns/shop/sa/web"
            );
            assert_eq!(
                caller.proof,
                Proof::Token {
                    node: Some("a".to_owned())
                }
            );
        }
        assert_eq!(asked.load(Ordering::Relaxed), 1);
        reviews.verify("two", &domain()).await.unwrap();
        assert_eq!(asked.load(Ordering::Relaxed), 2);
    }

    #[tokio::test]
    async fn nobody_else_is_anybody() {
        for user in ["alice", "system:node:a", "system:serviceaccount:shop"] {
            let (reviews, _) = reviews(of(user));
            let refused = reviews.verify("x", &domain()).await;
            assert_eq!(refused, Err(TokenError::Unbound), "{user}");
        }
    }

    #[tokio::test]
    async fn a_refusal_says_what_is_likely_and_is_not_remembered() {
        let (reviews, asked) = reviews(Err(ReviewError::Refused));
        for (claims, expected) in [
            (r#"{"exp":1,"aud":["sealane-ca"]}"#, TokenError::Expired),
            (
                r#"{"exp":9999999999,"aud":["other"]}"#,
                TokenError::Audience,
            ),
            (
                r#"{"exp":9999999999,"aud":["sealane-ca"]}"#,
                TokenError::Invalid,
            ),
        ] {
            let refused = reviews.verify(&token(claims), &domain()).await;
            assert_eq!(refused, Err(expected), "{claims}");
        }
        assert_eq!(
            reviews.verify("no token", &domain()).await,
            Err(TokenError::Invalid)
        );
        assert_eq!(asked.load(Ordering::Relaxed), 4);
    }

    #[tokio::test]
    async fn a_server_that_is_away_is_no_refusal_of_the_token() {
        let (reviews, _) = reviews(Err(ReviewError::Unreachable("gone".to_owned())));
        let refused = reviews.verify("x", &domain()).await;
        assert_eq!(refused, Err(TokenError::Unreviewed));
    }
}
