use rcgen::{CertificateParams, KeyPair};
use rustls_pki_types::{CertificateDer, pem::PemObject};
use serde_json::json;
use x509_parser::{certificate::X509Certificate, extensions::GeneralName, prelude::FromDer};

use super::{testing::*, *};
use crate::ca::wire::impersonating;

fn csr() -> String {
    let key = KeyPair::generate().unwrap();
    let request = CertificateParams::default().serialize_request(&key);
    request.unwrap().pem().unwrap()
}

fn request(impersonated: Option<&SpiffeId>) -> CertificateRequest {
    CertificateRequest {
        csr: csr(),
        validity_duration: 600,
        metadata: impersonated.map(|id| impersonating(id.to_string())),
    }
}

fn answer(
    service: &CaService,
    credentials: &Credentials<'_>,
    request: &CertificateRequest,
) -> Result<CertificateResponse, Refusal> {
    let answer = service.answer(credentials, request, SystemTime::now());
    let runtime = tokio::runtime::Builder::new_current_thread().build();
    runtime.unwrap().block_on(answer)
}

fn by_token(
    service: &CaService,
    token: &str,
    request: &CertificateRequest,
) -> Result<CertificateResponse, Refusal> {
    let header = format!("Bearer {token}");
    let credentials = Credentials {
        address: None,
        authorization: Some(&header),
        certificate: None,
        revoked: false,
    };
    answer(service, &credentials, request)
}

fn by_certificate(
    service: &CaService,
    identity: &SpiffeId,
    request: &CertificateRequest,
) -> Result<CertificateResponse, Refusal> {
    let credentials = Credentials {
        address: None,
        authorization: None,
        certificate: Some(identity),
        revoked: false,
    };
    answer(service, &credentials, request)
}

/// Its only name, and its life in seconds.
fn read(response: &CertificateResponse) -> (String, i64) {
    let der = CertificateDer::from_pem_slice(response.cert_chain[0].as_bytes()).unwrap();
    let (_, leaf) = X509Certificate::from_der(&der).unwrap();
    assert_eq!(leaf.subject().iter().count(), 0);
    let names = leaf.subject_alternative_name().unwrap().unwrap();
    let [GeneralName::URI(uri)] = names.value.general_names.as_slice() else {
        panic!("{:?}", names.value);
    };
    let validity = leaf.validity();
    let life = validity.not_after.timestamp() - validity.not_before.timestamp();
    ((*uri).to_owned(), life)
}

#[test]
fn everybody_gets_its_own_identity() {
    let bench = Bench::new();
    let service = bench.service();
    let token = bench.token(&claims("shop", "cart"));
    let response = by_token(&service, &token, &request(None)).unwrap();
    assert_eq!(read(&response).0, "spiffe://cluster.local/ns/shop/sa/cart");
    assert_eq!(response.cert_chain.len(), 2);
    let own = request(Some(&id("shop", "cart")));
    by_token(&service, &token, &own).unwrap();
    assert_eq!(
        by_token(&service, &token, &request(Some(&id("shop", "web")))),
        Err(Refusal::NotNodeAccount)
    );
}

#[test]
fn tokens_that_nobody_is_asked_about_outlive_no_pod() {
    let bench = Bench::new();
    let service = CaService {
        placement: Arc::new(OnePod { is_read: true }),
        ..bench.service()
    };
    let [there, gone] = ["web", "cart"].map(|account| bench.token(&claims("shop", account)));
    by_token(&service, &there, &request(None)).unwrap();
    assert_eq!(
        by_token(&service, &gone, &request(None)),
        Err(Refusal::Gone)
    );
}

#[test]
fn node_accounts_get_those_of_their_node_only() {
    let bench = Bench::new();
    let service = bench.service();
    let web = id("shop", "web");
    let response = by_token(&service, &bench.agent_token("a"), &request(Some(&web)));
    assert_eq!(read(&response.unwrap()).0, web.to_string());
    assert_eq!(
        by_token(&service, &bench.agent_token("b"), &request(Some(&web))),
        Err(Refusal::NotOnNode { node: "b".into() })
    );
    let unbound = bench.token(&claims("sealane-system", "sealane-agent"));
    assert_eq!(
        by_token(&service, &unbound, &request(Some(&web))),
        Err(Refusal::NodeUnknown)
    );
    // An agent's certificate is no proof of its node.
    let agent = id("sealane-system", "sealane-agent");
    assert_eq!(
        by_certificate(&service, &agent, &request(Some(&web))),
        Err(Refusal::NodeUnknown)
    );
}

