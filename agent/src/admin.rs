//! What an operator, Prometheus and the kubelet ask. Collects nothing itself: the application answers through
//! [`Inspect`].

pub mod api;
mod http;
mod serve;
mod socket;

pub use http::serve_http;
pub use socket::{AdminSocket, SocketError, serve_socket};

/// What the admin side may know. Answers come from memory, without waiting.
pub trait Inspect: Send + Sync + 'static {
    fn status(&self) -> api::Status;
    fn connections(&self) -> Vec<api::Connection>;
    fn certificates(&self) -> Vec<api::Certificate>;
    /// What is missing before the agent is ready; nothing when it is.
    fn unready(&self) -> Vec<String>;
    /// Prometheus's text format 0.0.4.
    fn metrics(&self) -> String;
}

#[cfg(test)]
mod tests;
