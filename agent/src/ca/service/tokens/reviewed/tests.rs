use std::sync::{
    Arc,
    atomic::{AtomicUsize, Ordering},
};

use base64::{Engine as _, prelude::BASE64_URL_SAFE_NO_PAD};
use tokio::{sync::Notify, task::JoinSet};

use super::*;
use crate::ca::service::testing::domain;

/// Answers when it is let.
struct Server {
    seen: Arc<Seen>,
    answer: Result<Reviewed, ReviewError>,
}

#[derive(Default)]
struct Seen {
    asked: AtomicUsize,
    at_once: AtomicUsize,
    most: AtomicUsize,
    go_on: Notify,
    is_slow: bool,
}

impl Seen {
    fn asked(&self) -> usize {
        self.asked.load(Ordering::Relaxed)
    }
}

impl Reviewer for Server {
    fn review<'a>(
        &'a self,
        _token: &'a str,
        _audience: &'a str,
    ) -> Pin<Box<dyn Future<Output = Result<Reviewed, ReviewError>> + Send + 'a>> {
        Box::pin(async {
            let seen = &self.seen;
            seen.asked.fetch_add(1, Ordering::Relaxed);
            let now = seen.at_once.fetch_add(1, Ordering::Relaxed) + 1;
            seen.most.fetch_max(now, Ordering::Relaxed);
            if seen.is_slow {
                seen.go_on.notified().await;
            }
            seen.at_once.fetch_sub(1, Ordering::Relaxed);
            self.answer.clone()
        })
    }
}

fn reviews_with(answer: Result<Reviewed, ReviewError>, is_slow: bool) -> (Arc<Reviews>, Arc<Seen>) {
    let seen = Arc::new(Seen {
        is_slow,
        ..Seen::default()
    });
    let server = Server {
        seen: Arc::clone(&seen),
        answer,
    };
    let reviews = Reviews::new(Box::new(server), "sealane-ca".to_owned());
    (Arc::new(reviews), seen)
}

fn reviews(answer: Result<Reviewed, ReviewError>) -> (Arc<Reviews>, Arc<Seen>) {
    reviews_with(answer, false)
}

fn of(username: &str) -> Result<Reviewed, ReviewError> {
    Ok(Reviewed {
        username: username.to_owned(),
        pod: Some("web-1".to_owned()),
        node: Some("a".to_owned()),
    })
}

