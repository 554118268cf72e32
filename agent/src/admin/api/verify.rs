//! What was on the wire of this node's pods: `sealane verify` and its record for audits.

use std::net::SocketAddr;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::Direction;

/// What the verdicts say, and what they don't.
pub const PROVES: &str =
    "TLS record framing and handshake presence on the wire of the pod, not cryptography";

/// `GET /v1/verify`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Verification {
    pub time: Timestamp,
    pub node: String,
    /// Of the objects and policy in force.
    pub generation: u64,
    /// [`PROVES`].
    pub proves: String,
    pub encrypted: u64,
    pub plaintext: u64,
    pub unknown: u64,
    /// Pods whose wire is not watched, with the reason: nothing is known of their connections.
    #[serde(default)]
    pub unwatched: Vec<Unwatched>,
    pub flows: Vec<WireFlow>,
}

/// A pod without attestation.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Unwatched {
    /// `NAMESPACE/NAME`.
    pub workload: String,
    pub why: String,
}

/// A live connection, as a pod's interface has it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct WireFlow {
    /// `NAMESPACE/NAME`, of this node.
    pub workload: String,
    pub identity: String,
    /// Of the connection; `None`: nobody saw who opened it.
    pub direction: Option<Direction>,
    pub local: SocketAddr,
    pub remote: SocketAddr,
    /// Whose the remote address is.
    pub peer: Option<String>,
    /// The SPIFFE ID that the peer has proven to this agent in the connection's handshake.
    pub peer_identity: Option<String>,
    /// The SPIFFE ID of the pod that has the remote address.
    pub expected_identity: Option<String>,
    /// Peer authentication of the server's port, where the server is known.
    pub policy: Option<String>,
    /// The document that says so; `None` for the built-in default.
    #[serde(default)]
    pub policy_document: Option<String>,
    pub sent: WireCounts,
    pub received: WireCounts,
    pub verdict: Verdict,
    /// Why it is UNKNOWN.
    pub reason: Option<String>,
    /// Of the agent's table, if it goes through the agent.
    pub connection: Option<u64>,
    pub idle_seconds: u64,
}

/// One direction. Bytes are of TCP payload; retransmissions are counted once.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct WireCounts {
    pub records: u64,
    /// Of records, with their headers.
    pub tls_bytes: u64,
    pub plaintext_bytes: u64,
    pub unclassified_bytes: u64,
    /// Sent again; other content under the same sequence numbers would go unnoticed.
    pub repeated_bytes: u64,
}

/// What a connection was on the wire.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "UPPERCASE")]
pub enum Verdict {
    Encrypted,
    Plaintext,
    Unknown,
}

/// How the wire of this node's pods is watched.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Attestation {
    /// Pods whose wire is watched.
    pub watched: u64,
    /// `tcx` or `clsact`.
    pub methods: Vec<String>,
    #[serde(default)]
    pub unwatched: Vec<Unwatched>,
}

impl Verdict {
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Encrypted => "ENCRYPTED",
            Self::Plaintext => "PLAINTEXT",
            Self::Unknown => "UNKNOWN",
        }
    }
}
