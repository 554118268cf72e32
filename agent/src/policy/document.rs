//! Istio's `PeerAuthentication` as written
//! (<https://istio.io/latest/docs/reference/config/security/peer_authentication/>).

use std::{collections::BTreeMap, fmt};

use serde::{Deserialize, Deserializer, Serialize};

/// Peer authentication mode of a port. `UNSET` is not here: it means what the wider scope says.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize)]
#[serde(rename_all = "UPPERCASE")]
pub enum Mode {
    /// Plaintext; Sealane leaves the port alone.
    Disable,
    /// Mutual TLS from the mesh, anything else as it comes.
    Permissive,
    /// Mutual TLS only.
    Strict,
}

impl fmt::Display for Mode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Disable => "DISABLE",
            Self::Permissive => "PERMISSIVE",
            Self::Strict => "STRICT",
        })
    }
}

/// Names a document in a decision, a log line and a table.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize)]
pub struct PolicyRef {
    pub namespace: String,
    pub name: String,
}

impl fmt::Display for PolicyRef {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "PeerAuthentication/{}/{}", self.namespace, self.name)
    }
}

/// One document, with what ordering needs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PeerAuthentication {
    pub reference: PolicyRef,
    /// `metadata.creationTimestamp` in seconds of the Unix epoch; documents without one count as newest.
    pub created: Option<i64>,
    pub spec: PeerAuthenticationSpec,
}

/// `spec`. Unknown fields are refused: a misspelt one would leave a port open.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct PeerAuthenticationSpec {
    pub selector: Option<WorkloadSelector>,
    pub mtls: Option<MutualTls>,
    #[serde(default, deserialize_with = "null_as_empty")]
    pub port_level_mtls: BTreeMap<String, MutualTls>,
}

/// `selector`: an absent or empty one selects the whole scope.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct WorkloadSelector {
    #[serde(default, deserialize_with = "null_as_empty")]
    pub match_labels: BTreeMap<String, String>,
}

/// `mtls`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct MutualTls {
    #[serde(default)]
    pub mode: WrittenMode,
}

/// `mode` as it may be written.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "UPPERCASE")]
pub enum WrittenMode {
    #[default]
    Unset,
    Disable,
    Permissive,
    Strict,
}

impl WrittenMode {
    /// `None` when the wider scope decides.
    #[must_use]
    pub fn explicit(self) -> Option<Mode> {
        match self {
            Self::Unset => None,
            Self::Disable => Some(Mode::Disable),
            Self::Permissive => Some(Mode::Permissive),
            Self::Strict => Some(Mode::Strict),
        }
    }
}

/// `field: null` is the same as no field, as for the Kubernetes API.
fn null_as_empty<'de, D, V>(deserializer: D) -> Result<BTreeMap<String, V>, D::Error>
where
    D: Deserializer<'de>,
    V: Deserialize<'de>,
{
    Ok(Option::deserialize(deserializer)?.unwrap_or_default())
}
