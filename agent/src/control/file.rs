//! The standalone source: a directory of Kubernetes and Istio objects, such as a dump of a cluster or a
//! mounted `ConfigMap`, watched for changes.
//!
//! All or nothing: while anything in the directory is wrong, the last good snapshot stays in force. Does not
//! descend into subdirectories.

mod listing;
mod load;
mod source;
mod watch;

pub use listing::subdirectories;
pub(super) use load::texts;
pub use load::{load, load_changes, load_texts};
pub use source::FileSource;
pub use watch::DirectoryWatch;
