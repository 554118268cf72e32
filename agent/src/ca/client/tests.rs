use std::{fs, net::SocketAddr};

use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;

use super::*;
use crate::ca::{
    self, CaService,
    service::testing::{Bench, domain, id},
};

/// A served CA, and a client of it on node `a`.
struct Pair {
    bench: Bench,
    settings: CaClientSettings,
    stop: CancellationToken,
}

impl Drop for Pair {
    fn drop(&mut self) {
        self.stop.cancel();
    }
}

async fn serve(service: CaService) -> (SocketAddr, CancellationToken) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let stop = CancellationToken::new();
    let names = vec!["localhost".to_owned()];
    tokio::spawn(ca::serve(service, listener, names, stop.clone()));
    (address, stop)
}

impl Pair {
    async fn new() -> Self {
        let bench = Bench::new();
        let (address, stop) = serve(bench.service()).await;
        let token = bench.dir.path().join("token");
        fs::write(&token, bench.agent_token("a")).unwrap();
        let settings = CaClientSettings {
            address: format!("127.0.0.1:{}", address.port()).parse().unwrap(),
            server_name: Some("localhost".to_owned()),
            roots: bench.dir.path().join("ca/ca.crt"),
            token: Some(token),
            trust_domain: domain(),
            ttl: Duration::from_secs(600),
        };
        Self {
            bench,
            settings,
            stop,
        }
    }

    fn client(&self) -> CaClient {
        CaClient::new(self.settings.clone()).unwrap()
    }

    async fn ask(&self) -> Result<Svid, CaClientError> {
        let web = id("shop", "web");
        self.client().issue(&web, SystemTime::now()).await
    }
}

#[tokio::test]
async fn an_agent_gets_the_identities_of_its_node() {
    let pair = Pair::new().await;
    let (web, now) = (id("shop", "web"), SystemTime::now());
    let client = pair.client();
    let svid = client.issue(&web, now).await.unwrap();
    assert_eq!(svid.id, web);
    assert!(svid.certified.keys_match().is_ok());
    let left = svid.not_after.duration_since(now).unwrap();
    assert!(left <= Duration::from_secs(600), "{left:?}");
    let other = client.issue(&web, now).await.unwrap();
    assert_ne!(other.serial, svid.serial);

    assert_eq!(**client.bundle().borrow(), pair.bench.ca.bundle());
    assert_eq!(client.not_after(), Some(pair.bench.ca.not_after()));
}

#[tokio::test]
async fn another_nodes_identity_is_denied() {
    let pair = Pair::new().await;
    let elsewhere = id("shop", "db");
    let error = pair.client().issue(&elsewhere, SystemTime::now()).await;
    let error = error.unwrap_err();
    assert!(matches!(error, CaClientError::Denied(_)), "{error}");
    assert!(error.to_string().contains("on node a"), "{error}");
}

#[tokio::test]
async fn tokens_are_read_for_each_request_and_failures_are_told_apart() {
    let pair = Pair::new().await;
    let token = pair.settings.token.clone().unwrap();
    let good = fs::read(&token).unwrap();
    let client = pair.client();
    let ask = || async {
        let web = id("shop", "web");
        client.issue(&web, SystemTime::now()).await
    };
    fs::write(&token, "nonsense").unwrap();
    let error = ask().await.unwrap_err();
    assert!(
        matches!(error, CaClientError::Unauthenticated(_)),
        "{error}"
    );
    fs::remove_file(&token).unwrap();
    let error = ask().await.unwrap_err();
    assert!(matches!(error, CaClientError::Token { .. }), "{error}");
    fs::write(&token, "two\nlines").unwrap();
    let error = ask().await.unwrap_err();
    assert!(matches!(error, CaClientError::TokenForm { .. }), "{error}");
    fs::write(&token, good).unwrap();
    ask().await.unwrap();
}

