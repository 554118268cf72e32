//! The source on a cluster: objects as the API server has them, kept up by watches.
//!
//! `follow` lists and watches each kind and survives what the API's rules allow to happen (410 Gone, broken
//! connections, servers that are away); `cluster` keeps what was heard, trimmed to facts; `source` makes one snapshot
//! of it when everything has been heard once, and again after changes. Where pods of this node live is not in the API:
//! `sandbox` finds it.
//!
//! Nothing is forgotten because the API server can't be asked: what was heard last stays in force.

mod apart;
mod awaited;
mod cluster;
mod connect;
mod early;
mod feed;
mod follow;
mod mirror;
mod policies;
mod reviews;
mod sandbox;
mod shared;
mod slim;
mod source;
mod taint;

pub use connect::{Asking, ConnectError, connect};
pub use feed::Scope;
pub use reviews::TokenReviews;
pub use source::{ClusterSettings, KubernetesSource};
pub use taint::untaint;
