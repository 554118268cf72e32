use std::{os::unix::fs::PermissionsExt, path::Path, sync::Arc, time::Duration};

use hyper_util::rt::TokioIo;
use tokio::{
    io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt},
    net::{TcpListener, TcpStream, UnixStream},
    time::timeout,
};
use tokio_util::sync::CancellationToken;

use super::*;
use crate::control;

/// An agent that is ready, or lacks a policy.
pub(crate) struct Stub {
    pub(crate) ready: bool,
    pub(crate) degraded: &'static [&'static str],
}

impl Stub {
    pub(crate) fn new(ready: bool) -> Self {
        let degraded = &[];
        Self { ready, degraded }
    }
}

fn source() -> api::Source {
    api::Source {
        dir: "/objects".into(),
        loaded_at: Some(jiff::Timestamp::UNIX_EPOCH),
        errors: vec!["pods.yaml:3: spec.mtls.mode: unknown variant".into()],
        warnings: vec![],
        held_back: vec![api::HeldBack {
            namespace: "blog".into(),
            mesh_wide: false,
            closed: true,
            error: "spec".into(),
        }],
        not_found: vec![api::NotFound {
            pod: "shop/lost".into(),
            since: jiff::Timestamp::UNIX_EPOCH,
            reason: "no cgroup".into(),
        }],
    }
}

fn kernel_tls() -> api::KernelTls {
    api::KernelTls {
        mode: "auto".into(),
        ciphers: vec![api::Cipher {
            suite: "TLS13_AES_128_GCM_SHA256".into(),
            bytes_per_second: 2_000_000_000,
        }],
        splice: true,
        rekey: false,
        aes_driver: Some("generic-gcm-aesni".into()),
        missing: vec!["rekey: busy".into()],
    }
}

impl Inspect for Stub {
    fn status(&self) -> api::Status {
        api::Status {
            version: "1.2.3".into(),
            node: "node-a".into(),
            ready: self.ready,
            unready: self.unready(),
            started_at: jiff::Timestamp::UNIX_EPOCH,
            uptime_seconds: 3725,
            trust_domain: "cluster.local".into(),
            generation: 7,
            source: source(),
            ca: api::Authority {
                healthy: true,
                address: None,
                root_not_after: None,
                error: None,
            },
            trusted: vec![api::Trusted {
                what: "other.example".into(),
                source: "/other.pem".into(),
                entries: 2,
                error: Some("not PEM".into()),
            }],
            capture: api::Capture {
                attached: true,
                programs: vec!["connect4".into()],
                attestation: api::Attestation::default(),
            },
            kernel_tls: kernel_tls(),
            kubelet: api::Kubelet {
                cgroup: Some("/host/cgroup/system.slice/kubelet.service".into()),
                error: None,
            },
            workloads: vec![api::Workload {
                name: "shop/web".into(),
                identity: "spiffe://cluster.local/ns/shop/sa/web".into(),
                addresses: vec!["10.0.0.1".parse().unwrap(), "fd00::1".parse().unwrap()],
                netns: None,
                state: api::WorkloadState::Enrolled,
                error: None,
                mode: "STRICT".into(),
                policy: Some("PeerAuthentication/shop/default".into()),
                ports: [(8443, "DISABLE".to_owned())].into(),
                probes: vec![8080, 9090],
                connections: 2,
            }],
            conflicts: vec![],
            limits: vec![],
        }
    }

    fn capture(&self, question: &api::CaptureQuestion) -> Result<Recording, String> {
        if question.workload != "shop/web" {
            return Err(format!("no pod {}", question.workload));
        }
        let text = format!("{}, {}", question.filter, question.snaplen);
        Ok(Box::new(move |mut stream| {
            Box::pin(async move {
                let mut stream = TokioIo::new(&mut stream);
                stream.write_all(text.as_bytes()).await.unwrap();
            })
        }))
    }

    fn verify(&self, workload: Option<&str>) -> Result<api::Verification, String> {
        match workload {
            Some(workload) => Err(format!("no pod {workload}")),
            None => Ok(api::Verification {
                time: jiff::Timestamp::UNIX_EPOCH,
                node: "node-a".into(),
                generation: 7,
                proves: api::PROVES.into(),
                encrypted: 0,
                plaintext: 0,
                unknown: 0,
                unwatched: vec![],
                flows: vec![],
            }),
        }
    }

