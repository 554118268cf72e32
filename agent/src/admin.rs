//! What an operator, Prometheus and the kubelet ask. Collects nothing itself: the application answers through
//! [`Inspect`].

pub mod api;
mod capture;
mod http;
mod serve;
mod socket;

pub use http::serve_http;
pub use socket::{AdminSocket, SocketError, serve_socket};

use std::{pin::Pin, time::Duration};

use hyper::upgrade::Upgraded;

use crate::{
    control::LoadErrors,
    review::{Authorized, Diff, Explanation, Flows, TargetError, TlsRow},
};

/// What every process of Sealane tells without being asked who asks.
pub trait Health: Send + Sync + 'static {
    /// What is missing before it is ready; nothing when it is.
    fn unready(&self) -> Vec<String>;
    /// What doesn't work as it should while it is ready all the same.
    fn degraded(&self) -> Vec<String> {
        Vec::new()
    }
    /// Prometheus's text format 0.0.4.
    fn metrics(&self) -> String;
}

/// Sends packets over a connection until either end has had enough.
pub type Recording = Box<dyn FnOnce(Upgraded) -> Pin<Box<dyn Future<Output = ()> + Send>> + Send>;

/// What the admin side may know. Answers come from memory, without waiting, unless they say so.
pub trait Inspect: Health {
    fn status(&self) -> api::Status;
    fn connections(&self) -> Vec<api::Connection>;
    fn certificates(&self) -> Vec<api::Certificate>;
    /// # Errors
    /// When client or server is nobody that is known.
    fn explain(&self, client: &str, server: &str) -> Result<Explanation, TargetError>;
    /// # Errors
    /// As [`Self::explain`].
    fn tls_check(
        &self,
        client: Option<&str>,
        server: Option<&str>,
    ) -> Result<Vec<TlsRow>, TargetError>;
    /// # Errors
    /// As [`Self::explain`].
    fn authz_check(&self, workload: &str) -> Result<Vec<Authorized>, TargetError>;
    /// What is on the wire, of one workload or of all. Waits for the kernel.
    ///
    /// # Errors
    /// When there is no such workload on this node.
    fn verify(&self, workload: Option<&str>) -> Result<api::Verification, String>;
    /// Begins to record a pod's packets. Waits for the kernel.
    ///
    /// # Errors
    /// When there is no such workload on this node, the filter is none, or too many are recorded already.
    fn capture(&self, question: &api::CaptureQuestion) -> Result<Recording, String>;
    /// Waits for the kernel.
    fn flows(&self, last: Duration) -> Flows;
    /// Waits for the kernel, and takes time to read the documents.
    ///
    /// # Errors
    /// Everything that is wrong with the candidate.
    fn policy_diff(&self, question: &api::PolicyDiff) -> Result<Diff, LoadErrors>;
}

#[cfg(test)]
pub(crate) mod tests;
