//! What happened, told to Prometheus and to the log. Does not decide and does not listen: `admin` serves it.

mod access;
mod families;
mod labels;
mod log;
mod metrics;
mod tcp;

pub use access::AccessRecord;
pub use labels::{
    CaptureEvent, CutReason, Direction, EnrolmentFailure, HandshakeFailure, RefusalReason,
    Reporter, ResponseFlags, Security, Side, Transport,
};
pub use log::init;
pub use metrics::{ActiveConnection, Metrics};
pub use tcp::{PeerLabels, ServiceLabels, TcpLabels, TcpSeries};
