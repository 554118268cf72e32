use serde_json::{Value, json};

use super::*;
use crate::ca::service::testing::{AUDIENCE, Bench, claims, domain, id, now};

fn keys(bench: &Bench) -> TokenKeys {
    TokenKeys::open(&bench.keys_path(), Bench::rules()).unwrap()
}

fn verify(bench: &Bench, claims: &Value) -> Result<Caller, TokenError> {
    keys(bench).verify_now(&bench.token(claims), &domain())
}

#[test]
fn bound_tokens_tell_account_and_node() {
    let bench = Bench::new();
    let caller = keys(&bench).verify_now(&bench.agent_token("a"), &domain());
    let expected = Caller {
        identity: id("sealane-system", "sealane-agent"),
        proof: Proof::Token {
            node: Some("a".to_owned()),
        },
    };
    assert_eq!(caller, Ok(expected));
}

#[test]
fn every_claim_counts() {
    let bench = Bench::new();
    let changed = |name: &str, value: Value| {
        let mut claims = claims("shop", "web");
        claims[name] = value;
        verify(&bench, &claims)
    };
    assert!(changed("aud", json!(AUDIENCE)).is_ok());
    assert_eq!(
        changed("aud", json!(["kubernetes"])),
        Err(TokenError::Audience)
    );
    assert_eq!(
        changed("iss", json!("https://other.test")),
        Err(TokenError::Issuer)
    );
    assert_eq!(changed("exp", json!(now() - 60)), Err(TokenError::Expired));
    assert_eq!(
        changed("nbf", json!(now() + 60)),
        Err(TokenError::NotYetValid)
    );
    assert_eq!(changed("exp", Value::Null), Err(TokenError::Invalid));
    let other = json!("system:serviceaccount:shop:db");
    assert_eq!(changed("sub", other), Err(TokenError::Unbound));
    assert_eq!(
        changed("kubernetes.io", Value::Null),
        Err(TokenError::Unbound)
    );
    // Whoever may make tokens of an account has one of no pod.
    let account = json!({"namespace": "shop", "serviceaccount": {"name": "web"}});
    assert_eq!(
        changed("kubernetes.io", account),
        Err(TokenError::BoundToNobody)
    );
    let of_node =
        json!({"namespace": "shop", "serviceaccount": {"name": "web"}, "node": {"name": "a"}});
    assert!(changed("kubernetes.io", of_node).is_ok());
    let mut absent = claims("shop", "web");
    absent.as_object_mut().unwrap().remove("aud");
    assert_eq!(verify(&bench, &absent), Err(TokenError::Audience));
}

#[test]
fn only_the_issuers_signature_counts() {
    let (bench, other) = (Bench::new(), Bench::new());
    let token = other.agent_token("a");
    assert_eq!(
        keys(&bench).verify_now(&token, &domain()),
        Err(TokenError::Invalid)
    );
    // RFC 7515: `{"alg":"none"}`, and a MAC with the public key as its secret.
    let (_, payload) = token.split_once('.').unwrap();
    let payload = payload.split_once('.').unwrap().0;
    for header in [
        "eyJhbGciOiJub25lIn0",
        "eyJhbGciOiJIUzI1NiJ9",
        "eyJhbGciOiJSUzI1NiJ9",
    ] {
        let forged = format!("{header}.{payload}.AAAA");
        assert!(
            keys(&bench).verify_now(&forged, &domain()).is_err(),
            "{header}"
        );
    }
    for text in ["", "a", "a.b", "a.b.c", "...."] {
        assert_eq!(
            keys(&bench).verify_now(text, &domain()),
            Err(TokenError::Invalid)
        );
    }
}

#[tokio::test]
async fn keys_are_read_again_when_they_change_and_kept_when_they_are_spoilt() {
    let mut bench = Bench::new();
    let keys = keys(&bench);
    let old = bench.agent_token("a");
    bench.rotate_key();
    let new = bench.agent_token("a");
    let verify = async |token: &str| {
        tokio::time::sleep(SOONER).await;
        keys.verify(token, &domain()).await
    };
    assert!(verify(&new).await.is_ok());
    assert_eq!(verify(&old).await, Err(TokenError::Invalid));
    std::fs::write(bench.keys_path(), "{").unwrap();
    tokio::time::sleep(LOOK).await;
    assert!(verify(&new).await.is_ok());
    assert!(keys.fault().unwrap().contains("JSON Web Key Set"));
    std::fs::remove_file(bench.keys_path()).unwrap();
    tokio::time::sleep(LOOK).await;
    assert!(verify(&new).await.is_ok());
}

#[tokio::test]
async fn a_key_that_was_taken_away_counts_no_more() {
    let mut bench = Bench::new();
    let keys = keys(&bench);
    let old = bench.agent_token("a");
    assert!(keys.verify(&old, &domain()).await.is_ok());
    bench.rotate_key();
    tokio::time::sleep(LOOK).await;
    assert!(keys.verify(&old, &domain()).await.is_err());
}

#[test]
fn what_is_claimed_is_told_without_proof() {
    let (bench, other) = (Bench::new(), Bench::new());
    let token = other.agent_token("a");
    assert!(keys(&bench).verify_now(&token, &domain()).is_err());
    let claimed = claimed(&token, &domain()).unwrap();
    assert_eq!(claimed.identity, id("sealane-system", "sealane-agent"));
    assert!(super::claimed("a.b.c", &domain()).is_none());
}

#[test]
fn files_without_a_usable_key_are_refused() {
    let bench = Bench::new();
    let open = |text: &str| {
        std::fs::write(bench.keys_path(), text).unwrap();
        TokenKeys::open(&bench.keys_path(), Bench::rules())
    };
    let symmetric = r#"{"keys":[{"kty":"oct","k":"AAAA","alg":"HS256"}]}"#;
    assert!(matches!(open(symmetric), Err(TokenKeysError::NoKey { .. })));
    assert!(matches!(open("{}"), Err(TokenKeysError::Parse { .. })));
    let missing = TokenKeys::open(Path::new("/nowhere"), Bench::rules());
    assert!(matches!(missing, Err(TokenKeysError::Read { .. })));
}

#[test]
fn what_must_be_understood_and_is_not_is_refused() {
    let bench = Bench::new();
    let mut header = jsonwebtoken::Header::new(Algorithm::ES256);
    let claims = claims("shop", "web");
    let plain = bench.token_with(&header, &claims);
    assert!(keys(&bench).verify_now(&plain, &domain()).is_ok());
    header.crit = Some(vec!["exp".to_owned()]);
    let critical = bench.token_with(&header, &claims);
    let refused = keys(&bench).verify_now(&critical, &domain());
    assert_eq!(refused, Err(TokenError::Invalid));
}

#[test]
fn keys_are_for_what_they_say() {
    let bench = Bench::new();
    let text = std::fs::read(bench.keys_path()).unwrap();
    let set: Value = serde_json::from_slice(&text).unwrap();
    let opened = |name: &str, value: Value| {
        let mut set = set.clone();
        set["keys"][0][name] = value;
        std::fs::write(bench.keys_path(), set.to_string()).unwrap();
        TokenKeys::open(&bench.keys_path(), Bench::rules()).is_ok()
    };
    assert!(opened("use", json!("sig")));
    assert!(opened("key_ops", json!(["verify"])));
    assert!(opened("alg", json!("ES256")));
    assert!(!opened("use", json!("enc")));
    assert!(!opened("key_ops", json!(["encrypt"])));
    assert!(!opened("alg", json!("RSA-OAEP")));
}
