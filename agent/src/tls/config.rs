//! rustls configurations of every local identity, kept while they are valid.

use std::{
    collections::{HashMap, HashSet},
    fmt,
    sync::{Arc, Mutex, PoisonError},
};

use rustls::{
    ClientConfig, ConfigBuilder, ServerConfig, SupportedCipherSuite,
    client::Resumption,
    crypto::{
        CryptoProvider,
        aws_lc_rs::{self, cipher_suite},
    },
    server::{NoServerSessionStorage, WantsServerCert},
    sign::{CertifiedKey, SingleCertAndKey},
    version::{TLS12, TLS13},
};
use rustls_pki_types::ServerName;

use super::{
    CertificateId, Revocations, TrustAnchors,
    heard::{AnyName, Listener},
    originate::{self, ClientFiles, OriginateError, Originations},
    verifier::Verifier,
    verify::PeerVerifier,
};
use crate::{
    identity::{SpiffeId, Svid},
    policy::{CertificateFiles, Origination},
};

/// The ALPN offer of Istio's sidecars for mutual TLS (`util.ALPNInMesh`).
pub(super) const MESH_ALPN: &[u8] = b"istio";

/// More configurations than this are not kept; the next handshake makes them again.
const CACHED: usize = 4096;

/// Where the agent's certificates and roots come from.
pub trait Credentials: Send + Sync {
    /// The valid SVID of a local identity.
    fn svid(&self, id: &SpiffeId) -> Option<Arc<Svid>>;
    /// The roots that peers are checked against. The same `Arc` while nothing changes.
    fn anchors(&self) -> Arc<TrustAnchors>;
}

/// Why there is no configuration for a handshake.
#[derive(Debug, thiserror::Error)]
pub enum TlsConfigError {
    #[error("no valid certificate for {0}")]
    NoSvid(SpiffeId),
    #[error(transparent)]
    Rustls(#[from] rustls::Error),
}

/// The cipher suites of TLS 1.3, in the order in which they are preferred.
#[derive(Clone, Debug)]
pub struct Suites {
    pub order: Vec<SupportedCipherSuite>,
    /// Whether our order counts as a server. Clients know best which cipher is fast for them, unless one that
    /// they prefer costs us much more.
    pub insist: bool,
}

impl Suites {
    /// Every suite of TLS 1.3 that there is.
    pub const ALL: [SupportedCipherSuite; 3] = [
        cipher_suite::TLS13_AES_128_GCM_SHA256,
        cipher_suite::TLS13_AES_256_GCM_SHA384,
        cipher_suite::TLS13_CHACHA20_POLY1305_SHA256,
    ];

    /// The given ones first, the others behind them: a peer that has none of the first is served all the same.
    #[must_use]
    pub fn preferring(first: &[SupportedCipherSuite]) -> Self {
        let others = Self::ALL.iter().filter(|suite| !first.contains(suite));
        Self {
            order: first.iter().chain(others).copied().collect(),
            insist: !first.is_empty() && first.len() < Self::ALL.len(),
        }
    }

    /// rustls' provider with these, and with its suites of TLS 1.2 for foreign clients. Its key exchanges are
    /// X25519MLKEM768, then X25519, P-256 and P-384.
    pub(super) fn provider(&self) -> CryptoProvider {
        let provider = aws_lc_rs::default_provider();
        let tls12 = provider
            .cipher_suites
            .iter()
            .filter(|suite| suite.tls13().is_none());
        CryptoProvider {
            cipher_suites: self.order.iter().chain(tls12).copied().collect(),
            ..provider
        }
    }
}

/// Makes and keeps configurations.
pub struct TlsConfigs {
    provider: Arc<CryptoProvider>,
    insist: bool,
    credentials: Arc<dyn Credentials>,
    clients: Cache<(SpiffeId, SpiffeId), ClientConfig>,
    originations: Arc<Originations>,
    servers: Cache<SpiffeId, ServerConfig>,
}

struct Cached<C> {
    svid: Arc<Svid>,
    anchors: Arc<TrustAnchors>,
    config: Arc<C>,
}

/// What was made for the local identity that is a part of each key.
struct Cache<K, C>(Mutex<Kept<K, C>>);

struct Kept<K, C> {
    made: HashMap<K, Cached<C>>,
    /// Whose keys may be kept; `None`: nobody has said so far.
    wanted: Option<Arc<HashSet<SpiffeId>>>,
}

impl<K: std::hash::Hash + Eq + Local, C> Cache<K, C> {
    fn new() -> Self {
        Self(Mutex::new(Kept {
            made: HashMap::new(),
            wanted: None,
        }))
    }

