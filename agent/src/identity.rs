//! Who a workload is: SPIFFE IDs, SVIDs, trust bundles, and when an SVID is due for renewal.
//!
//! No I/O, no clock of its own: callers pass the time.

mod rotation;
mod spiffe;
mod svid;

pub use rotation::{Urgency, refresh_at, urgency};
pub(crate) use spiffe::is_segment;
pub use spiffe::{ParseSpiffeIdError, SpiffeId, TrustDomain};
pub use svid::{Svid, SvidFormError, SvidNameError, TrustBundle, spiffe_id};
