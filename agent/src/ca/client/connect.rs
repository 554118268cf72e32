//! TCP and TLS to the CA service. Its certificate must chain to the given roots and have the expected name.

use std::{
    fmt, fs, io,
    path::{Path, PathBuf},
    pin::Pin,
    str::FromStr,
    sync::Arc,
    task::{Context, Poll},
    time::Duration,
};

use hyper::{Uri, http::uri::Authority};
use hyper_util::rt::TokioIo;
use rustls::{ClientConfig, RootCertStore, crypto::aws_lc_rs};
use rustls_pki_types::{CertificateDer, InvalidDnsNameError, ServerName, UnixTime, pem::PemObject};
use tokio::{net::TcpStream, task::spawn_blocking, time};
use tokio_rustls::{TlsConnector, client::TlsStream};
use tower_service::Service;

use super::{CaClientSettings, roots::Roots};
use crate::tls::has_expired;

const DEADLINE: Duration = Duration::from_secs(5);

/// `HOST:PORT` of a CA service.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CaAddress {
    /// Without the brackets of an IPv6 address.
    host: String,
    port: u16,
}

/// Why a text is no address of a CA service.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("`{0}` is not HOST:PORT")]
pub struct ParseCaAddressError(String);

/// Why there is no connection.
#[derive(Debug, thiserror::Error)]
pub enum ConnectError {
    #[error("--ca-roots {}: {source}", path.display())]
    Read { path: PathBuf, source: io::Error },
    #[error("--ca-roots {} holds no certificates in PEM form that can serve as roots", path.display())]
    Roots { path: PathBuf },
    #[error("`{name}` is not a name that a certificate could have: give --ca-server-name another")]
    Name {
        name: String,
        source: InvalidDnsNameError,
    },
    #[error("TLS with these settings is not possible: {0}")]
    Config(#[from] rustls::Error),
    #[error("{address} can't be reached: {source}")]
    Tcp {
        address: CaAddress,
        source: io::Error,
    },
    #[error("{address} did not answer within {DEADLINE:?}")]
    Deadline { address: CaAddress },
    #[error("{0}")]
    Handshake(String),
}

impl FromStr for CaAddress {
    type Err = ParseCaAddressError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let invalid = || ParseCaAddressError(text.to_owned());
        let authority: Authority = text.parse().map_err(|_| invalid())?;
        let host = authority.host().trim_matches(['[', ']']);
        match authority.port_u16() {
            Some(port) if port != 0 && !host.is_empty() && !text.contains('@') => Ok(Self {
                host: host.to_owned(),
                port,
            }),
            _ => Err(invalid()),
        }
    }
}

impl fmt::Display for CaAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.host.contains(':') {
            true => write!(f, "[{}]:{}", self.host, self.port),
            false => write!(f, "{}:{}", self.host, self.port),
        }
    }
}

/// Makes connections for the transport.
#[derive(Clone)]
pub(super) struct Connector {
    address: CaAddress,
    name: ServerName<'static>,
    /// Read again for each connection.
    file: PathBuf,
    roots: Roots,
}

/// At least one.
pub(super) fn read_roots(path: &Path) -> Result<Vec<CertificateDer<'static>>, ConnectError> {
    let owned = || path.to_owned();
    let pem = fs::read(path).map_err(|source| ConnectError::Read {
        path: owned(),
        source,
    })?;
    let roots: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(&pem).collect();
    match roots {
        Ok(roots) if !roots.is_empty() => Ok(roots),
        Ok(_) | Err(_) => Err(ConnectError::Roots { path: owned() }),
    }
}

impl Connector {
    pub(super) fn new(settings: &CaClientSettings, roots: Roots) -> Result<Self, ConnectError> {
        let name = settings.server_name.as_ref();
        let name = name.unwrap_or(&settings.address.host).clone();
        Ok(Self {
            address: settings.address.clone(),
            name: ServerName::try_from(name.clone())
                .map_err(|source| ConnectError::Name { name, source })?,
            file: settings.roots.clone(),
            roots,
        })
    }

    async fn connect(self) -> Result<TokioIo<TlsStream<TcpStream>>, ConnectError> {
        // The service's own certificate comes under a new root, too: what it has told of that counts, as does the
        // file, where it is newer.
        let path = self.file.clone();
        if let Ok(read) = spawn_blocking(move || read_roots(&path)).await {
            self.roots.set_file(read?);
        }
        let mut roots = RootCertStore::empty();
        // rustls itself takes a root for good at all times.
        let now = UnixTime::now();
        let all = self.roots.all().into_iter();
        roots.add_parsable_certificates(all.filter(|root| !has_expired(root, now)));
        let mut config = ClientConfig::builder_with_provider(aws_lc_rs::default_provider().into())
            .with_safe_default_protocol_versions()?
            .with_root_certificates(roots)
            .with_no_client_auth();
        config.alpn_protocols = vec![b"h2".to_vec()];
        let failed = |source| ConnectError::Tcp {
            address: self.address.clone(),
            source,
        };
        let target = (self.address.host.as_str(), self.address.port);
        let stream = TcpStream::connect(target).await.map_err(failed)?;
        stream.set_nodelay(true).map_err(failed)?;
        let connector = TlsConnector::from(Arc::new(config));
        let shaken = connector.connect(self.name.clone(), stream).await;
        match shaken {
            Ok(stream) => Ok(TokioIo::new(stream)),
            // What rustls refuses; the rest is the network's.
            Err(error) if error.kind() == io::ErrorKind::InvalidData => {
                Err(ConnectError::Handshake(error.to_string()))
            }
            Err(source) => Err(failed(source)),
        }
    }
}

impl Service<Uri> for Connector {
    type Response = TokioIo<TlsStream<TcpStream>>;
    type Error = ConnectError;
    type Future = Pin<Box<dyn Future<Output = Result<Self::Response, ConnectError>> + Send>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), ConnectError>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, _: Uri) -> Self::Future {
        let address = self.address.clone();
        let connecting = time::timeout(DEADLINE, self.clone().connect());
        Box::pin(async move {
            connecting
                .await
                .unwrap_or(Err(ConnectError::Deadline { address }))
        })
    }
}
