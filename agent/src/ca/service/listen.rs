//! TLS in front of the method, within bounds: connections, handshakes and requests have deadlines.

use std::{
    io,
    net::SocketAddr,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
    time::{Duration, SystemTime},
};

use rustls::{
    RootCertStore, ServerConfig,
    crypto::aws_lc_rs,
    server::{NoServerSessionStorage, WebPkiClientVerifier},
};
use rustls_pki_types::CertificateDer;
use tokio::{
    io::{AsyncRead, AsyncWrite, ReadBuf},
    net::{TcpListener, TcpStream},
    sync::{OwnedSemaphorePermit, Semaphore, mpsc},
    time,
};
use tokio_rustls::{TlsAcceptor, server::TlsStream};
use tokio_stream::wrappers::ReceiverStream;
use tokio_util::sync::CancellationToken;
use tonic::transport::{Server, server::Connected};
use webpki::EndEntityCert;
use x509_parser::{certificate::X509Certificate, prelude::FromDer};

use super::{CaService, method::Method, own::OwnCertificate};
use crate::{
    ca::{CaError, EmbeddedCa, authority},
    identity::{SpiffeId, spiffe_id},
};

/// One for each agent, and as many again that are being replaced.
const CONNECTIONS: usize = 8192;
const HANDSHAKE_DEADLINE: Duration = Duration::from_secs(10);
const REQUEST_DEADLINE: Duration = Duration::from_secs(10);
/// Requests of one connection at a time. Clients may begin with a hundred before they hear of a limit (RFC 9113,
/// section 6.5.2).
const STREAMS: u32 = 256;
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
    /// Of the client's certificate, verified against the CA's own roots, and when that expires.
    identity: Option<(SpiffeId, SystemTime)>,
}

impl Peer {
    /// Who the client's certificate says it is, while that is valid: connections may last longer.
    pub(super) fn identity(&self, now: SystemTime) -> Option<&SpiffeId> {
        let (identity, not_after) = self.identity.as_ref()?;
        (now < *not_after).then_some(identity)
    }
}

/// A connection after its handshake, and the place that it takes.
struct Accepted {
    stream: TlsStream<TcpStream>,
    peer: Peer,
    _place: OwnedSemaphorePermit,
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
    let acceptor = TlsAcceptor::from(Arc::new(config(&ca, own)?));
    let (sender, incoming) = mpsc::channel(1);
    let accepting = accept(listener, acceptor, sender, stop.clone());
    let served = Server::builder()
        .timeout(REQUEST_DEADLINE)
        .max_concurrent_streams(STREAMS)
        .max_connection_age(CONNECTION_AGE)
        .http2_keepalive_interval(Some(KEEPALIVE))
        .http2_keepalive_timeout(Some(KEEPALIVE_DEADLINE))
        .serve_with_incoming_shutdown(
            Method(Arc::new(service)),
            ReceiverStream::new(incoming),
            stop.clone().cancelled_owned(),
        );
    let ended = async {
        stop.cancelled().await;
        time::sleep(LAST_WORDS).await;
    };
    tokio::select! {
        () = renew => {}
        () = ended => {}
        (served, ()) = async { tokio::join!(served, accepting) } => {
            if let Err(error) = served {
                tracing::error!(%error, "the CA's server has ended");
            }
        }
    }
    Ok(())
}

fn config(ca: &EmbeddedCa, own: Arc<OwnCertificate>) -> Result<ServerConfig, CaError> {
    let provider = Arc::new(aws_lc_rs::default_provider());
    let mut roots = RootCertStore::empty();
    for root in ca.roots() {
        roots.add(root.clone())?;
    }
    let verifier =
        WebPkiClientVerifier::builder_with_provider(Arc::new(roots), Arc::clone(&provider))
            .allow_unauthenticated()
            .build()
            .map_err(|error| rustls::Error::General(error.to_string()))?;
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
    acceptor: TlsAcceptor,
    sender: mpsc::Sender<io::Result<Accepted>>,
    stop: CancellationToken,
) {
    let room = Arc::new(Semaphore::new(CONNECTIONS));
    loop {
        let place = tokio::select! {
            () = stop.cancelled() => return,
            place = Arc::clone(&room).acquire_owned() => place,
        };
        // The semaphore is never closed.
        let Ok(place) = place else { return };
        let accepted = tokio::select! {
            () = stop.cancelled() => return,
            accepted = listener.accept() => accepted,
        };
        match accepted {
            Ok((stream, address)) => {
                let shaken = shake(acceptor.clone(), stream, address, place);
                tokio::spawn(hand_over(shaken, address, sender.clone()));
            }
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
    place: OwnedSemaphorePermit,
) -> io::Result<Accepted> {
    stream.set_nodelay(true)?;
    let stream = acceptor.accept(stream).await?;
    let certificates = stream.get_ref().1.peer_certificates();
    let leaf = certificates.and_then(<[_]>::first);
    let identity = leaf.and_then(|leaf| identity(leaf, address));
    Ok(Accepted {
        stream,
        peer: Peer { address, identity },
        _place: place,
    })
}

/// A certificate that names no workload counts as none.
fn identity(leaf: &CertificateDer<'_>, address: SocketAddr) -> Option<(SpiffeId, SystemTime)> {
    let identity = spiffe_id(&EndEntityCert::try_from(leaf).ok()?)
        .inspect_err(|error| tracing::info!(%address, %error, "client certificate"))
        .ok()?;
    let (_, parsed) = X509Certificate::from_der(leaf).ok()?;
    Some((identity, authority::time(parsed.validity().not_after)))
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
