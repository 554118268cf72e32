//! Connections: TLS with client certificates, and what happens to connections as a whole.

mod connections;

use std::{
    collections::BTreeMap,
    net::{Ipv4Addr, SocketAddr},
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicU32, Ordering},
    },
    time::Duration,
};

use anyhow::{Context as _, Result};
use hyper::{server::conn::http1, service::service_fn};
use hyper_util::rt::TokioIo;
use rustls::{RootCertStore, ServerConfig, server::WebPkiClientVerifier};
use tokio::{net::TcpListener, sync::mpsc, time::timeout};
use tokio_rustls::TlsAcceptor;
use tokio_util::sync::CancellationToken;

use crate::{
    api,
    auth::{self, Tokens, User},
    control::{self, Counted, Order, Stats},
    faults::Faults,
    kubeconfig::{self, Credentials},
    pki::{self, Authority},
    request::Target,
    resources::Registry,
    status::{Status, qualified},
    store::Store,
};
pub use connections::Connections;

/// What a server is to be.
#[derive(Clone, Debug)]
pub struct Config {
    pub listen: SocketAddr,
    /// Where orders are taken; see [`Order`].
    pub admin: Option<SocketAddr>,
    /// Names in the certificate, beside localhost and the address.
    pub names: Vec<String>,
    /// Events that are kept of each resource.
    pub history: usize,
    /// Between bookmarks.
    pub bookmarks: Duration,
    /// How long a read waits for a version from the future.
    pub patience: Duration,
    pub streaming_lists: bool,
    /// Whether requests without credentials are `system:anonymous`; otherwise they get 401.
    pub anonymous: bool,
    pub issuer: String,
    /// Tokens that are known, with their users.
    pub tokens: Vec<(String, User)>,
    /// Whether pods that are deleted vanish after so long, as if a kubelet had ended them.
    pub kubelet: Option<Duration>,
    /// Whether Istio's custom resources are there from the start.
    pub istio: bool,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            listen: SocketAddr::from((Ipv4Addr::LOCALHOST, 0)),
            admin: None,
            names: Vec::new(),
            history: 10_000,
            bookmarks: Duration::from_secs(60),
            patience: Duration::from_secs(3),
            streaming_lists: true,
            anonymous: true,
            issuer: "https://kubernetes.default.svc.cluster.local".into(),
            tokens: Vec::new(),
            kubelet: None,
            istio: false,
        }
    }
}

/// All that requests share.
pub struct Cluster {
    pub options: Config,
    pub store: Store,
    pub registry: Registry,
    pub faults: Faults,
    pub tokens: Tokens,
    pub authority: Authority,
    requests: Mutex<BTreeMap<(String, &'static str, String), u64>>,
    services: AtomicU32,
}

impl Cluster {
    /// Waits until the store has this version.
    ///
    /// # Errors
    /// 504 when it doesn't come.
    pub async fn wait_for(&self, version: u64) -> Result<(), Status> {
        let mut changes = self.store.changes();
        let reached = changes.wait_for(|(_, reached)| *reached >= version);
        match timeout(self.options.patience, reached).await {
            Ok(_) => Ok(()),
            Err(_) => Err(Status::too_large(version, self.store.read().version)),
        }
    }

    pub fn count(&self, user: &User, target: &Target) {
        let resource = if target.is_resource {
            qualified(&target.group, &target.resource())
        } else {
            target.path.clone()
        };
        let mut requests = self.requests.lock().unwrap_or_else(PoisonError::into_inner);
        *requests
            .entry((user.name.clone(), target.verb, resource))
            .or_default() += 1;
    }

    pub fn counted(&self) -> Vec<Counted> {
        let requests = self.requests.lock().unwrap_or_else(PoisonError::into_inner);
        let counted = requests
            .iter()
            .map(|((user, verb, resource), count)| Counted {
                user: user.clone(),
                verb: (*verb).to_owned(),
                resource: resource.clone(),
                count: *count,
            });
        counted.collect()
    }

    /// Of 10.96.0.0/12, as kubeadm has it. None is given twice.
    pub fn next_service_address(&self) -> Ipv4Addr {
        let next = self.services.fetch_add(1, Ordering::Relaxed);
        Ipv4Addr::from_bits(Ipv4Addr::new(10, 96, 0, 10).to_bits() + (next & 0xf_ffff))
    }
}

/// What a running server consists of.
pub struct Running {
    pub cluster: Arc<Cluster>,
    pub connections: Connections,
    acceptor: TlsAcceptor,
    away: mpsc::Sender<Duration>,
}

/// A running server; it stops when this is dropped. Belongs to the tokio runtime that it was started on.
pub struct Server {
    running: Arc<Running>,
    address: SocketAddr,
    admin: Option<SocketAddr>,
    stop: CancellationToken,
}

impl Server {
    /// # Errors
    /// When an address can't be used.
    pub async fn start(config: Config) -> Result<Self> {
        let listener = TcpListener::bind(config.listen).await;
        let listener = listener.with_context(|| format!("listening on {}", config.listen))?;
        let address = listener.local_addr()?;
        let admin = match config.admin {
            Some(admin) => Some(
                TcpListener::bind(admin)
                    .await
                    .with_context(|| format!("listening on {admin}"))?,
            ),
            None => None,
        };
        let admin_address = admin.as_ref().map(TcpListener::local_addr).transpose()?;
        let cluster = Arc::new(cluster(config)?);
        auth::bootstrap(&cluster)?;
        let acceptor = acceptor(&cluster, address)?;
        let (away, leave) = mpsc::channel(1);
        let connections = Connections::default();
        let running = Arc::new(Running {
            cluster,
            connections,
            acceptor,
            away,
        });
        if running.cluster.options.istio {
            running.order(Order::IstioResources(true)).await?;
        }
        let stop = CancellationToken::new();
        tokio::spawn(stop.clone().run_until_cancelled_owned(accept(
            Arc::clone(&running),
            listener,
            leave,
        )));
        if let Some(listener) = admin {
            let admin = control::serve(listener, Arc::clone(&running));
            tokio::spawn(stop.clone().run_until_cancelled_owned(admin));
        }
        Ok(Self {
            running,
            address,
            admin: admin_address,
            stop,
        })
    }

    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    #[must_use]
    pub fn admin(&self) -> Option<SocketAddr> {
        self.admin
    }

