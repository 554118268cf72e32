//! Peer authentication: the Istio documents, compiled, and evaluated against one connection.
//!
//! Pure: no tokio, no aya, no files. `control` brings the documents and says where they came from; this
//! module says what they mean.

mod compile;
mod document;
mod evaluate;

pub use compile::{CompileError, Effective, Ignored, Policy};
pub use document::{
    Mode, MutualTls, PeerAuthentication, PeerAuthenticationSpec, PolicyRef, WorkloadSelector,
    WrittenMode,
};
pub use evaluate::{Decision, Refusal, Transport, Verdict};
