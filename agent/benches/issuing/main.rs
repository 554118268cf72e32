//! `cargo xtask bench --ca`: 5,000 certificates in a burst, from a CA service to a client over loopback. Both are in
//! this process: rate and memory are those of the two together.
#![expect(clippy::print_stdout, reason = "a table is the result")]

use std::{
    fs,
    net::SocketAddr,
    num::NonZeroU32,
    path::Path,
    sync::Arc,
    time::{Duration, Instant, SystemTime},
};

use anyhow::{Context as _, Result, ensure};
use aws_lc_rs::signature::{ECDSA_P256_SHA256_ASN1_SIGNING, EcdsaKeyPair};
use futures_util::{StreamExt as _, stream};
use jsonwebtoken::{
    Algorithm, EncodingKey, Header, encode,
    jwk::{Jwk, JwkSet},
};
use sealane::{
    ca::{
        CaClient, CaClientSettings, CaService, EmbeddedCa, Placement, Revocation, ServiceSettings,
        TokenKeys, TokenRules, Tokens, serve,
    },
    identity::{SpiffeId, TrustDomain},
    telemetry::CaMetrics,
    tls::CertificateId,
};
use serde_json::json;
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;

const BURST: usize = 5000;
/// As many as an agent has under way.
const AT_ONCE: usize = 16;
const NODE: &str = "a";
const AUDIENCE: &str = "sealane-ca";
/// What one more certificate may cost both ends for good: the client's chain and key, the service's digest of the
/// key, and what the allocator keeps.
const MOST_BYTES: u64 = 16 << 10;

/// Every pod is on every node.
struct Everywhere;

impl Placement for Everywhere {
    fn runs_on(&self, _: &SpiffeId, _: &str) -> bool {
        true
    }

    fn exists(&self, _: &SpiffeId) -> bool {
        true
    }

    fn is_read(&self) -> bool {
        true
    }
}

impl Revocation for Everywhere {
    fn revokes(&self, _: &[CertificateId]) -> bool {
        false
    }
}

#[tokio::main]
async fn main() -> Result<()> {
    let dir = tempfile::tempdir()?;
    let domain: TrustDomain = "cluster.local".parse()?;
    let stop = CancellationToken::new();
    let (service, token) = service(dir.path(), &domain)?;
    let listener = TcpListener::bind("127.0.0.1:0").await?;
    let address = listener.local_addr()?;
    let names = vec!["localhost".to_owned()];
    let serving = tokio::spawn(serve(service, listener, names, stop.clone()));
    fs::write(dir.path().join("token"), token)?;
    let client = client(dir.path(), address, &domain)?;

    burst(&client, &domain, 100).await?;
    let before = resident()?;
    let started = Instant::now();
    let (held, mut latencies) = burst(&client, &domain, BURST).await?;
    let took = started.elapsed();
    let more = resident()?.saturating_sub(before);
    latencies.sort();
    let at = |percent: usize| latencies[(BURST - 1) * percent / 100];
    println!(
        "{BURST} certificates in {took:.2?}: {:.0}/s, {AT_ONCE} at a time\nlatency: p50 {:.2?}, p99 {:.2?}, max {:.2?}\n\
         memory: {} KiB more while all are held, {} bytes each",
        BURST as f64 / took.as_secs_f64(),
        at(50),
        at(99),
        at(100),
        more >> 10,
        more / BURST as u64,
    );
    drop(held);
    ensure!(
        more < MOST_BYTES * BURST as u64,
        "memory is not bounded: {more} bytes"
    );
    stop.cancel();
    serving.await??;
    Ok(())
}

fn service(dir: &Path, domain: &TrustDomain) -> Result<(CaService, String)> {
    let ca = EmbeddedCa::open(&dir.join("ca"), domain, Duration::from_secs(24 * 3600))?;
    let key = EcdsaKeyPair::generate(&ECDSA_P256_SHA256_ASN1_SIGNING)
        .ok()
        .and_then(|key| key.to_pkcs8v1().ok())
        .context("no key for tokens")?;
    let key = EncodingKey::from_ec_der(key.as_ref());
    let keys = JwkSet {
        keys: vec![Jwk::from_encoding_key(&key, Algorithm::ES256)?],
    };
    let path = dir.join("jwks.json");
    fs::write(&path, serde_json::to_vec(&keys)?)?;
    let rules = TokenRules {
        issuer: None,
        audience: AUDIENCE.to_owned(),
    };
    let settings = ServiceSettings {
        revocation: Arc::new(Everywhere),
        node_accounts: vec!["sealane-system/sealane-agent".parse()?],
        rate: NonZeroU32::new(100_000).context("no rate")?,
    };
    let service = CaService::new(
        Arc::new(ca),
        Tokens::Keys(Arc::new(TokenKeys::open(&path, rules)?)),
        Arc::new(Everywhere),
        settings,
        CaMetrics::new()?,
    );
    let expiry = SystemTime::now() + Duration::from_secs(3600);
    let claims = json!({
        "aud": [AUDIENCE],
        "sub": "system:serviceaccount:sealane-system:sealane-agent",
        "exp": expiry.duration_since(SystemTime::UNIX_EPOCH)?.as_secs(),
        "kubernetes.io": {
            "namespace": "sealane-system",
            "serviceaccount": {"name": "sealane-agent", "uid": "1"},
            "pod": {"name": "agent", "uid": "2"},
            "node": {"name": NODE, "uid": "3"},
        },
    });
    Ok((
        service,
        encode(&Header::new(Algorithm::ES256), &claims, &key)?,
    ))
}

fn client(dir: &Path, address: SocketAddr, domain: &TrustDomain) -> Result<CaClient> {
    Ok(CaClient::new(CaClientSettings {
        address: address.to_string().parse()?,
        server_name: Some("localhost".to_owned()),
        roots: dir.join("ca/ca.crt"),
        token: Some(dir.join("token")),
        trust_domain: domain.clone(),
        ttl: Duration::from_secs(3600),
    })?)
}

/// What was issued is held, as an agent would, and how long each took.
async fn burst(
    client: &CaClient,
    domain: &TrustDomain,
    count: usize,
) -> Result<(Vec<sealane::identity::Svid>, Vec<Duration>)> {
    let asked = (0..count).map(|number| async move {
        let id = SpiffeId::new(domain.clone(), "shop", &format!("pod-{number}"))?;
        let started = Instant::now();
        let svid = client.issue(&id, SystemTime::now()).await?;
        anyhow::Ok((svid, started.elapsed()))
    });
    let issued: Vec<_> = stream::iter(asked)
        .buffer_unordered(AT_ONCE)
        .collect()
        .await;
    let issued: Vec<_> = issued.into_iter().collect::<Result<_>>()?;
    Ok(issued.into_iter().unzip())
}

/// Bytes.
fn resident() -> Result<u64> {
    let status = fs::read_to_string("/proc/self/status")?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
    let kib = line.and_then(|line| line.split_whitespace().next());
    Ok(kib.context("no VmRSS")?.parse::<u64>()? << 10)
}
