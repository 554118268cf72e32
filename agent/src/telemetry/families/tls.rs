//! Connections once their handshake is done.

use prometheus::{Error, IntCounter, IntCounterVec, Registry};

use super::register::{counter, counters};
use crate::telemetry::Transport;

/// How bytes are sealed.
pub(in crate::telemetry) struct TlsFamilies {
    pub(in crate::telemetry) protected: IntCounterVec,
    pub(in crate::telemetry) offload_failures: IntCounter,
    pub(in crate::telemetry) key_updates: IntCounter,
}

impl TlsFamilies {
    pub(super) fn new(r: &Registry) -> Result<Self, Error> {
        let protected = counters(
            r,
            "tls_connections_total",
            "Connections under mutual TLS, by how their bytes move.",
            &["transport"],
        )?;
        for transport in Transport::ALL.iter().filter(|t| **t != Transport::Copy) {
            protected.with_label_values(&[transport.as_str()]);
        }
        Ok(Self {
            protected,
            offload_failures: counter(
                r,
                "ktls_install_failures_total",
                "Connections closed after their handshake because the kernel did not take the keys.",
            )?,
            key_updates: counter(
                r,
                "tls_key_updates_total",
                "Keys that connections have changed to because the one before was used up, or the peer asked.",
            )?,
        })
    }
}
