//! What goes over the agent's Unix socket, for both ends. Fields are added, never renamed.

mod authority;
mod capture;
mod gateway;
mod verify;

use std::{
    collections::BTreeMap,
    net::{IpAddr, SocketAddr},
};

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

pub use authority::{CaKeys, CaRoot, CaRotation, CaStatus};

use crate::control::SourceText;
pub use capture::{CaptureQuestion, PACKETS, SNAPLEN};
pub use gateway::{Credential, GATEWAY, GatewayServer, GatewayStatus, Listener};
pub use verify::{Attestation, PROVES, Unwatched, Verdict, Verification, WireCounts, WireFlow};

/// `GET /v1/status`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Status {
    pub version: String,
    pub node: String,
    pub ready: bool,
    /// What is missing before the agent is ready.
    #[serde(default)]
    pub unready: Vec<String>,
    pub started_at: Timestamp,
    pub uptime_seconds: u64,
    pub trust_domain: String,
    /// Of the objects and policy in force; 0 before the first.
    pub generation: u64,
    pub source: Source,
    pub ca: Authority,
    /// Besides the own CA.
    #[serde(default)]
    pub trusted: Vec<Trusted>,
    pub capture: Capture,
    #[serde(default)]
    pub kernel_tls: KernelTls,
    #[serde(default)]
    pub kubelet: Kubelet,
    pub workloads: Vec<Workload>,
    /// Objects left out because another one has their address.
    #[serde(default)]
    pub conflicts: Vec<String>,
    #[serde(default)]
    pub limits: Vec<Limit>,
}

/// Where the objects come from.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Source {
    pub dir: String,
    /// When the generation in force was loaded.
    pub loaded_at: Option<Timestamp>,
    /// Why the latest state of the directory is not in force: with file, line and field.
    #[serde(default)]
    pub errors: Vec<String>,
    #[serde(default)]
    pub warnings: Vec<String>,
    /// Namespaces whose policy documents are not in force as they are.
    #[serde(default)]
    pub held_back: Vec<HeldBack>,
    /// Pods of this node that run and whose processes aren't found: they are not captured.
    #[serde(default)]
    pub not_found: Vec<NotFound>,
}

/// A namespace with documents that can't be used.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct HeldBack {
    pub namespace: String,
    /// Its documents are for the whole mesh.
    pub mesh_wide: bool,
    /// They have never been usable since the agent was started: connections to its workloads are refused. Otherwise
    /// what they said last is in force.
    pub closed: bool,
    /// One of those in `errors`.
    pub error: String,
}

/// A pod that is not captured because it isn't found.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct NotFound {
    /// `NAMESPACE/NAME`.
    pub pod: String,
    pub since: Timestamp,
    /// With what to do about it.
    pub reason: String,
}

/// The CA.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Authority {
    /// Whether the last attempt for each identity succeeded.
    pub healthy: bool,
    /// Of the CA service; `None` for the embedded CA.
    #[serde(default)]
    pub address: Option<String>,
    /// When the first certificate on the way to the root expires.
    pub root_not_after: Option<Timestamp>,
    #[serde(default)]
    pub error: Option<String>,
}

/// The programs in the kernel.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Capture {
    pub attached: bool,
    #[serde(default)]
    pub programs: Vec<String>,
    /// What is on the wire of the pods is looked at.
    #[serde(default)]
    pub attestation: Attestation,
}

/// Where roots of another trust domain, or revocations, come from.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Trusted {
    /// A trust domain, or `revocation list`.
    pub what: String,
    pub source: String,
    /// Roots, or revoked certificates.
    pub entries: usize,
    pub error: Option<String>,
}

/// What the kernel's TLS can on this node, and how far it is used.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct KernelTls {
    /// `auto`, `copy` or `off`.
    pub mode: String,
    /// Those that work in both directions, the fastest first. None: TLS is done in the agent.
    pub ciphers: Vec<Cipher>,
    pub splice: bool,
    /// Whether keys of a connection can be changed.
    pub rekey: bool,
    /// The kernel's driver for AES-GCM.
    #[serde(default)]
    pub aes_driver: Option<String>,
    /// What is missing, with the reason.
    #[serde(default)]
    pub missing: Vec<String>,
}

/// A cipher suite and its speed through both ends of a connection, as measured at start.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Cipher {
    pub suite: String,
    pub bytes_per_second: u64,
}

/// Whose probes are let through.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Kubelet {
    /// In which it makes its connections, as the agent sees it.
    pub cgroup: Option<String>,
    /// Why nobody is taken for it.
    pub error: Option<String>,
}