    /// # Errors
    /// When what is ordered can't be done.
    pub async fn order(&self, order: Order) -> Result<()> {
        Ok(self.running.order(order).await?)
    }

    #[must_use]
    pub fn stats(&self) -> Stats {
        self.running.stats()
    }

    /// A kubeconfig with a client certificate.
    ///
    /// # Errors
    /// When no certificate can be made.
    pub fn kubeconfig(&self, user: &str, groups: &[&str]) -> Result<String> {
        let groups: Vec<String> = groups.iter().map(|group| (*group).to_owned()).collect();
        let certified = self.running.cluster.authority.client(user, &groups)?;
        Ok(self.described(&Credentials::Certificate(certified)))
    }

    /// A kubeconfig with a bearer token.
    #[must_use]
    pub fn kubeconfig_with_token(&self, token: &str) -> String {
        self.described(&Credentials::Token(token.to_owned()))
    }

    fn described(&self, credentials: &Credentials) -> String {
        let root = self.running.cluster.authority.root_pem();
        kubeconfig::document(self.address, root, credentials).to_string()
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.stop.cancel();
        self.running.connections.reset();
    }
}

fn cluster(config: Config) -> Result<Cluster> {
    Ok(Cluster {
        store: Store::new(config.history),
        registry: Registry::default(),
        faults: Faults::new(config.streaming_lists),
        tokens: Tokens::new(&config.issuer)?,
        authority: Authority::new()?,
        requests: Mutex::default(),
        services: AtomicU32::new(0),
        options: config,
    })
}

fn acceptor(cluster: &Cluster, address: SocketAddr) -> Result<TlsAcceptor> {
    let mut names = vec![
        "localhost".to_owned(),
        "kubernetes.default.svc".to_owned(),
        address.ip().to_string(),
    ];
    names.extend([
        "127.0.0.1".to_owned(),
        "::1".to_owned(),
        "10.96.0.1".to_owned(),
    ]);
    names.extend(cluster.options.names.iter().cloned());
    names.sort();
    names.dedup();
    let (chain, key) = cluster.authority.server(&names)?.chain()?;
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let mut roots = RootCertStore::empty();
    roots.add(cluster.authority.root()?)?;
    let verifier =
        WebPkiClientVerifier::builder_with_provider(Arc::new(roots), Arc::clone(&provider));
    let verifier = verifier.allow_unauthenticated().build()?;
    let mut config = ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()?
        .with_client_cert_verifier(verifier)
        .with_single_cert(chain, key)?;
    config.alpn_protocols = vec![b"http/1.1".to_vec()];
    Ok(TlsAcceptor::from(Arc::new(config)))
}

async fn accept(running: Arc<Running>, listener: TcpListener, mut leave: mpsc::Receiver<Duration>) {
    let Ok(address) = listener.local_addr() else {
        return;
    };
    let mut listener = Some(listener);
    loop {
        let Some(current) = &listener else {
            listener = TcpListener::bind(address).await.ok();
            tokio::time::sleep(Duration::from_millis(10)).await;
            continue;
        };
        tokio::select! {
            accepted = current.accept() => {
                if let Ok((stream, _)) = accepted {
                    tokio::spawn(converse(Arc::clone(&running), stream));
                }
            }
            time = leave.recv() => {
                let Some(time) = time else { return };
                listener = None;
                running.connections.reset();
                tokio::time::sleep(time).await;
            }
        }
    }
}

async fn converse(running: Arc<Running>, stream: tokio::net::TcpStream) {
    let _ = stream.set_nodelay(true);
    let Some(_kept) = running.connections.keep(&stream) else {
        return;
    };
    let handshake = timeout(Duration::from_secs(10), running.acceptor.accept(stream));
    let Ok(Ok(stream)) = handshake.await else {
        return;
    };
    let certificates = stream.get_ref().1.peer_certificates();
    let certified = certificates
        .and_then(|chain| chain.first())
        .and_then(pki::named);
    let service =
        service_fn(|request| api::serve(Arc::clone(&running.cluster), certified.clone(), request));
    let mut builder = http1::Builder::new();
    builder.half_close(true).header_read_timeout(None);
    let _ = builder
        .serve_connection(TokioIo::new(stream), service)
        .await;
}

impl Running {
    pub async fn leave(&self, time: Duration) {
        // Fails only when the server stops anyway.
        let _ = self.away.send(time).await;
    }
}
