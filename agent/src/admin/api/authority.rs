//! What the CA service tells of itself.

use std::path::{Path, PathBuf};

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use crate::ca::{CaState, Stage};

/// `GET /v1/ca` of the CA service.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct CaStatus {
    pub version: String,
    pub ready: bool,
    /// What is missing before the CA is ready.
    #[serde(default)]
    pub unready: Vec<String>,
    pub uptime_seconds: u64,
    /// Where it takes requests.
    pub listen: String,
    pub trust_domain: String,
    #[serde(flatten)]
    pub keys: CaKeys,
    pub max_ttl_seconds: u64,
    /// Certificates since the start.
    pub signed: u64,
    /// Requests since the start.
    pub refused: u64,
    /// Why the latest state of the source is not in force.
    #[serde(default)]
    pub source_errors: Vec<String>,
}

/// The keys of a CA: what signs, what is trusted, and what is being changed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct CaKeys {
    pub directory: PathBuf,
    /// When the first certificate on the way from the CA to the root expires.
    pub not_after: Timestamp,
    pub rotation: CaRotation,
    pub roots: Vec<CaRoot>,
    /// When the last certificate expires that `sealane ca issue` has made: a change of the key waits for it.
    #[serde(default)]
    pub issued_until: Option<Timestamp>,
    /// Why nothing can be recorded, on which a change of the key depends.
    #[serde(default)]
    pub unrecorded: Option<String>,
    /// Why the files as they are now are not in force.
    #[serde(default)]
    pub files_error: Option<String>,
}

/// The change of a CA's key.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct CaRotation {
    /// `stable`, `distributing`, `signing` or `retiring`.
    pub stage: String,
    /// `root` or `intermediate`; `None` when stable.
    #[serde(default)]
    pub what: Option<String>,
    pub waits_for: String,
    /// When the stage began, and when it ends.
    #[serde(default)]
    pub since: Option<Timestamp>,
    #[serde(default)]
    pub until: Option<Timestamp>,
}

/// A root that peers are told to trust.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct CaRoot {
    pub subject: String,
    /// SHA-256 of the certificate, in lower-case hexadecimal.
    pub fingerprint: String,
    pub not_after: Timestamp,
    /// `signing`, `next`, `old`, or `trusted`.
    #[serde(rename = "use")]
    pub usage: String,
}

impl CaKeys {
    #[must_use]
    pub fn new(directory: &Path, state: &CaState) -> Self {
        let rotation = state.rotation;
        let stage = rotation.map_or(Stage::Stable, |rotation| rotation.stage);
        let roots = state.anchors.iter().map(|anchor| CaRoot {
            subject: anchor.subject.clone(),
            fingerprint: anchor.fingerprint.clone(),
            not_after: anchor.not_after,
            usage: anchor.usage.as_str().to_owned(),
        });
        Self {
            directory: directory.to_owned(),
            not_after: state.not_after,
            rotation: CaRotation {
                stage: stage.to_string(),
                what: rotation.map(|rotation| rotation.what.to_string()),
                waits_for: stage.waits_for().to_owned(),
                since: rotation.map(|rotation| rotation.since),
                until: rotation.map(|rotation| rotation.until),
            },
            roots: roots.collect(),
            issued_until: state.by_hand,
            unrecorded: state.unrecorded.clone(),
            files_error: state.error.clone(),
        }
    }
}
