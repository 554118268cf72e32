//! What a gateway tells.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::{KernelTls, Limit, Source, Trusted};

/// `role` of a gateway's status. An agent's has none.
pub const GATEWAY: &str = "gateway";

/// `GET /v1/status` of a gateway.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct GatewayStatus {
    /// [`GATEWAY`].
    pub role: String,
    pub version: String,
    /// `NAMESPACE/NAME` of its own.
    pub pod: String,
    pub ready: bool,
    /// What is missing before it is ready.
    #[serde(default)]
    pub unready: Vec<String>,
    pub started_at: Timestamp,
    pub uptime_seconds: u64,
    /// Of the objects in force; 0 before the first.
    pub generation: u64,
    /// When documents, certificates or revocations came into force last.
    pub changed_at: Option<Timestamp>,
    /// Whether its pod is in the mesh; `None` before that is known.
    pub enrolled: Option<bool>,
    pub listeners: Vec<Listener>,
    pub servers: Vec<GatewayServer>,
    pub credentials: Vec<Credential>,
    /// What keeps it from doing what documents say, and doesn't keep it from being ready.
    #[serde(default)]
    pub problems: Vec<String>,
    pub source: Source,
    /// Revocation lists.
    #[serde(default)]
    pub trusted: Vec<Trusted>,
    #[serde(default)]
    pub kernel_tls: KernelTls,
    /// Open at this moment.
    pub connections: u64,
    #[serde(default)]
    pub limits: Vec<Limit>,
}

/// A port.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Listener {
    /// As clients know it.
    pub port: u16,
    /// Where the gateway listens for it.
    pub listen: u16,
    /// `HTTP`, `TCP` or `TLS`.
    pub protocol: String,
    /// Why it isn't open.
    #[serde(default)]
    pub error: Option<String>,
}

/// A server of a `Gateway`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct GatewayServer {
    /// The document.
    pub gateway: String,
    pub port: u16,
    pub hosts: Vec<String>,
    /// `redirect`, `HTTP`, `TCP`, `PASSTHROUGH`, `SIMPLE`, `MUTUAL` or `OPTIONAL_MUTUAL`.
    pub mode: String,
    pub credential: Option<String>,
}

/// Certificate and key of servers. Never holds a key.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Credential {
    /// Of the Secret, or of the file with the certificate.
    pub name: String,
    /// Whether its servers take connections.
    pub in_force: bool,
    /// Of the certificate in force.
    pub not_after: Option<Timestamp>,
    /// Why what is there now is not in force.
    #[serde(default)]
    pub error: Option<String>,
}
