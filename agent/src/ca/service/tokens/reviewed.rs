//! Tokens that an API server vouches for (TokenReview,
//! <https://kubernetes.io/docs/reference/kubernetes-api/authentication-resources/token-review-v1/>).
//!
//! It knows of pods and accounts that are gone, and of its own keys. It is asked again only after a while: a burst of
//! requests of one agent is one question. It isn't asked about what can't be good, and about a few at a time only: the
//! API server is everybody's.

mod answers;
mod unproven;

use std::{
    future::Future,
    pin::Pin,
    time::{Duration, Instant, SystemTime},
};

use tokio::{sync::Semaphore, time::timeout};

use self::{answers::Answers, unproven::Unproven};
use super::TokenError;
use crate::{
    ca::service::caller::{Caller, Proof},
    identity::{SpiffeId, TrustDomain},
};

/// For how long an answer counts: as long as API servers keep their own (`--authentication-token-webhook-cache-…` aside,
/// `tokencache` of k8s.io/apiserver: 10 s).
const GOOD_FOR: Duration = Duration::from_secs(10);

/// For how long a refusal counts: a server may not have heard yet of a pod that has just been made.
const REFUSED_FOR: Duration = Duration::from_secs(1);

/// For an answer, and for the place among those who ask: shorter than the caller's own patience, so that it hears why.
const PATIENCE: Duration = Duration::from_secs(5);

/// Questions at a time.
const QUESTIONS: usize = 16;

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
    /// The pod that it is bound to.
    pub pod: Option<String>,
    /// Of that pod, if the server says so.
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
    answers: Answers,
    questions: Semaphore,
}

impl Reviews {
    /// Of tokens for an audience.
    #[must_use]
    pub fn new(reviewer: Box<dyn Reviewer>, audience: String) -> Self {
        Self {
            reviewer,
            audience,
            answers: Answers::default(),
            questions: Semaphore::new(QUESTIONS),
        }
    }

    pub(super) async fn verify(
        &self,
        token: &str,
        domain: &TrustDomain,
    ) -> Result<Caller, TokenError> {
        Unproven::read(token)?.check(&self.audience, SystemTime::now())?;
        let key = self.answers.key(token);
        // Who asks the same at the same time waits for the answer instead.
        let asking = self.answers.asking(key);
        let first = asking.lock().await;
        if let Some(answer) = self.answers.get(key, Instant::now()) {
            return answer;
        }
        let answer = self.ask(token, domain).await;
        let good_for = if answer.is_ok() {
            GOOD_FOR
        } else {
            REFUSED_FOR
        };
        self.answers
            .remember(key, answer.clone(), Instant::now() + good_for);
        drop(first);
        answer
    }

    async fn ask(&self, token: &str, domain: &TrustDomain) -> Result<Caller, TokenError> {
        let reviewing = async {
            let _place = self.questions.acquire().await;
            self.reviewer.review(token, &self.audience).await
        };
        let silent = |_| {
            let why = format!("no answer within {} s", PATIENCE.as_secs());
            Err(ReviewError::Unreachable(why))
        };
        let reviewed = timeout(PATIENCE, reviewing).await.unwrap_or_else(silent);
        let reviewed = reviewed.map_err(|error| match error {
            ReviewError::Refused => TokenError::Invalid,
            ReviewError::Unreachable(why) => {
                tracing::warn!(%why, "a token can't be reviewed");
                TokenError::Unreviewed
            }
        })?;
        caller(&reviewed, domain)
    }
}

/// A token without a pod proves nothing about one: whoever may make tokens of an account has it.
fn caller(reviewed: &Reviewed, domain: &TrustDomain) -> Result<Caller, TokenError> {
    reviewed.pod.as_ref().ok_or(TokenError::Unbound)?;
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
mod tests;
