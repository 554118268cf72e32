//! What everything that carries connections can be told.

use clap::Args;

use super::{Ktls, LogArgs};
use crate::offload::KeyLimit;

/// Durations are a number with a unit: 100ms, 5s, 1m30s, 24h.
#[derive(Debug, Args)]
pub struct ServeArgs {
    #[command(flatten)]
    pub log: LogArgs,

    /// How long open connections may go on after SIGTERM (0s to 1h)
    #[arg(
        long,
        value_name = "DURATION",
        env = "SEALANE_DRAIN",
        default_value = "30s"
    )]
    pub drain: String,

    /// How long a TLS handshake may take (100ms to 5m)
    #[arg(
        long,
        value_name = "DURATION",
        env = "SEALANE_HANDSHAKE_TIMEOUT",
        default_value = "10s"
    )]
    pub handshake_timeout: String,

    /// How connections use the kernel's TLS, where it has one: auto for all that it can, copy to move bytes
    /// through the process's memory all the same, off for TLS in the process
    #[arg(
        long,
        value_name = "MODE",
        env = "SEALANE_KTLS",
        default_value = "auto"
    )]
    pub ktls: Ktls,

    /// MiB that one AES-GCM key may seal before a connection changes to its next one; where the kernel can't, the
    /// connection ends in order (4 to 262144, which is 256 GiB)
    #[arg(
        long,
        value_name = "MIB",
        env = "SEALANE_KEY_LIMIT",
        default_value_t = KeyLimit::MOST
    )]
    pub key_limit: u32,
}
