//! Issues SVIDs and keeps one ready for every identity of this node.
//!
//! Does not verify peers (`tls` does) and does not decide who may have an identity (`control` does).

mod authority;
mod directory;
mod embedded;
mod error;
mod leaf;
mod svids;

pub use embedded::EmbeddedCa;
pub use error::CaError;
pub use svids::{Clock, Issue, SvidReader, SvidState, SvidStatus, Svids};
