//! What happened, told to Prometheus and to the log. Does not decide and does not listen: `admin` serves it.

mod access;
mod authority;
mod families;
mod labels;
mod log;
mod metrics;
mod tcp;
mod wire;

pub use access::AccessRecord;
pub use authority::CaMetrics;
pub use labels::{
    CaCrowding, CaRefusal, CaptureEvent, CutReason, Direction, EnrolmentFailure, HandshakeFailure,
    IssueFailure, ProbeResult, RefusalReason, Reporter, ResponseFlags, Security, Side, Transport,
};
pub use log::init;
pub use metrics::{ActiveConnection, Metrics};
pub use tcp::{PeerLabels, ServiceLabels, TcpLabels, TcpSeries};
pub use wire::WireRow;
