//! TLS to servers that are not of the mesh, with certificates from files.

mod files;

use std::{
    collections::{HashMap, HashSet},
    io,
    path::{Path, PathBuf},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use rustls::{
    ClientConfig,
    client::Resumption,
    crypto::{CryptoProvider, aws_lc_rs},
    sign::SingleCertAndKey,
    version::{TLS12, TLS13},
};
use rustls_pki_types::ServerName;
use tokio::task::spawn_blocking;

pub use self::files::ClientFiles;
use self::files::{Files, of_the_system};
use super::{
    Revocations,
    heard::Listener,
    named::Named,
    pem::{self, PemError},
    verifier::Verifier,
};
use crate::{
    file::Stamp,
    policy::{CertificateFiles, Origination},
};

/// More configurations than this are not kept; the next handshake makes them again.
const CACHED: usize = 1024;

/// Why there is no configuration.
#[derive(Debug, thiserror::Error)]
pub enum OriginateError {
    #[error("{path}: {source}", path = .path.display())]
    Read { path: PathBuf, source: io::Error },
    #[error(
        "{path} is not below {directory}, where certificates and keys of this namespace have to be",
        path = .path.display(),
        directory = .directory.display()
    )]
    Elsewhere { path: PathBuf, directory: PathBuf },
    #[error("reading certificates was interrupted")]
    Interrupted,
    #[error("{path}: {source}", path = .path.display())]
    Pem { path: PathBuf, source: PemError },
    #[error("{chain} and {key}: {source}", chain = .files.chain.display(), key = .files.key.display())]
    Pair {
        files: CertificateFiles,
        source: PemError,
    },
    #[error("no certificate authority of the system: name one with caCertificates")]
    NoAuthorities,
    #[error("{0:?} is not a name that a server can be asked for")]
    ServerName(String),
    #[error(transparent)]
    Rustls(#[from] rustls::Error),
}

/// Makes and keeps configurations, while their files stay as they are.
pub(super) struct Originations {
    provider: Arc<CryptoProvider>,
    revocations: Arc<dyn Revocations>,
    allowed: ClientFiles,
    kept: Mutex<Kept>,
}

#[derive(Default)]
struct Kept {
    made: HashMap<Arc<Origination>, Made>,
    /// Whose keys may be kept; `None`: nobody has said so far.
    wanted: Option<HashSet<CertificateFiles>>,
}

impl Kept {
    fn is_wanted(&self, origination: &Origination) -> bool {
        let files = origination.certificate.as_ref();
        let wanted = self.wanted.as_ref();
        files.is_none_or(|files| wanted.is_none_or(|wanted| wanted.contains(files)))
    }
}

struct Made {
    stamps: Vec<Stamp>,
    config: Arc<ClientConfig>,
}

impl Originations {
    pub(super) fn new(
        provider: Arc<CryptoProvider>,
        revocations: Arc<dyn Revocations>,
        allowed: ClientFiles,
    ) -> Self {
        Self {
            provider,
            revocations,
            allowed,
            kept: Mutex::default(),
        }
    }

    /// Reads the files when they have changed.
    ///
    /// # Errors
    /// When a file can't be read or used, or is none of `namespace`'s: a connection must not go on with what is not in
    /// force any more.
    pub(super) async fn config(
        self: &Arc<Self>,
        origination: &Arc<Origination>,
        namespace: String,
    ) -> Result<Arc<ClientConfig>, OriginateError> {
        let (own, origination) = (Arc::clone(self), Arc::clone(origination));
        let looking = spawn_blocking(move || own.look(&origination, &namespace));
        looking.await.map_err(|_| OriginateError::Interrupted)?
    }

    /// Forgets what is not for one of these files any more, and with it its keys.
    pub(super) fn retain(&self, wanted: HashSet<CertificateFiles>) {
        let mut kept = self.kept();
        kept.wanted = Some(wanted);
        let made = std::mem::take(&mut kept.made);
        let still = made.into_iter().filter(|(o, _)| kept.is_wanted(o));
        kept.made = still.collect();
    }

    fn look(
        &self,
        origination: &Arc<Origination>,
        namespace: &str,
    ) -> Result<Arc<ClientConfig>, OriginateError> {
        let allowed = &self.allowed;
        let files = Files { allowed, namespace };
        let stamps = files.stamps(origination)?;
        let known = self
            .kept()
            .made
            .get(origination)
            .filter(|known| known.stamps == stamps)
            .map(|known| Arc::clone(&known.config));
        if let Some(config) = known {
            return Ok(config);
        }
        let config = Arc::new(self.make(origination, &files)?);
        let made = Made {
            stamps,
            config: Arc::clone(&config),
        };
        let mut kept = self.kept();
        // The rule may be gone since the connection began.
        if kept.is_wanted(origination) {
            if kept.made.len() >= CACHED {
                kept.made.clear();
            }
            kept.made.insert(Arc::clone(origination), made);
        }
        Ok(config)
    }

    fn kept(&self) -> MutexGuard<'_, Kept> {
        self.kept.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn make(
        &self,
        origination: &Origination,
        files: &Files<'_>,
    ) -> Result<ClientConfig, OriginateError> {
        let roots = match &origination.authorities {
            Some(path) => files.parsed(path, pem::authorities)?,
            None => of_the_system()?,
        };
        let names = origination.names.clone();
        let named = Named::new(roots, names, true, Arc::clone(&self.provider))
            .heeding(Arc::clone(&self.revocations));
        let builder = ClientConfig::builder_with_provider(Arc::clone(&self.provider))
            .with_protocol_versions(&[&TLS13, &TLS12])?
            .dangerous()
            .with_custom_certificate_verifier(Arc::new(Verifier(Arc::new(named))));
        let mut config = match &origination.certificate {
            Some(pair) => {
                let own = SingleCertAndKey::from(Arc::new(files.pair(pair)?));
                builder.with_client_cert_resolver(Arc::new(own))
            }
            None => builder.with_no_client_auth(),
        };
        config.resumption = Resumption::disabled();
        config.key_log = Arc::new(Listener);
        config.enable_secret_extraction = true;
        Ok(config)
    }
}

/// For HTTPS with servers that come from the authorities of a file, else from the system's.
///
/// # Errors
/// When there are none.
pub fn web_client(authorities: Option<&Path>) -> Result<Arc<ClientConfig>, OriginateError> {
    let roots = match authorities {
        Some(path) => Files::ANY.parsed(path, pem::authorities)?,
        None => of_the_system()?,
    };
    let provider = Arc::new(aws_lc_rs::default_provider());
    let named = Named::new(roots, Vec::new(), true, Arc::clone(&provider));
    let builder = ClientConfig::builder_with_provider(provider);
    let config = builder
        .with_protocol_versions(&[&TLS13, &TLS12])?
        .dangerous()
        .with_custom_certificate_verifier(Arc::new(Verifier(Arc::new(named))))
        .with_no_client_auth();
    Ok(Arc::new(config))
}

/// The server's name for a handshake with `host`.
///
/// # Errors
/// When it is none that can be asked for.
pub(super) fn server_name(
    origination: &Origination,
    host: &str,
) -> Result<ServerName<'static>, OriginateError> {
    let name = origination.sni.as_deref().unwrap_or(host);
    let parsed = ServerName::try_from(name.to_owned());
    parsed.map_err(|_| OriginateError::ServerName(name.to_owned()))
}

#[cfg(test)]
mod tests;