/// A pod of this node that belongs to the mesh.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Workload {
    /// `NAMESPACE/NAME`.
    pub name: String,
    pub identity: String,
    pub addresses: Vec<IpAddr>,
    pub netns: Option<String>,
    pub state: WorkloadState,
    /// Why it isn't enrolled.
    #[serde(default)]
    pub error: Option<String>,
    /// Peer authentication of ports without one of their own: STRICT, PERMISSIVE or DISABLE.
    pub mode: String,
    /// The document that says so; `None` for the built-in default.
    #[serde(default)]
    pub policy: Option<String>,
    /// Peer authentication of single ports.
    #[serde(default)]
    pub ports: BTreeMap<u16, String>,
    /// Ports on which the kubelet is let through in clear, whatever policy says.
    #[serde(default)]
    pub probes: Vec<u16>,
    /// Open at this moment.
    pub connections: u64,
}

/// How far a pod is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum WorkloadState {
    Pending,
    Enrolled,
    Failed,
}

/// Something of which there is only so much.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Limit {
    pub name: String,
    pub used: u64,
    pub limit: u64,
}

/// `GET /v1/connections`: one that goes through the agent now.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Connection {
    pub id: u64,
    pub direction: Direction,
    pub state: ConnectionState,
    pub source: SocketAddr,
    /// SPIFFE ID, where it was proven.
    pub source_principal: Option<String>,
    /// As the client asked for it.
    pub destination: SocketAddr,
    pub destination_service: Option<String>,
    /// `NAMESPACE/NAME`.
    pub destination_workload: Option<String>,
    pub destination_principal: Option<String>,
    pub security: Security,
    /// How the bytes move: ktls_splice, ktls_copy, ktls_transmit, userspace_tls or copy (plaintext); empty before
    /// that is known.
    pub transport: String,
    pub tls_version: Option<String>,
    pub cipher: Option<String>,
    /// Peer authentication of the port.
    pub mode: String,
    pub opened_at: Timestamp,
    /// From the server to the client.
    pub sent_bytes: u64,
    /// From the client to the server.
    pub received_bytes: u64,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Direction {
    Inbound,
    Outbound,
}

/// The phase of a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ConnectionState {
    /// Waiting for the client's first bytes.
    Detecting,
    Handshaking,
    /// Dialling the application or the peer.
    Connecting,
    Open,
    /// One direction has ended.
    HalfClosed,
    Draining,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Security {
    MutualTls,
    /// With a server that is not of the mesh.
    Tls,
    Plaintext,
    /// The kubelet's, in clear where policy lets nobody else's through.
    Probe,
}

/// `GET /v1/certs`: the SVID of one identity. Never holds a key.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Certificate {
    pub identity: String,
    pub state: CertificateState,
    /// Of the leaf, in lower-case hexadecimal.
    pub serial: Option<String>,
    pub not_before: Option<Timestamp>,
    pub not_after: Option<Timestamp>,
    /// Distinguished name.
    #[serde(default)]
    pub issuer: Option<String>,
    /// Of its key, such as `ECDSA P-256`.
    #[serde(default)]
    pub algorithm: Option<String>,
    /// When the next attempt to renew it comes.
    pub refresh_at: Timestamp,
    /// Why the last attempt failed.
    #[serde(default)]
    pub last_error: Option<String>,
    /// The chain, without the root.
    #[serde(default)]
    pub pem: Option<String>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum CertificateState {
    Valid,
    Expired,
    Missing,
}

/// `POST /v1/policy-diff`: what a candidate would make of the flows of the last while. Changes nothing.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PolicyDiff {
    /// The candidate: one set of documents.
    pub files: Vec<SourceText>,
    /// Whether the candidate is all policy there is, rather than laid over what is in force.
    #[serde(default)]
    pub replace: bool,
    pub last_seconds: u64,
}

/// Bytes of a question at most.
pub const MAX_QUESTION: usize = 8 << 20;

/// What is wrong with a question, with status 422.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Complaint {
    pub error: String,
}

impl WorkloadState {
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Pending => "pending",
            Self::Enrolled => "enrolled",
            Self::Failed => "failed",
        }
    }
}

impl Direction {
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Inbound => "inbound",
            Self::Outbound => "outbound",
        }
    }
}

impl Security {
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::MutualTls => "mutual_tls",
            Self::Tls => "tls",
            Self::Plaintext => "plaintext",
            Self::Probe => "probe",
        }
    }
}

impl CertificateState {
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Valid => "valid",
            Self::Expired => "expired",
            Self::Missing => "missing",
        }
    }
}
