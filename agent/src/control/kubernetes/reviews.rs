//! Asks the API server whose a token is.

use std::{future::Future, pin::Pin};

use k8s_openapi::api::authentication::v1::{TokenReview, TokenReviewSpec};
use kube::{Api, Client, api::PostParams};

use crate::ca::{ReviewError, Reviewed, Reviewer};

/// In which a server says on which node the pod of a token is, since Kubernetes 1.30
/// (<https://kubernetes.io/docs/reference/access-authn-authz/service-accounts-admin/>).
const NODE: &str = "authentication.kubernetes.io/node-name";
/// The same, of the pod.
const POD: &str = "authentication.kubernetes.io/pod-name";

/// TokenReview of a cluster.
pub struct TokenReviews(Api<TokenReview>);

impl TokenReviews {
    #[must_use]
    pub fn new(client: Client) -> Self {
        Self(Api::all(client))
    }

    async fn ask(&self, token: &str, audience: &str) -> Result<Reviewed, ReviewError> {
        let question = TokenReview {
            spec: TokenReviewSpec {
                token: token.to_owned(),
                audiences: Some(vec![audience.to_owned()]),
            },
            ..TokenReview::default()
        };
        let asked = self.0.create(&PostParams::default(), &question).await;
        let answer = asked.map_err(|error| ReviewError::Unreachable(error.to_string()))?;
        let status = answer.status.unwrap_or_default();
        let audiences = status.audiences.unwrap_or_default();
        // A server that knows no audiences names none, and has not looked at them.
        if status.authenticated != Some(true) || !audiences.iter().any(|a| a == audience) {
            return Err(ReviewError::Refused);
        }
        let user = status.user.unwrap_or_default();
        let mut extra = user.extra.unwrap_or_default();
        let mut first = |key| extra.remove(key)?.into_iter().next();
        Ok(Reviewed {
            username: user.username.unwrap_or_default(),
            pod: first(POD),
            node: first(NODE),
        })
    }
}

impl Reviewer for TokenReviews {
    fn review<'a>(
        &'a self,
        token: &'a str,
        audience: &'a str,
    ) -> Pin<Box<dyn Future<Output = Result<Reviewed, ReviewError>> + Send + 'a>> {
        Box::pin(self.ask(token, audience))
    }
}
