//! `GET /v1/capture`: answered with 101, and pcapng in place of HTTP from then on. The client ends it by closing its
//! side.

use serde::{Deserialize, Serialize};

/// Of the headers `Upgrade`.
pub const PACKETS: &str = "pcapng";
/// Bytes of a packet that are kept where nothing else is said: all of the longest.
pub const SNAPLEN: u32 = 262_144;

/// Whose packets, and which.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct CaptureQuestion {
    /// `NAMESPACE/NAME`.
    pub workload: String,
    /// In tcpdump's words.
    #[serde(default)]
    pub filter: String,
    /// Also what has been decrypted.
    #[serde(default)]
    pub plaintext: bool,
    /// Bytes of a packet that are kept at most.
    #[serde(default = "snaplen")]
    pub snaplen: u32,
}

fn snaplen() -> u32 {
    SNAPLEN
}
