//! TLS in front of the method, within bounds: connections, handshakes and requests have deadlines.

use std::{
    io,
    net::SocketAddr,
    pin::Pin,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    task::{Context, Poll},
    time::{Duration, Instant, SystemTime},
};

use arc_swap::ArcSwap;
use rustls::{ServerConfig, crypto::aws_lc_rs, server::NoServerSessionStorage};
use rustls_pki_types::CertificateDer;
use tokio::{
    io::{AsyncRead, AsyncWrite, ReadBuf},
    net::{TcpListener, TcpStream},
    sync::mpsc,
    time,
};
use tokio_rustls::{TlsAcceptor, server::TlsStream};
use tokio_stream::wrappers::ReceiverStream;
use tokio_util::sync::CancellationToken;
use tonic::transport::{Server, server::Connected};
use webpki::EndEntityCert;
use x509_parser::{certificate::X509Certificate, prelude::FromDer};

use super::{
    CaService,
    method::Method,
    own::OwnCertificate,
    places::{Place, Places},
    preface::Prefaced,
};
use crate::{
    ca::{CaError, EmbeddedCa, authority},
    identity::{SpiffeId, spiffe_id},
    telemetry::CaMetrics,
    tls::{self, CertificateId},
};

/// Until HTTP/2 has begun.
const HANDSHAKE_DEADLINE: Duration = Duration::from_secs(10);
const REQUEST_DEADLINE: Duration = Duration::from_secs(10);
/// For who connects to prove who it is.
const PROOF_DEADLINE: Duration = Duration::from_secs(30);
/// Between two lines of the log that tell of connections that are turned away.
const TOLD: Duration = Duration::from_secs(10);
/// Requests of one connection at a time. Clients may begin with a hundred before they hear of a limit (RFC 9113,
/// section 6.5.2).
const STREAMS: u32 = 128;
/// Of one request: four times a service account's token.
const MAX_HEADERS: u32 = 8 << 10;
/// Bytes of requests that a connection may send before they are read; the least that HTTP/2 begins with (RFC 9113,
/// section 6.9.2).
const WINDOW: u32 = 65_535;
/// Clients connect again after this, and then see the CA's present certificate.
const CONNECTION_AGE: Duration = Duration::from_secs(60 * 60);
/// A client that is gone without a word is noticed after this and [`KEEPALIVE_DEADLINE`].
const KEEPALIVE: Duration = Duration::from_secs(30);
const KEEPALIVE_DEADLINE: Duration = Duration::from_secs(10);
/// After a failed accept: descriptors may be used up.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);
/// For requests that are being answered at the end.
const LAST_WORDS: Duration = Duration::from_secs(5);

/// Who is at the other end of a connection.
#[derive(Clone)]
pub(super) struct Peer {
    pub(super) address: SocketAddr,
    /// What the client has shown, verified against the CA's own roots.
    shown: Option<Arc<Shown>>,
    /// It has had an answer.
    proven: Arc<AtomicBool>,
}

/// A client's certificate.
struct Shown {
    identity: SpiffeId,
    not_after: SystemTime,
    chain: Vec<CertificateId>,
}

impl Peer {
    /// Who the client's certificate says it is, while that is valid: connections may last longer.
    pub(super) fn identity(&self, now: SystemTime) -> Option<&SpiffeId> {
        let shown = self.shown.as_ref()?;
        (now < shown.not_after).then_some(&shown.identity)
    }

    /// The connection is of somebody who is known.
    pub(super) fn has_proven(&self) {
        self.proven.store(true, Ordering::Relaxed);
    }

    /// Of the client's certificate and those above it.
    pub(super) fn chain(&self) -> &[CertificateId] {
        self.shown.as_ref().map_or(&[], |shown| &shown.chain)
    }
}

/// A connection after its handshake, and the place that it takes.
struct Accepted {
    stream: Prefaced<TlsStream<TcpStream>>,
    peer: Peer,
    _place: Place,
}

/// Serves until told to stop. `names`: DNS names and addresses that clients know the CA by.
///
/// # Errors
/// When the CA can't certify itself.
pub async fn serve(
    service: CaService,
    listener: TcpListener,
    names: Vec<String>,
    stop: CancellationToken,
) -> Result<(), CaError> {
    let ca = Arc::clone(&service.ca);
    let (own, renew) = OwnCertificate::new(Arc::clone(&ca), names)?;
    let config = Arc::new(ArcSwap::from_pointee(config(&ca, Arc::clone(&own))?));
    let renew_config = renew_config(ca, own, Arc::clone(&config));
    let (sender, incoming) = mpsc::channel(1);
    let accepting = accept(
        listener,
        config,
        sender,
        service.metrics.clone(),
        stop.clone(),
    );
    let served = Server::builder()
        .timeout(REQUEST_DEADLINE)
        .max_concurrent_streams(STREAMS)
        .http2_max_header_list_size(MAX_HEADERS)
        .initial_stream_window_size(WINDOW)
        .initial_connection_window_size(WINDOW)
        .max_connection_age(CONNECTION_AGE)
        .http2_keepalive_interval(Some(KEEPALIVE))
        .http2_keepalive_timeout(Some(KEEPALIVE_DEADLINE))
        .serve_with_incoming_shutdown(
            Method::new(service),
            ReceiverStream::new(incoming),
            stop.clone().cancelled_owned(),
        );
    let ended = async {
        stop.cancelled().await;
        time::sleep(LAST_WORDS).await;
    };
    tokio::select! {
        () = renew => {}
        () = renew_config => {}
        () = ended => {}
        (served, ()) = async { tokio::join!(served, accepting) } => {
            if let Err(error) = served {
                tracing::error!(%error, "the CA's server has ended");
            }
        }
    }
    Ok(())
}

