//! The families of the CA service, which has a process of its own.

use prometheus::{Error, Gauge, Histogram, IntCounterVec, IntGaugeVec, Registry};

use super::{NO_REASON, build_info, counters, gauges, histogram, time};
use crate::telemetry::{CaCrowding, CaRefusal};

/// A signature takes a tenth of a millisecond with ECDSA, and a few with RSA.
const SIGNING_SECONDS: [f64; 9] = [
    0.0001, 0.00025, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.05, 0.25,
];

/// All of them, with the registry that writes them.
pub(in crate::telemetry) struct CaFamilies {
    pub(in crate::telemetry) registry: Registry,
    pub(in crate::telemetry) requests: IntCounterVec,
    pub(in crate::telemetry) duration: Histogram,
    pub(in crate::telemetry) expiry: Gauge,
    pub(in crate::telemetry) stage: IntGaugeVec,
    pub(in crate::telemetry) crowded: IntCounterVec,
}

impl CaFamilies {
    /// # Errors
    /// When two families have one name: a mistake in this file.
    pub(in crate::telemetry) fn new() -> Result<Self, Error> {
        let registry = Registry::new();
        build_info(&registry)?;
        let requests = counters(
            &registry,
            "ca_requests_total",
            "Requests for a certificate, by result and reason of refusal.",
            &["result", "reason"],
        )?;
        requests.with_label_values(&["ok", NO_REASON]);
        for reason in CaRefusal::ALL {
            requests.with_label_values(&["refused", reason.as_str()]);
        }
        let crowded = counters(
            &registry,
            "ca_connections_refused_total",
            "Connections to the CA closed at once because there were too many, of one source or of all.",
            &["reason"],
        )?;
        for reason in CaCrowding::ALL {
            crowded.with_label_values(&[reason.as_str()]);
        }
        Ok(Self {
            crowded,
            stage: gauges(
                &registry,
                "ca_rotation_stage",
                "1 for the stage that the rotation of the CA's key is in, 0 for the others.",
                &["stage"],
            )?,
            requests,
            duration: histogram(
                &registry,
                "ca_signing_duration_seconds",
                "Time from a request to its certificate.",
                &SIGNING_SECONDS,
            )?,
            expiry: time(
                &registry,
                "ca_expiry_timestamp_seconds",
                "When the first certificate on the way from the CA to the root expires.",
            )?,
            registry,
        })
    }
}