#[tokio::test]
async fn servers_of_another_root_or_name_get_no_token() {
    let mut pair = Pair::new().await;
    pair.settings.server_name = Some("istiod.test".to_owned());
    let error = pair.ask().await.unwrap_err();
    assert!(
        matches!(error, CaClientError::ServerCertificate(_)),
        "{error}"
    );
    assert!(error.to_string().contains("istiod.test"), "{error}");

    let other = Bench::new();
    pair.settings.server_name = Some("localhost".to_owned());
    pair.settings.roots = other.dir.path().join("ca/ca.crt");
    let error = pair.ask().await.unwrap_err();
    assert!(
        matches!(error, CaClientError::ServerCertificate(_)),
        "{error}"
    );
}

#[tokio::test]
async fn a_ca_that_is_away_is_found_again() {
    let mut pair = Pair::new().await;
    let client = pair.client();
    let web = id("shop", "web");
    client.issue(&web, SystemTime::now()).await.unwrap();
    pair.stop.cancel();
    let lost = async {
        loop {
            if let Err(error) = client.issue(&web, SystemTime::now()).await {
                break error;
            }
        }
    };
    let error = time::timeout(Duration::from_secs(20), lost).await.unwrap();
    assert!(matches!(error, CaClientError::Connection(_)), "{error:?}");

    let address = pair.settings.address.to_string();
    let listener = TcpListener::bind(&address).await.unwrap();
    pair.stop = CancellationToken::new();
    let names = vec!["localhost".to_owned()];
    tokio::spawn(ca::serve(
        pair.bench.service(),
        listener,
        names,
        pair.stop.clone(),
    ));
    let found = async { while client.issue(&web, SystemTime::now()).await.is_err() {} };
    time::timeout(Duration::from_secs(20), found).await.unwrap();
}

#[tokio::test]
async fn many_are_issued_at_the_same_time() {
    let pair = Pair::new().await;
    let client = std::sync::Arc::new(pair.client());
    let mut asked = tokio::task::JoinSet::new();
    for _ in 0..200 {
        let client = std::sync::Arc::clone(&client);
        asked.spawn(async move {
            let web = id("shop", "web");
            client
                .issue(&web, SystemTime::now())
                .await
                .map(|svid| svid.serial)
        });
    }
    let mut serials = std::collections::HashSet::new();
    while let Some(issued) = asked.join_next().await {
        serials.insert(issued.unwrap().unwrap());
    }
    assert_eq!(serials.len(), 200);
}

#[tokio::test]
async fn a_new_root_comes_with_answers_and_the_service_is_believed_under_it() {
    let pair = Pair::new().await;
    let (client, web) = (pair.client(), id("shop", "web"));
    let told = pair.bench.dir.path().join("told.crt");
    fs::copy(&pair.settings.roots, &told).unwrap();
    let late = CaClient::new(CaClientSettings {
        roots: told.clone(),
        ..pair.settings.clone()
    });
    let (late, directory) = (late.unwrap(), pair.bench.ca.directory());
    let mut now = SystemTime::now();
    ca::Rotate::Root { domain: None }
        .apply(directory, now)
        .unwrap();
    pair.bench.ca.look(now);
    late.issue(&web, SystemTime::now()).await.unwrap();
    assert_eq!(late.bundle().borrow().roots(&domain()).len(), 2);
    // A day and a bit: the new one signs.
    for _ in 0..25 {
        now += Duration::from_secs(3600);
        pair.bench.ca.look(now);
    }
    let before = pair.bench.ca.state().borrow().rotation.unwrap();
    assert_eq!(before.stage, ca::Stage::Signing);
    let svid = late.issue(&web, SystemTime::now()).await.unwrap();
    let (leaf, above) = svid.certified.cert.split_first().unwrap();
    assert!(above.is_empty());
    assert!(!leaf.is_empty());
    let error = client.issue(&web, SystemTime::now()).await.map(|_| ());
    // Its file is the CA's own, which has the new root by now.
    error.unwrap();
}

mod answers;
mod renewal;
