//! Answers to the operator's questions about policy, from a snapshot alone: what would become of a connection, and
//! why. The same for a running agent and for a directory that nobody has applied yet.
//!
//! Decides nothing itself: `policy` does.

mod authz_check;
mod connected;
mod course;
mod diff;
mod explain;
mod flows;
mod nowhere;
mod sentence;
mod target;
mod tls_check;

pub use authz_check::{Applying, Authorized, authz_check};
pub use course::{Answer, Transport};
pub use diff::{Cause, Change, Diff, Judged, Sent, Subject, Summary, diff, possible};
pub use explain::{Explanation, explain};
pub use flows::{Flows, SeenFlow, by_client};
pub use target::{Client, TargetError, client};
pub use tls_check::{Agreement, Observed, Taken, TlsRow, tls_check};

#[cfg(test)]
mod tests;