    fn connections(&self) -> Vec<api::Connection> {
        vec![api::Connection {
            id: 9,
            direction: api::Direction::Inbound,
            state: api::ConnectionState::Open,
            source: "10.0.0.2:4711".parse().unwrap(),
            source_principal: None,
            destination: "[fd00::1]:80".parse().unwrap(),
            destination_service: Some("web.shop.svc.cluster.local".into()),
            destination_workload: None,
            destination_principal: None,
            security: api::Security::Plaintext,
            transport: "ktls_splice".into(),
            tls_version: None,
            cipher: None,
            mode: "PERMISSIVE".into(),
            opened_at: jiff::Timestamp::UNIX_EPOCH,
            sent_bytes: 2048,
            received_bytes: 10,
        }]
    }

    fn certificates(&self) -> Vec<api::Certificate> {
        vec![api::Certificate {
            identity: "spiffe://cluster.local/ns/shop/sa/web".into(),
            state: api::CertificateState::Missing,
            serial: None,
            not_before: None,
            not_after: None,
            issuer: None,
            algorithm: None,
            refresh_at: jiff::Timestamp::UNIX_EPOCH,
            last_error: Some("the CA is away".into()),
            pem: None,
        }]
    }

    fn explain(&self, client: &str, _server: &str) -> Result<Explanation, TargetError> {
        Err(TargetError::Form(client.to_owned()))
    }

    fn tls_check(
        &self,
        _client: Option<&str>,
        _server: Option<&str>,
    ) -> Result<Vec<TlsRow>, TargetError> {
        Ok(Vec::new())
    }

    fn authz_check(&self, _workload: &str) -> Result<Vec<Authorized>, TargetError> {
        Ok(Vec::new())
    }

    fn flows(&self, last: Duration) -> Flows {
        Flows {
            window_seconds: last.as_secs(),
            ..Flows::default()
        }
    }

    fn policy_diff(&self, question: &api::PolicyDiff) -> Result<Diff, LoadErrors> {
        control::Candidate::read(&question.files).map(|_| Diff::default())
    }
}

impl Health for Stub {
    fn unready(&self) -> Vec<String> {
        if self.ready {
            vec![]
        } else {
            vec!["no policy was loaded".into(), "no CA".into()]
        }
    }

    fn degraded(&self) -> Vec<String> {
        self.degraded.iter().map(ToString::to_string).collect()
    }

    fn metrics(&self) -> String {
        "sealane_build_info 1\n".into()
    }
}

async fn over_http(ready: bool) -> (std::net::SocketAddr, CancellationToken) {
    serving(Stub::new(ready)).await
}

async fn serving(stub: Stub) -> (std::net::SocketAddr, CancellationToken) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let stop = CancellationToken::new();
    tokio::spawn(serve_http(listener, Arc::new(stub), stop.clone()));
    (address, stop)
}

/// The whole response to a request.
async fn exchange(mut stream: impl AsyncRead + AsyncWrite + Unpin, path: &str) -> String {
    let request = format!("GET {path} HTTP/1.1\r\nHost: sealane\r\n\r\n");
    stream.write_all(request.as_bytes()).await.unwrap();
    let mut response = String::new();
    let read = stream.read_to_string(&mut response);
    timeout(Duration::from_secs(5), read)
        .await
        .unwrap()
        .unwrap();
    response
}

async fn get(address: std::net::SocketAddr, path: &str) -> String {
    exchange(TcpStream::connect(address).await.unwrap(), path).await
}

#[tokio::test]
async fn http_tells_metrics_health_and_readiness() {
    let (address, _stop) = over_http(true).await;
    let metrics = get(address, "/metrics").await;
    assert!(metrics.contains("content-type: text/plain; version=0.0.4; charset=utf-8\r\n"));
    assert!(metrics.ends_with("sealane_build_info 1\n"));
    assert!(get(address, "/healthz").await.starts_with("HTTP/1.1 200"));
    assert!(get(address, "/readyz").await.ends_with("\r\n\r\nready\n"));
    assert!(get(address, "/v1/status").await.starts_with("HTTP/1.1 404"));
}

