//! TLS of clients from outside of the mesh, as a `Gateway` wants it ended.

use std::{fmt, sync::Arc};

use rustls::{
    ServerConfig, SupportedProtocolVersion,
    crypto::CryptoProvider,
    server::NoServerSessionStorage,
    sign::SingleCertAndKey,
    version::{TLS12, TLS13},
};
use zeroize::Zeroizing;

use super::{
    config::Suites,
    heard::{AnyName, Listener},
    named::Named,
    pem::{PemError, authorities, certificates, pair},
    verifier::Verifier,
};
use crate::policy::{Clients, ServerTls, TlsVersion};

/// What is behind TLS is not known to speak more than this.
const HTTP_ALPN: &[u8] = b"http/1.1";

/// Certificate, key and authorities: PEM.
#[derive(Clone, PartialEq, Eq)]
pub struct Material {
    pub chain: Vec<u8>,
    pub key: Zeroizing<Vec<u8>>,
    /// Whom clients' certificates must come from.
    pub authorities: Option<Vec<u8>>,
}

impl fmt::Debug for Material {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Material")
    }
}

/// Why there is no configuration.
#[derive(Debug, thiserror::Error)]
pub enum TerminateError {
    #[error("certificate: {0}")]
    Chain(PemError),
    #[error("key: {0}")]
    Key(PemError),
    #[error("certificate authority: {0}")]
    Authorities(PemError),
    #[error("no certificate authority for the clients' certificates")]
    NoAuthorities,
    #[error(transparent)]
    Rustls(#[from] rustls::Error),
}

/// Makes configurations.
pub struct Terminations {
    provider: Arc<CryptoProvider>,
    insist: bool,
}

impl Terminations {
    #[must_use]
    pub fn new(suites: &Suites) -> Self {
        Self {
            provider: Arc::new(suites.provider()),
            insist: suites.insist,
        }
    }

    /// # Errors
    /// When the material can't be used.
    pub fn config(
        &self,
        tls: &ServerTls,
        material: &Material,
    ) -> Result<ServerConfig, TerminateError> {
        let chain = certificates(&material.chain).map_err(TerminateError::Chain)?;
        let own = pair(chain, &material.key).map_err(TerminateError::Key)?;
        let builder = ServerConfig::builder_with_provider(self.provider_of(tls))
            .with_protocol_versions(versions(tls))?;
        let builder = match tls.clients {
            Clients::Anybody => builder.with_no_client_auth(),
            Clients::Optional | Clients::Certified => {
                let pem = material.authorities.as_ref();
                let roots = authorities(pem.ok_or(TerminateError::NoAuthorities)?);
                let named = Named::new(
                    roots.map_err(TerminateError::Authorities)?,
                    tls.names.clone(),
                    tls.clients == Clients::Certified,
                    Arc::clone(&self.provider),
                );
                builder.with_client_cert_verifier(Arc::new(Verifier(named)))
            }
        };
        let own = Arc::new(SingleCertAndKey::from(own));
        let mut config = builder.with_cert_resolver(Arc::new(AnyName(own)));
        if tls.http {
            config.alpn_protocols = vec![HTTP_ALPN.to_vec()];
        }
        config.session_storage = Arc::new(NoServerSessionStorage {});
        config.send_tls13_tickets = 0;
        config.key_log = Arc::new(Listener);
        config.ignore_client_order = self.insist;
        config.max_early_data_size = 0;
        config.enable_secret_extraction = true;
        Ok(config)
    }

    fn provider_of(&self, tls: &ServerTls) -> Arc<CryptoProvider> {
        if tls.suites.is_empty() {
            return Arc::clone(&self.provider);
        }
        let wanted =
            self.provider.cipher_suites.iter().filter(|suite| {
                suite.tls13().is_some() || tls.suites.contains(&suite.suite().into())
            });
        Arc::new(CryptoProvider {
            cipher_suites: wanted.copied().collect(),
            ..CryptoProvider::clone(&self.provider)
        })
    }
}

fn versions(tls: &ServerTls) -> &'static [&'static SupportedProtocolVersion] {
    const NEWEST: &[&SupportedProtocolVersion] = &[&TLS13];
    const OLD: &[&SupportedProtocolVersion] = &[&TLS12];
    const BOTH: &[&SupportedProtocolVersion] = &[&TLS13, &TLS12];
    match (tls.versions.least, tls.versions.most) {
        (TlsVersion::V13, _) => NEWEST,
        (TlsVersion::V12, TlsVersion::V12) => OLD,
        (TlsVersion::V12, TlsVersion::V13) => BOTH,
    }
}
