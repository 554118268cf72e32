//! Whom peers are trusted by: the roots of the own mesh, those of federated trust domains, and what was revoked.
//!
//! Follows files and bundle endpoints while the agent runs. Does not verify (`tls` does), and does not issue.

mod bundle;
mod endpoint;
mod followed;
mod source;

pub use bundle::BundleError;
pub use endpoint::{Endpoint, EndpointError};
pub use source::{BundleSource, Trust, TrustConfig, TrustError, TrustReader, TrustStatus};
