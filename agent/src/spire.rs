//! SVIDs of the node's pods from the SPIRE agent of this node, by its Delegated Identity API
//! (<https://spiffe.io/docs/latest/deploying/spire_agent/#delegated-identity-api>): the Workload API would tell the
//! caller's own identity only.
//!
//! SPIRE makes the keys, renews, and decides by its registration entries who may have an identity. Which identity a pod
//! has, its service account says: what SPIRE gives by another name is not used. `ca::Svids` hands out what is here.

mod bundles;
mod client;
mod error;
mod granted;
mod selectors;
mod subscription;
mod wire;

pub use bundles::BundlesError;
pub use client::SpireAgent;
pub use error::SpireError;
pub use granted::GrantError;
pub use selectors::{Selectors, selectors};