fn token(claims: &str) -> String {
    let part = |text: &str| BASE64_URL_SAFE_NO_PAD.encode(text);
    format!("{}.{}.x", part(r#"{"alg":"RS256"}"#), part(claims))
}

/// One that may be good.
fn plausible(id: usize) -> String {
    token(&format!(
        r#"{{"exp":9999999999,"aud":["sealane-ca"],"sub":"system:serviceaccount:shop:web","jti":"{id}"}}"#
    ))
}

#[tokio::test]
async fn a_service_account_is_who_the_server_says_and_is_asked_for_once() {
    let (reviews, seen) = reviews(of("system:serviceaccount:shop:web"));
    for _ in 0..3 {
        let caller = reviews.verify(&plausible(1), &domain()).await.unwrap();
        assert_eq!(
            caller.identity.to_string(),
            "spiffe://cluster.local/ns/shop/sa/web"
        );
        let node = Some("a".to_owned());
        assert_eq!(caller.proof, Proof::Token { node });
    }
    assert_eq!(seen.asked(), 1);
    reviews.verify(&plausible(2), &domain()).await.unwrap();
    assert_eq!(seen.asked(), 2);
}

#[tokio::test]
async fn a_token_without_a_pod_is_nobodys() {
    let unbound = of("system:serviceaccount:shop:web").map(|known| Reviewed { pod: None, ..known });
    let (reviews, _) = reviews(unbound);
    let refused = reviews.verify(&plausible(1), &domain()).await;
    assert!(matches!(refused, Err(TokenError::Unbound)));
}

#[tokio::test]
async fn nobody_else_is_anybody() {
    for user in ["alice", "system:node:a", "system:serviceaccount:shop"] {
        let (reviews, _) = reviews(of(user));
        let refused = reviews.verify(&plausible(1), &domain()).await;
        assert_eq!(refused, Err(TokenError::Unbound), "{user}");
    }
}

#[tokio::test]
async fn the_server_is_not_asked_about_what_cannot_be_good() {
    let (reviews, seen) = reviews(of("system:serviceaccount:shop:web"));
    let sub = r#""sub":"system:serviceaccount:shop:web""#;
    for (claims, expected) in [
        (
            format!(r#"{{"exp":1,"aud":["sealane-ca"],{sub}}}"#),
            TokenError::Expired,
        ),
        (
            format!(r#"{{"exp":9999999999,"aud":["other"],{sub}}}"#),
            TokenError::Audience,
        ),
        (
            format!(r#"{{"exp":9999999999,"aud":"other",{sub}}}"#),
            TokenError::Audience,
        ),
        (
            r#"{"exp":9999999999,"aud":["sealane-ca"],"sub":"alice"}"#.to_owned(),
            TokenError::Unbound,
        ),
        (
            format!(r#"{{"aud":["sealane-ca"],{sub}}}"#),
            TokenError::Invalid,
        ),
        ("{}".to_owned(), TokenError::Invalid),
    ] {
        let refused = reviews.verify(&token(&claims), &domain()).await;
        assert_eq!(refused, Err(expected), "{claims}");
    }
    for junk in ["", "no token", "a.b.c", "....."] {
        let refused = reviews.verify(junk, &domain()).await;
        assert_eq!(refused, Err(TokenError::Invalid), "{junk}");
    }
    assert_eq!(seen.asked(), 0);
}

#[tokio::test]
async fn a_refusal_counts_for_a_short_while() {
    let (reviews, seen) = reviews(Err(ReviewError::Refused));
    for _ in 0..3 {
        let refused = reviews.verify(&plausible(1), &domain()).await;
        assert_eq!(refused, Err(TokenError::Invalid));
    }
    assert_eq!(seen.asked(), 1);
    tokio::time::sleep(REFUSED_FOR).await;
    let refused = reviews.verify(&plausible(1), &domain()).await;
    assert_eq!((refused, seen.asked()), (Err(TokenError::Invalid), 2));
}

#[tokio::test]
async fn a_server_that_is_away_is_no_refusal_of_the_token() {
    let (reviews, _) = reviews(Err(ReviewError::Unreachable("gone".to_owned())));
    let refused = reviews.verify(&plausible(1), &domain()).await;
    assert_eq!(refused, Err(TokenError::Unreviewed));
}

#[tokio::test]
async fn a_server_that_does_not_answer_is_not_waited_for_as_long_as_the_caller_waits() {
    let (reviews, _) = reviews_with(of("system:serviceaccount:shop:web"), true);
    let (token, domain) = (plausible(1), domain());
    let asked = Instant::now();
    let (first, second) = tokio::join!(
        reviews.verify(&token, &domain),
        reviews.verify(&token, &domain)
    );
    assert_eq!(first, Err(TokenError::Unreviewed));
    assert_eq!(second, Err(TokenError::Unreviewed));
    assert!(asked.elapsed() < Duration::from_secs(9));
}

#[tokio::test]
async fn equal_questions_are_one_and_others_are_few_at_a_time() {
    let (reviews, seen) = reviews_with(of("system:serviceaccount:shop:web"), true);
    let mut callers = JoinSet::new();
    for id in 0..200 {
        let reviews = Arc::clone(&reviews);
        // Each token is sent twice.
        let token = plausible(id / 2);
        callers.spawn(async move { reviews.verify(&token, &domain()).await });
    }
    while !callers.is_empty() {
        tokio::task::yield_now().await;
        seen.go_on.notify_waiters();
        while let Some(answer) = callers.try_join_next() {
            answer.unwrap().unwrap();
        }
    }
    assert_eq!(seen.asked(), 100);
    assert_eq!(seen.most.load(Ordering::Relaxed), QUESTIONS);
}
