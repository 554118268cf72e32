//! Bundle endpoints of other trust domains (SPIFFE Federation, section 5.2.1: the `https_web` profile).

use std::{fmt, io, path::PathBuf, time::Duration};

use http_body_util::{BodyExt as _, Empty, LengthLimitError, Limited};
use hyper::{Request, StatusCode, Uri, body::Bytes, header::HOST};
use hyper_util::rt::TokioIo;
use rustls_pki_types::{InvalidDnsNameError, ServerName};
use tokio::{
    net::TcpStream,
    sync::mpsc,
    task::spawn_blocking,
    time::{sleep, timeout},
};
use tokio_rustls::TlsConnector;

use super::bundle::{Bundle, BundleError};
use crate::tls::{OriginateError, web_client};

/// Bytes of an answer, at most.
const LIMIT: usize = 1 << 20;

/// For one answer.
const PATIENCE: Duration = Duration::from_secs(10);

/// How often to ask where the bundle doesn't say (SPIFFE Trust Domain and Bundle, section 4.1.2), and at least and at
/// most where it does.
const REFRESH: Duration = Duration::from_secs(300);
const SOONEST: Duration = Duration::from_secs(5);
const LATEST: Duration = Duration::from_secs(3600);

/// An `https` address.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Endpoint {
    host: String,
    port: u16,
    path: String,
}

/// Why an endpoint told nothing.
#[derive(Debug, thiserror::Error)]
pub enum EndpointError {
    #[error("no answer within {} s", PATIENCE.as_secs())]
    Silent,
    #[error(transparent)]
    Io(#[from] io::Error),
    #[error("HTTP: {0}")]
    Http(#[from] hyper::Error),
    #[error("the request: {0}")]
    Request(#[from] hyper::http::Error),
    #[error("{0:?} is no host name: {1}")]
    Name(String, InvalidDnsNameError),
    #[error("it answers {0}, not 200")]
    Status(StatusCode),
    #[error("an answer of more than {LIMIT} bytes")]
    TooLarge,
    #[error("the answer broke off: {0}")]
    Broken(Box<dyn std::error::Error + Send + Sync>),
    #[error("whom its certificate may come from: {0}")]
    Authorities(#[from] OriginateError),
    #[error("the answer: {0}")]
    Bundle(#[from] BundleError),
}

impl Endpoint {
    /// `https://HOST[:PORT]/PATH`; `None` for anything else.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        let uri: Uri = text.parse().ok()?;
        let authority = uri.authority().filter(|a| !a.as_str().contains('@'))?;
        let host = authority
            .host()
            .trim_start_matches('[')
            .trim_end_matches(']');
        let path = uri.path_and_query().map_or("/", |path| path.as_str());
        (uri.scheme_str() == Some("https") && !host.is_empty()).then(|| Self {
            host: host.to_owned(),
            port: authority.port_u16().unwrap_or(443),
            path: path.to_owned(),
        })
    }

    /// Tells what it learns, for ever.
    pub(super) async fn follow(
        self,
        authorities: Option<PathBuf>,
        index: usize,
        told: mpsc::Sender<(usize, Result<Bundle, EndpointError>)>,
    ) {
        let mut failures = 0;
        loop {
            let asking = timeout(PATIENCE, self.fetch(authorities.clone()));
            let answer = asking.await.unwrap_or(Err(EndpointError::Silent));
            let wait = match &answer {
                Ok(bundle) => {
                    failures = 0;
                    bundle.refresh.unwrap_or(REFRESH).clamp(SOONEST, LATEST)
                }
                Err(_) => {
                    failures += 1;
                    (SOONEST * (1 << failures.min(6))).min(REFRESH)
                }
            };
            if told.send((index, answer)).await.is_err() {
                return;
            }
            sleep(wait.mul_f64(0.75 + fastrand::f64() / 4.0)).await;
        }
    }

    /// Authorities are read for each answer: they change, and answers are rare.
    async fn fetch(&self, authorities: Option<PathBuf>) -> Result<Bundle, EndpointError> {
        let reading = spawn_blocking(move || web_client(authorities.as_deref()));
        let config = reading.await.map_err(|_| OriginateError::Interrupted)??;
        let name = ServerName::try_from(self.host.clone());
        let name = name.map_err(|error| EndpointError::Name(self.host.clone(), error))?;
        let stream = TcpStream::connect((self.host.as_str(), self.port)).await?;
        let stream = TlsConnector::from(config).connect(name, stream).await?;
        let (mut sender, connection) =
            hyper::client::conn::http1::handshake(TokioIo::new(stream)).await?;
        let request = Request::get(&self.path)
            .header(HOST, format!("{}:{}", self.host, self.port))
            .body(Empty::<Bytes>::new())?;
        let exchange = async {
            let answer = sender.send_request(request).await?;
            if answer.status() != StatusCode::OK {
                return Err(EndpointError::Status(answer.status()));
            }
            let body = Limited::new(answer.into_body(), LIMIT).collect().await;
            let body = body.map_err(|error| match error.is::<LengthLimitError>() {
                true => EndpointError::TooLarge,
                false => EndpointError::Broken(error),
            })?;
            Ok(Bundle::parse(&body.to_bytes())?)
        };
        tokio::select! {
            bundle = exchange => bundle,
            Err(error) = connection => Err(error.into()),
        }
    }
}

impl fmt::Display for Endpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { host, port, path } = self;
        write!(f, "https://{host}:{port}{path}")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_https_with_a_host() {
        let endpoint = Endpoint::parse("https://[fd00::1]:8443/bundle?x=1").unwrap();
        assert_eq!(
            (&*endpoint.host, endpoint.port, &*endpoint.path),
            ("fd00::1", 8443, "/bundle?x=1")
        );
        assert_eq!(Endpoint::parse("https://ca.example").unwrap().port, 443);
        for text in [
            "http://ca.example/",
            "/etc/root.pem",
            "https://",
            "https://user@ca.example/",
        ] {
            assert_eq!(Endpoint::parse(text), None, "{text}");
        }
    }
}