    fn retain(&self, wanted: &Arc<HashSet<SpiffeId>>) {
        let mut kept = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        kept.made.retain(|key, _| wanted.contains(key.local()));
        kept.wanted = Some(Arc::clone(wanted));
    }

    fn retain_current(&self, credentials: &dyn Credentials) {
        let mut kept = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        kept.made
            .retain(|key, cached| is_current(credentials, key.local(), &cached.svid));
    }

    fn get_or_make(
        &self,
        key: K,
        (svid, anchors): (Arc<Svid>, Arc<TrustAnchors>),
        credentials: &dyn Credentials,
        make: impl FnOnce(&Arc<Svid>, &Arc<TrustAnchors>) -> Result<C, rustls::Error>,
    ) -> Result<Arc<C>, rustls::Error> {
        let mut kept = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(cached) = kept.made.get(&key)
            && Arc::ptr_eq(&cached.svid, &svid)
            && Arc::ptr_eq(&cached.anchors, &anchors)
        {
            return Ok(Arc::clone(&cached.config));
        }
        let config = Arc::new(make(&svid, &anchors)?);
        // A handshake may have begun before its pod left, or before its certificate was replaced.
        let wanted = kept.wanted.as_ref();
        let gone = wanted.is_some_and(|wanted| !wanted.contains(key.local()));
        if gone || !is_current(credentials, key.local(), &svid) {
            return Ok(config);
        }
        if kept.made.len() >= CACHED {
            kept.made.clear();
        }
        let cached = Cached {
            svid,
            anchors,
            config: Arc::clone(&config),
        };
        kept.made.insert(key, cached);
        Ok(config)
    }
}

fn is_current(credentials: &dyn Credentials, id: &SpiffeId, svid: &Arc<Svid>) -> bool {
    let now = credentials.svid(id);
    now.is_some_and(|now| Arc::ptr_eq(&now, svid))
}

/// What is kept for an identity of this node.
trait Local {
    fn local(&self) -> &SpiffeId;
}

impl Local for SpiffeId {
    fn local(&self) -> &SpiffeId {
        self
    }
}

impl Local for (SpiffeId, SpiffeId) {
    fn local(&self) -> &SpiffeId {
        &self.0
    }
}

impl TlsConfigs {
    #[must_use]
    pub fn new(
        credentials: Arc<dyn Credentials>,
        suites: &Suites,
        client_files: ClientFiles,
    ) -> Self {
        let provider = Arc::new(suites.provider());
        Self {
            originations: Arc::new(Originations::new(
                Arc::clone(&provider),
                Arc::new(Heeded(Arc::clone(&credentials))),
                client_files,
            )),
            provider,
            insist: suites.insist,
            credentials,
            clients: Cache::new(),
            servers: Cache::new(),
        }
    }

    /// For a handshake as `local` with exactly `peer`: TLS 1.3 only, no resumption.
    ///
    /// # Errors
    /// When `local` has no valid certificate.
    pub fn client(
        &self,
        local: &SpiffeId,
        peer: &SpiffeId,
    ) -> Result<Arc<ClientConfig>, TlsConfigError> {
        let svid = self.svid(local)?;
        let key = (local.clone(), peer.clone());
        let anchors = self.credentials.anchors();
        let config = self.clients.get_or_make(
            key,
            (svid, anchors),
            &*self.credentials,
            |svid, anchors| {
                let algorithms = self.provider.signature_verification_algorithms;
                let verifier =
                    PeerVerifier::new(Arc::clone(anchors), Some(peer.clone()), algorithms);
                let mut config = ClientConfig::builder_with_provider(Arc::clone(&self.provider))
                    .with_protocol_versions(&[&TLS13])?
                    .dangerous()
                    .with_custom_certificate_verifier(Arc::new(Verifier(Arc::new(verifier))))
                    .with_client_cert_resolver(resolver(svid));
                config.alpn_protocols = vec![MESH_ALPN.to_vec()];
                config.resumption = Resumption::disabled();
                config.key_log = Arc::new(Listener);
                config.enable_secret_extraction = true;
                Ok(config)
            },
        )?;
        Ok(config)
    }