#[tokio::test]
async fn readiness_names_what_does_not_work_all_the_same() {
    let (ready, degraded) = (true, &["policy: namespace blog", "pod lost"]);
    let (address, _stop) = serving(Stub { ready, degraded }).await;
    let response = get(address, "/readyz").await;
    assert!(response.starts_with("HTTP/1.1 200"), "{response}");
    assert!(
        response.ends_with("ready, but:\n- policy: namespace blog\n- pod lost\n"),
        "{response}"
    );
}

#[tokio::test]
async fn unreadiness_names_what_is_missing() {
    let (address, _stop) = over_http(false).await;
    let response = get(address, "/readyz").await;
    assert!(response.starts_with("HTTP/1.1 503"), "{response}");
    assert!(
        response.ends_with("not ready:\n- no policy was loaded\n- no CA\n"),
        "{response}"
    );
}

#[tokio::test]
async fn clients_that_say_nothing_are_let_go_and_do_not_keep_others_out() {
    let (address, _stop) = over_http(true).await;
    let mut silent = Vec::new();
    for _ in 0..40 {
        silent.push(TcpStream::connect(address).await.unwrap());
    }
    // More than there is room for: the answer comes when the silent ones have run into their deadline.
    let mut stream = TcpStream::connect(address).await.unwrap();
    stream
        .write_all(b"GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n")
        .await
        .unwrap();
    let mut response = Vec::new();
    let read = stream.read_to_end(&mut response);
    timeout(Duration::from_secs(20), read)
        .await
        .unwrap()
        .unwrap();
    assert!(response.starts_with(b"HTTP/1.1 200"));
}

#[tokio::test]
async fn stopping_closes_the_listener() {
    let (address, stop) = over_http(true).await;
    get(address, "/healthz").await;
    stop.cancel();
    timeout(Duration::from_secs(5), async {
        while TcpStream::connect(address).await.is_ok() {
            tokio::task::yield_now().await;
        }
    })
    .await
    .unwrap();
}

#[tokio::test]
async fn the_socket_is_private_answers_in_json_and_goes_with_the_agent() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("run/agent.sock");
    let stop = CancellationToken::new();
    let socket = AdminSocket::bind(&path).unwrap();
    let serving = tokio::spawn(socket.serve(Arc::new(Stub::new(true)), stop.clone()));
    let mode = |p: &Path| std::fs::metadata(p).unwrap().permissions().mode() & 0o777;
    assert_eq!(mode(&path), 0o600);
    let response = exchange(UnixStream::connect(&path).await.unwrap(), "/v1/status").await;
    let (_, body) = response.split_once("\r\n\r\n").unwrap();
    let status: api::Status = serde_json::from_str(body).unwrap();
    assert_eq!(status, Stub::new(true).status());
    stop.cancel();
    serving.await.unwrap();
    assert!(!path.exists());
    assert_eq!(
        std::fs::read_dir(path.parent().unwrap()).unwrap().count(),
        0
    );
}

#[tokio::test]
async fn only_a_dead_socket_is_replaced() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("agent.sock");
    drop(std::os::unix::net::UnixListener::bind(&path).unwrap());
    assert!(path.exists());
    let live = AdminSocket::bind(&path).unwrap();
    let second = AdminSocket::bind(&path);
    assert!(
        matches!(second, Err(SocketError::InUse { .. })),
        "{second:?}"
    );
    assert!(path.exists());
    drop(live);
    std::fs::write(&path, "a file").unwrap();
    assert!(matches!(
        AdminSocket::bind(&path),
        Err(SocketError::NotSocket { .. })
    ));
}

#[tokio::test]
async fn a_successors_socket_is_left_alone() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("agent.sock");
    let first = AdminSocket::bind(&path).unwrap();
    std::fs::remove_file(&path).unwrap();
    let second = AdminSocket::bind(&path).unwrap();
    drop(first);
    assert!(path.exists());
    drop(second);
    assert!(!path.exists());
}
