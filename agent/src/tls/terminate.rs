//! TLS of clients from outside of the mesh, as a `Gateway` wants it ended.

use std::{fmt, sync::Arc};

use rustls::{
    ServerConfig, SupportedProtocolVersion,
    client::verify_server_name,
    crypto::CryptoProvider,
    server::ParsedCertificate,
    version::{TLS12, TLS13},
};
use rustls_pki_types::{CertificateDer, ServerName, UnixTime};
use x509_parser::{certificate::X509Certificate, prelude::FromDer as _};
use zeroize::Zeroizing;

use super::{
    anchors::Revocations,
    config::{Suites, server_config},
    named::Named,
    pem::{PemError, authorities, certificates, pair},
    served::{ServedError, check_served},
    shown::ClientChain,
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
    #[error("the server's certificate is of no use: {0}")]
    Served(#[from] ServedError),
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
    revocations: Arc<dyn Revocations>,
}

/// One server's end of TLS.
#[derive(Debug)]
pub struct Termination {
    pub config: Arc<ServerConfig>,
    /// When the certificate that clients are shown expires, in seconds since 1970.
    pub not_after: Option<i64>,
    /// Whom clients' certificates must come from.
    pub authorities: Vec<CertificateDer<'static>>,
    /// `None`: nobody shows a certificate.
    clients: Option<Arc<Named>>,
    /// The server's own.
    leaf: CertificateDer<'static>,
}

impl Termination {
    /// Whether clients that ask for a host, or for one of those that `*.` stands for, find its name in the certificate
    /// (RFC 9525 section 6).
    #[must_use]
    pub fn is_for(&self, host: &str) -> bool {
        let one = match host.strip_prefix('*') {
            Some(rest) => format!("any{rest}"),
            None => host.to_owned(),
        };
        let parsed = ParsedCertificate::try_from(&self.leaf);
        let named = ServerName::try_from(one);
        parsed
            .ok()
            .zip(named.ok())
            .is_some_and(|(parsed, named)| verify_server_name(&parsed, &named).is_ok())
    }

    /// Whether a client that has shown this would be let in now.
    #[must_use]
    pub fn admits(&self, chain: &ClientChain) -> bool {
        self.clients
            .as_ref()
            .is_some_and(|named| chain.is_good(named))
    }
}

impl Terminations {
    #[must_use]
    pub fn new(suites: &Suites, revocations: Arc<dyn Revocations>) -> Self {
        Self {
            provider: Arc::new(suites.provider()),
            insist: suites.insist,
            revocations,
        }
    }

    /// # Errors
    /// When the material can't be used.
    pub fn termination(
        &self,
        tls: &ServerTls,
        material: &Material,
    ) -> Result<Termination, TerminateError> {
        let chain = certificates(&material.chain).map_err(TerminateError::Chain)?;
        let not_after = chain.first().and_then(not_after);
        check_served(&chain, UnixTime::now())?;
        let leaf = chain.first().cloned().ok_or(ServedError::Form)?;
        let own = pair(chain, &material.key).map_err(TerminateError::Key)?;
        let clients = self.clients(tls, material)?.map(Arc::new);
        let builder = ServerConfig::builder_with_provider(self.provider_of(tls))
            .with_protocol_versions(versions(tls))?;
        let builder = match &clients {
            Some(named) => builder.with_client_cert_verifier(Arc::new(Verifier(Arc::clone(named)))),
            None => builder.with_no_client_auth(),
        };
        let mut config = server_config(builder, Arc::new(own), self.insist);
        if tls.http {
            config.alpn_protocols = vec![HTTP_ALPN.to_vec()];
        }
        let authorities = material.authorities.as_ref().filter(|_| clients.is_some());
        let authorities = authorities.map(|pem| certificates(pem)).transpose();
        Ok(Termination {
            config: Arc::new(config),
            not_after,
            authorities: authorities
                .map_err(TerminateError::Authorities)?
                .unwrap_or_default(),
            clients,
            leaf,
        })
    }

    /// Who may come; `None`: anybody, and nobody is asked.
    fn clients(
        &self,
        tls: &ServerTls,
        material: &Material,
    ) -> Result<Option<Named>, TerminateError> {
        let mandatory = match tls.clients {
            Clients::Anybody => return Ok(None),
            Clients::Optional => false,
            Clients::Certified => true,
        };
        let pem = material.authorities.as_ref();
        let roots = authorities(pem.ok_or(TerminateError::NoAuthorities)?);
        let roots = roots.map_err(TerminateError::Authorities)?;
        if roots.at(UnixTime::now()).len() < roots.all().len() {
            let credential = tls.credential.to_string();
            tracing::warn!(
                credential,
                "an authority for clients' certificates has expired: it doesn't count"
            );
        }
        let named = Named::new(
            roots,
            tls.names.clone(),
            mandatory,
            Arc::clone(&self.provider),
        );
        Ok(Some(named.heeding(Arc::clone(&self.revocations))))
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

fn not_after(leaf: &CertificateDer<'_>) -> Option<i64> {
    let (_, parsed) = X509Certificate::from_der(leaf).ok()?;
    Some(parsed.validity().not_after.timestamp())
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