#[test]
fn other_trust_domains_are_not_ours_to_sign_for() {
    let bench = Bench::new();
    let service = bench.service();
    let token = bench.agent_token("a");
    let mut other = request(None);
    let text = "spiffe://other.test/ns/shop/sa/web";
    other.metadata = Some(impersonating(text.to_owned()));
    assert_eq!(
        by_token(&service, &token, &other),
        Err(Refusal::TrustDomain(domain()))
    );
    other.metadata = Some(impersonating("web".to_owned()));
    let refused = by_token(&service, &token, &other);
    assert!(matches!(refused, Err(Refusal::Identity(_))));
}

#[test]
fn certificates_renew_their_own_identity_while_it_exists() {
    let bench = Bench::new();
    let service = bench.service();
    let (web, gone) = (id("shop", "web"), id("shop", "gone"));
    by_certificate(&service, &web, &request(None)).unwrap();
    assert_eq!(
        by_certificate(&service, &web, &request(Some(&gone))),
        Err(Refusal::NotNodeAccount)
    );
    assert_eq!(
        by_certificate(&service, &gone, &request(None)),
        Err(Refusal::Gone)
    );
}

#[test]
fn a_bad_token_is_not_made_good_by_a_certificate() {
    let bench = Bench::new();
    let service = bench.service();
    let mut late = claims("shop", "web");
    late["exp"] = json!(now() - 60);
    let header = format!("Bearer {}", bench.token(&late));
    let web = id("shop", "web");
    for (header, expected) in [
        (header.as_str(), Refusal::Token(TokenError::Expired)),
        ("Basic eDp5", Refusal::NoCredentials),
        ("", Refusal::NoCredentials),
    ] {
        let credentials = Credentials {
            address: None,
            authorization: Some(header),
            certificate: Some(&web),
            revoked: false,
        };
        let answer = answer(&service, &credentials, &request(None));
        assert_eq!(answer, Err(expected));
    }
}

#[test]
fn a_request_that_comes_again_is_refused_whoever_sends_it() {
    let bench = Bench::new();
    let service = bench.service();
    let first = request(None);
    by_token(&service, &bench.token(&claims("shop", "cart")), &first).unwrap();
    for account in ["cart", "thief"] {
        let token = bench.token(&claims("shop", account));
        assert_eq!(by_token(&service, &token, &first), Err(Refusal::Replayed));
    }
    assert_eq!(service.metrics.totals(), (1, 2));
}

#[test]
fn lives_are_what_is_asked_for_within_bounds() {
    let bench = Bench::new();
    let service = bench.service();
    let token = bench.token(&claims("shop", "cart"));
    let life = |seconds: i64| {
        let wanted = CertificateRequest {
            validity_duration: seconds,
            ..request(None)
        };
        read(&by_token(&service, &token, &wanted).unwrap()).1
    };
    assert_eq!(life(600), 660);
    for all in [0, -1, 86_400, 30 * 86_400, i64::MAX] {
        assert_eq!(life(all), 86_400);
    }
    assert_eq!(life(1), 11);
}

#[test]
fn each_caller_has_a_rate_of_its_own() {
    let bench = Bench::new();
    let service = bench.service_with_rate(1);
    let [cart, web] = ["cart", "web"].map(|account| bench.token(&claims("shop", account)));
    let answers: Vec<_> = (0..12)
        .map(|_| by_token(&service, &cart, &request(None)))
        .collect();
    assert!(answers[..10].iter().all(Result::is_ok));
    assert_eq!(answers[11], Err(Refusal::Rate));
    by_token(&service, &web, &request(None)).unwrap();
}

#[test]
fn who_asks_in_vain_is_told_by_what_was_shown() {
    let bench = Bench::new();
    let service = bench.service();
    let claimed = format!("Bearer {}", Bench::new().token(&claims("shop", "cart")));
    let web = id("shop", "web");
    let said = |authorization, certificate| {
        service.said(&Credentials {
            address: None,
            authorization,
            certificate,
            revoked: false,
        })
    };
    let cart = "spiffe://cluster.local/ns/shop/sa/cart, unproven";
    assert_eq!(said(Some(&claimed), None), cart);
    let both = said(Some(&claimed), Some(&web));
    assert_eq!(both, format!("{cart}, with a certificate of {web}"));
    assert_eq!(said(Some("Bearer x"), Some(&web)), web.to_string());
    assert_eq!(said(None, Some(&web)), web.to_string());
    assert_eq!(said(Some("Bearer x"), None), "unknown");
}