/// Clients are checked against the roots of the time.
async fn renew_config(
    ca: Arc<EmbeddedCa>,
    own: Arc<OwnCertificate>,
    current: Arc<ArcSwap<ServerConfig>>,
) {
    let mut bundles = ca.bundles();
    while bundles.changed().await.is_ok() {
        match config(&ca, Arc::clone(&own)) {
            Ok(config) => current.store(Arc::new(config)),
            Err(error) => tracing::error!(%error, "clients are checked against the roots before"),
        }
    }
}

fn config(ca: &EmbeddedCa, own: Arc<OwnCertificate>) -> Result<ServerConfig, CaError> {
    let provider = Arc::new(aws_lc_rs::default_provider());
    let verifier = tls::optional_clients(ca.roots(), Arc::clone(&provider));
    let mut config = ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()?
        .with_client_cert_verifier(verifier)
        .with_cert_resolver(own);
    config.alpn_protocols = vec![b"h2".to_vec()];
    // A session that is resumed would outlive the client's certificate.
    config.session_storage = Arc::new(NoServerSessionStorage {});
    config.send_tls13_tickets = 0;
    Ok(config)
}

async fn accept(
    listener: TcpListener,
    config: Arc<ArcSwap<ServerConfig>>,
    sender: mpsc::Sender<io::Result<Accepted>>,
    metrics: CaMetrics,
    stop: CancellationToken,
) {
    let (places, mut told) = (Arc::new(Places::default()), None::<Instant>);
    loop {
        let accepted = tokio::select! {
            () = stop.cancelled() => return,
            accepted = listener.accept() => accepted,
        };
        match accepted {
            Ok((stream, address)) => match places.take(address.ip()) {
                Ok(place) => {
                    let acceptor = TlsAcceptor::from(config.load_full());
                    let shaken = shake(acceptor, stream, address, place);
                    tokio::spawn(hand_over(shaken, address, sender.clone()));
                }
                Err(crowding) => {
                    metrics.connection_refused(crowding);
                    if told.is_none_or(|told| told.elapsed() > TOLD) {
                        told = Some(Instant::now());
                        let reason = crowding.as_str();
                        tracing::warn!(%address, reason, "too many connections: some are turned away");
                    }
                }
            },
            Err(error) => {
                tracing::warn!(%error, "accepting");
                time::sleep(ACCEPT_PAUSE).await;
            }
        }
    }
}

async fn hand_over(
    shaken: impl Future<Output = io::Result<Accepted>>,
    address: SocketAddr,
    sender: mpsc::Sender<io::Result<Accepted>>,
) {
    match time::timeout(HANDSHAKE_DEADLINE, shaken).await {
        // Nobody takes it any more at the end.
        Ok(Ok(accepted)) => drop(sender.send(Ok(accepted)).await),
        Ok(Err(error)) => tracing::info!(%address, %error, "handshake"),
        Err(_) => tracing::info!(%address, "handshake took too long"),
    }
}

async fn shake(
    acceptor: TlsAcceptor,
    stream: TcpStream,
    address: SocketAddr,
    place: Place,
) -> io::Result<Accepted> {
    stream.set_nodelay(true)?;
    let stream = acceptor.accept(stream).await?;
    let certificates = stream.get_ref().1.peer_certificates();
    let shown = certificates.and_then(|chain| shown(chain, address));
    let proven = Arc::default();
    Ok(Accepted {
        stream: Prefaced::read(stream, Arc::clone(&proven), PROOF_DEADLINE).await?,
        peer: Peer {
            address,
            shown: shown.map(Arc::new),
            proven,
        },
        _place: place,
    })
}

/// A certificate that names no workload counts as none, and so does what no peer would take for an SVID.
fn shown(chain: &[CertificateDer<'_>], address: SocketAddr) -> Option<Shown> {
    let leaf = chain.first()?;
    tls::check_svid(leaf)
        .inspect_err(|error| tracing::info!(%address, %error, "client certificate"))
        .ok()?;
    let identity = spiffe_id(&EndEntityCert::try_from(leaf).ok()?)
        .inspect_err(|error| tracing::info!(%address, %error, "client certificate"))
        .ok()?;
    let (_, parsed) = X509Certificate::from_der(leaf).ok()?;
    Some(Shown {
        identity,
        not_after: authority::time(parsed.validity().not_after),
        chain: CertificateId::of_chain(chain),
    })
}

impl Connected for Accepted {
    type ConnectInfo = Peer;

    fn connect_info(&self) -> Peer {
        self.peer.clone()
    }
}

impl AsyncRead for Accepted {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_read(cx, buf)
    }
}

impl AsyncWrite for Accepted {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write(cx, buf)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}

#[cfg(test)]
mod tests;
