//! What the tests of handshake and record layer share: identities, and rustls itself as the peer.

pub(crate) mod openssl;

use std::{
    net::{TcpListener, TcpStream},
    sync::Arc,
    time::{Duration, SystemTime},
};

use rustls::{
    ClientConfig, ClientConnection, ServerConfig, StreamOwned, SupportedCipherSuite,
    crypto::{CryptoProvider, aws_lc_rs},
    pki_types::ServerName,
    version::{TLS12, TLS13},
};

use super::{
    Credentials, Established, HandshakeError, Suites, TlsConfigs, TrustAnchors, accept,
    verifier::Verifier, verify::PeerVerifier,
};
use crate::{
    ca::EmbeddedCa,
    identity::{SpiffeId, Svid},
};

#[derive(Clone)]
pub(super) struct Pki {
    pub(super) svids: Vec<Arc<Svid>>,
    pub(super) anchors: Arc<TrustAnchors>,
}

impl Credentials for Pki {
    fn svid(&self, id: &SpiffeId) -> Option<Arc<Svid>> {
        self.svids.iter().find(|svid| svid.id == *id).cloned()
    }

    fn anchors(&self) -> Arc<TrustAnchors> {
        Arc::clone(&self.anchors)
    }
}

pub(super) fn id(account: &str) -> SpiffeId {
    format!("spiffe://cluster.local/ns/shop/sa/{account}")
        .parse()
        .unwrap()
}

pub(super) fn pki() -> Pki {
    let dir = tempfile::tempdir().unwrap();
    let domain = "cluster.local".parse().unwrap();
    let ca = EmbeddedCa::open(dir.path(), &domain, Duration::from_secs(3600)).unwrap();
    let now = SystemTime::now();
    let svids = ["web", "customer"].map(|account| Arc::new(ca.issue(&id(account), now).unwrap()));
    Pki {
        svids: svids.to_vec(),
        anchors: Arc::new(TrustAnchors::new(&ca.bundle())),
    }
}

/// A rustls client that offers one cipher suite.
pub(super) fn client(
    pki: &Pki,
    suite: SupportedCipherSuite,
    fragment: Option<usize>,
    stream: TcpStream,
) -> StreamOwned<ClientConnection, TcpStream> {
    connected(client_config(pki, suite, fragment), stream)
}

pub(super) fn connected(
    config: ClientConfig,
    stream: TcpStream,
) -> StreamOwned<ClientConnection, TcpStream> {
    let name = ServerName::try_from("web").unwrap();
    let connection = ClientConnection::new(Arc::new(config), name).unwrap();
    StreamOwned::new(connection, stream)
}

pub(super) fn client_config(
    pki: &Pki,
    suite: SupportedCipherSuite,
    fragment: Option<usize>,
) -> ClientConfig {
    let provider = CryptoProvider {
        cipher_suites: vec![suite],
        ..aws_lc_rs::default_provider()
    };
    let algorithms = provider.signature_verification_algorithms;
    let verifier = PeerVerifier::new(Arc::clone(&pki.anchors), Some(id("web")), algorithms);
    let certified = Arc::clone(&pki.svid(&id("customer")).unwrap().certified);
    let mut config = ClientConfig::builder_with_provider(Arc::new(provider))
        .with_protocol_versions(&[if suite.tls13().is_some() {
            &TLS13
        } else {
            &TLS12
        }])
        .unwrap()
        .dangerous()
        .with_custom_certificate_verifier(Arc::new(Verifier(Arc::new(verifier))))
        .with_client_cert_resolver(Arc::new(rustls::sign::SingleCertAndKey::from(certified)));
    config.max_fragment_size = fragment;
    config
}

/// The server's end of a handshake that is done, with the socket made blocking.
pub(super) fn server(
    pki: Pki,
    listener: &TcpListener,
) -> (Result<Established, HandshakeError>, TcpStream) {
    accepted(server_config(pki), listener)
}

pub(super) fn server_config(pki: Pki) -> Arc<ServerConfig> {
    let configs = TlsConfigs::new(
        Arc::new(pki),
        &Suites::preferring(&[]),
        crate::tls::ClientFiles::Anywhere,
    );
    configs.server(&id("web")).unwrap()
}

pub(super) fn accepted(
    config: Arc<ServerConfig>,
    listener: &TcpListener,
) -> (Result<Established, HandshakeError>, TcpStream) {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap();
    let (stream, _) = listener.accept().unwrap();
    stream.set_nonblocking(true).unwrap();
    let copy = stream.try_clone().unwrap();
    let established = runtime.block_on(async {
        let stream = tokio::net::TcpStream::from_std(stream).unwrap();
        let shaken = accept(stream, config, Vec::new());
        tokio::time::timeout(Duration::from_secs(10), shaken)
            .await
            .expect("handshake in time")
    });
    copy.set_nonblocking(false).unwrap();
    (established, copy)
}

/// A root of others: DER and PEM.
pub(crate) fn authority(name: &str) -> (Vec<u8>, String) {
    let mut params = rcgen::CertificateParams::default();
    params
        .distinguished_name
        .push(rcgen::DnType::CommonName, name);
    params.is_ca = rcgen::IsCa::Ca(rcgen::BasicConstraints::Unconstrained);
    let key = rcgen::KeyPair::generate().unwrap();
    let certificate = params.self_signed(&key).unwrap();
    (certificate.der().to_vec(), certificate.pem())
}

/// A list of what an issuer takes back: PEM.
pub(crate) fn revocation_list(
    issuer: &rcgen::Issuer<'_, impl rcgen::SigningKey>,
    serials: &[u64],
) -> String {
    let now = rcgen::date_time_ymd(2026, 1, 1);
    let revoked = serials.iter().map(|serial| rcgen::RevokedCertParams {
        serial_number: (*serial).into(),
        revocation_time: now,
        reason_code: None,
        invalidity_date: None,
    });
    let list = rcgen::CertificateRevocationListParams {
        this_update: now,
        next_update: rcgen::date_time_ymd(2040, 1, 1),
        crl_number: 1.into(),
        issuing_distribution_point: None,
        revoked_certs: revoked.collect(),
        key_identifier_method: rcgen::KeyIdMethod::Sha256,
    };
    list.signed_by(issuer).unwrap().pem().unwrap()
}