    /// For a handshake of `local` with a server that is not of the mesh, and the name to ask it for.
    ///
    /// # Errors
    /// When a file with certificates can't be used or is not for `local`'s namespace, or `host` is no name.
    pub async fn originate(
        &self,
        local: &SpiffeId,
        origination: &Arc<Origination>,
        host: &str,
    ) -> Result<(Arc<ClientConfig>, ServerName<'static>), OriginateError> {
        let name = originate::server_name(origination, host)?;
        let namespace = local.namespace().to_owned();
        Ok((
            self.originations.config(origination, namespace).await?,
            name,
        ))
    }

    /// For handshakes that arrive for `local`: a client certificate of a trusted domain is required, no ALPN
    /// is selected, no tickets are sent (resumption would outlive the policy that allowed it).
    ///
    /// # Errors
    /// When `local` has no valid certificate.
    pub fn server(&self, local: &SpiffeId) -> Result<Arc<ServerConfig>, TlsConfigError> {
        let svid = self.svid(local)?;
        let anchors = self.credentials.anchors();
        let config = self.servers.get_or_make(
            local.clone(),
            (svid, anchors),
            &*self.credentials,
            |svid, anchors| {
                let algorithms = self.provider.signature_verification_algorithms;
                let verifier = PeerVerifier::new(Arc::clone(anchors), None, algorithms);
                let builder = ServerConfig::builder_with_provider(Arc::clone(&self.provider))
                    .with_protocol_versions(&[&TLS13, &TLS12])?
                    .with_client_cert_verifier(Arc::new(Verifier(Arc::new(verifier))));
                Ok(server_config(
                    builder,
                    Arc::clone(&svid.certified),
                    self.insist,
                ))
            },
        )?;
        Ok(config)
    }

    /// Forgets the keys of all but these identities and files, and keeps no others until told again.
    pub fn retain(&self, identities: HashSet<SpiffeId>, files: HashSet<CertificateFiles>) {
        let identities = Arc::new(identities);
        self.clients.retain(&identities);
        self.servers.retain(&identities);
        self.originations.retain(files);
    }

    /// Forgets the keys of certificates that were replaced, withdrawn or have expired.
    pub fn retain_current(&self) {
        self.clients.retain_current(&*self.credentials);
        self.servers.retain_current(&*self.credentials);
    }

    /// What must be remembered of a peer's certificates.
    #[must_use]
    pub fn remembered(&self, certificates: Vec<CertificateId>) -> Option<Box<Vec<CertificateId>>> {
        let revokes = self.credentials.anchors().revokes();
        revokes.then(|| Box::new(certificates))
    }

    /// Whether a certificate has been revoked by now.
    #[must_use]
    pub fn has_revoked(&self, certificates: Option<&[CertificateId]>) -> bool {
        let anchors = self.credentials.anchors();
        let mut certificates = certificates.unwrap_or_default().iter();
        certificates.any(|certificate| anchors.has_revoked(*certificate))
    }

    /// Whether a peer who has proven its identity is trusted still.
    #[must_use]
    pub fn still_trusts(&self, peer: &SpiffeId, certificates: Option<&[CertificateId]>) -> bool {
        let anchors = self.credentials.anchors();
        anchors.still_trusts(peer.trust_domain(), certificates.unwrap_or_default())
    }

    fn svid(&self, local: &SpiffeId) -> Result<Arc<Svid>, TlsConfigError> {
        self.credentials
            .svid(local)
            .ok_or_else(|| TlsConfigError::NoSvid(local.clone()))
    }
}

/// What is revoked is so for everybody, also outside of the mesh.
struct Heeded(Arc<dyn Credentials>);

impl fmt::Debug for Heeded {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Heeded")
    }
}

impl Revocations for Heeded {
    fn anchors(&self) -> Arc<TrustAnchors> {
        self.0.anchors()
    }
}

/// What all servers have in common: nothing outlives a handshake but its keys, and those can be had.
pub(super) fn server_config(
    builder: ConfigBuilder<ServerConfig, WantsServerCert>,
    own: Arc<CertifiedKey>,
    insist: bool,
) -> ServerConfig {
    let own = Arc::new(SingleCertAndKey::from(own));
    let mut config = builder.with_cert_resolver(Arc::new(AnyName(own)));
    config.session_storage = Arc::new(NoServerSessionStorage {});
    config.send_tls13_tickets = 0;
    config.key_log = Arc::new(Listener);
    config.ignore_client_order = insist;
    config.max_early_data_size = 0;
    config.enable_secret_extraction = true;
    config
}

fn resolver(svid: &Arc<Svid>) -> Arc<SingleCertAndKey> {
    Arc::new(SingleCertAndKey::from(Arc::clone(&svid.certified)))
}

#[cfg(test)]
mod tests;
