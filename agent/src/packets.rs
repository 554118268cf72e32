//! `sealane capture`: the packets of one pod, as a stream of pcapng blocks.
//!
//! A packet socket in the pod's network namespace sees what is on its interfaces, also what programs drop at ingress. Its
//! receive buffer is all the memory that a slow reader can fill; what doesn't fit is counted. Does not know connections:
//! [`Watched`] tells whose they are.

mod file;
mod filter;
mod flows;
mod frame;
mod recording;
mod socket;

pub use filter::{Filter, FilterError};
pub use frame::{Frame, Segment};
pub use recording::{Recording, Summary};
pub use socket::{PacketError, Seen};

/// What is to be recorded.
#[derive(Clone, Debug, Default)]
pub struct Wanted {
    /// Bytes of a packet that are kept at most.
    pub snaplen: u32,
    /// Also the pod's loopback: there the agent hands over what has been decrypted.
    pub plaintext: bool,
    pub filter: Filter,
}

/// The pod whose packets are recorded, as others know it.
pub trait Watched: Send + 'static {
    /// Of the file and its interfaces: whose packets, who has recorded them.
    fn title(&self) -> String;
    /// What is known of a connection now that was not known before. `already`: how often there was something.
    fn comment(&mut self, segment: &Segment, already: u8) -> Option<String>;
    /// Whether the pod is still there.
    fn is_there(&self) -> bool;
}
