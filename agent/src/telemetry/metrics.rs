//! Every metric family. Label values come from closed sets or from the node's own identities.

use std::{
    sync::Arc,
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use prometheus::{
    Encoder, Error, Gauge, GaugeVec, Histogram, HistogramOpts, HistogramVec, IntCounter,
    IntCounterVec, IntGauge, IntGaugeVec, Opts, Registry, TextEncoder, core::Collector,
};

use super::{
    CaptureEvent, CutReason, Direction, EnrolmentFailure, HandshakeFailure, RefusalReason, Side,
    TcpLabels, TcpSeries, tcp::TcpTable,
};
use crate::identity::SpiffeId;

/// Series of Istio's TCP metrics: far more than one node's pods and their peers make.
const TCP_SERIES: usize = 4096;
/// Handshakes take half a millisecond on one node, and seconds with a peer that is overloaded or far away.
const HANDSHAKE_SECONDS: [f64; 12] = [
    0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 1.0, 2.5, 10.0,
];
/// `reason` of a handshake that succeeded.
const NO_REASON: &str = "none";

/// The process's metrics; clones count into the same.
#[derive(Clone)]
pub struct Metrics(Arc<Families>);

struct Families {
    registry: Registry,
    tcp: TcpTable,
    tcp_overflow: IntCounter,
    handshakes: IntCounterVec,
    handshake_duration: HistogramVec,
    connections_active: IntGaugeVec,
    connections_refused: IntCounterVec,
    certificate_expiry: GaugeVec,
    certificate_refresh: IntCounterVec,
    ca_healthy: IntGauge,
    workloads: IntGaugeVec,
    enrolment_errors: IntCounterVec,
    capture_events: IntCounterVec,
    policy_cuts: IntCounterVec,
    policy_generation: IntGauge,
    policy_load_errors: IntGauge,
    policy_last_load: Gauge,
}

/// A connection that counts as active for as long as this is held.
#[derive(Debug)]
pub struct ActiveConnection(IntGauge);

impl Drop for ActiveConnection {
    fn drop(&mut self) {
        self.0.dec();
    }
}

impl Families {
    fn new() -> Result<Self, Error> {
        let registry = Registry::new();
        let r = &registry;
        let families = Self {
            tcp: TcpTable::new(TCP_SERIES),
            tcp_overflow: add(
                r,
                IntCounter::new(
                    "sealane_tcp_series_overflow_total",
                    "Connections counted under the name `other` because there were too many TCP series.",
                )?,
            )?,
            handshakes: add(
                r,
                IntCounterVec::new(
                    Opts::new(
                        "sealane_handshakes_total",
                        "Mutual TLS handshakes by role of this node's pod, result and reason of failure.",
                    ),
                    &["side", "result", "reason"],
                )?,
            )?,
            handshake_duration: add(
                r,
                HistogramVec::new(
                    HistogramOpts::new(
                        "sealane_handshake_duration_seconds",
                        "Duration of successful mutual TLS handshakes.",
                    )
                    .buckets(HANDSHAKE_SECONDS.to_vec()),
                    &["side"],
                )?,
            )?,
            connections_active: add(
                r,
                IntGaugeVec::new(
                    Opts::new(
                        "sealane_connections_active",
                        "Connections that go through the agent now.",
                    ),
                    &["direction"],
                )?,
            )?,
            connections_refused: add(
                r,
                IntCounterVec::new(
                    Opts::new(
                        "sealane_connections_refused_total",
                        "Connections refused, by reason.",
                    ),
                    &["direction", "reason"],
                )?,
            )?,
            certificate_expiry: add(
                r,
                GaugeVec::new(
                    Opts::new(
                        "sealane_certificate_expiry_timestamp_seconds",
                        "When the certificate of an identity of this node expires.",
                    ),
                    &["identity"],
                )?,
            )?,
            certificate_refresh: add(
                r,
                IntCounterVec::new(
                    Opts::new(
                        "sealane_certificate_refresh_total",
                        "Attempts to get a certificate, by result.",
                    ),
                    &["result"],
                )?,
            )?,
            ca_healthy: add(
                r,
                IntGauge::new(
                    "sealane_ca_healthy",
                    "1 while the CA issues, 0 when the last attempt failed.",
                )?,
            )?,
            workloads: add(
                r,
                IntGaugeVec::new(
                    Opts::new(
                        "sealane_workloads",
                        "Pods of this node that belong to the mesh, by state.",
                    ),
                    &["state"],
                )?,
            )?,
            enrolment_errors: add(
                r,
                IntCounterVec::new(
                    Opts::new(
                        "sealane_enrolment_errors_total",
                        "Failed attempts to enrol a pod, by reason.",
                    ),
                    &["reason"],
                )?,
            )?,
            capture_events: add(
                r,
                IntCounterVec::new(
                    Opts::new(
                        "sealane_capture_events_total",
                        "Events from the programs in the kernel, by kind.",
                    ),
                    &["kind"],
                )?,
            )?,
            policy_cuts: add(
                r,
                IntCounterVec::new(
                    Opts::new(
                        "sealane_policy_cuts_total",
                        "Established connections cut, by reason.",
                    ),
                    &["reason"],
                )?,
            )?,
            policy_generation: add(
                r,
                IntGauge::new(
                    "sealane_policy_generation",
                    "Generation of the objects and policy in force; 0 before the first.",
                )?,
            )?,
            policy_load_errors: add(
                r,
                IntGauge::new(
                    "sealane_policy_load_errors",
                    "1 while the last load failed and an earlier generation is in force.",
                )?,
            )?,
            policy_last_load: add(
                r,
                Gauge::new(
                    "sealane_policy_last_load_timestamp_seconds",
                    "When the generation in force was loaded.",
                )?,
            )?,
            registry: Registry::clone(r),
        };
        build_info(&registry)?;
        families.start_at_zero();
        Ok(families)
    }

    /// Series that exist from the start: a rate over the first failure is right, and alerts see a zero.
    fn start_at_zero(&self) {
        for side in Side::ALL {
            let _: Histogram = self.handshake_duration.with_label_values(&[side.as_str()]);
            self.handshakes
                .with_label_values(&[side.as_str(), "ok", NO_REASON]);
            for reason in HandshakeFailure::ALL {
                self.handshakes
                    .with_label_values(&[side.as_str(), "error", reason.as_str()]);
            }
        }
        for direction in Direction::ALL {
            self.connections_active
                .with_label_values(&[direction.as_str()]);
            for reason in RefusalReason::ALL {
                self.connections_refused
                    .with_label_values(&[direction.as_str(), reason.as_str()]);
            }
        }
        for result in ["ok", "error"] {
            self.certificate_refresh.with_label_values(&[result]);
        }
        for state in ["enrolled", "failed"] {
            self.workloads.with_label_values(&[state]);
        }
        zero(
            &self.enrolment_errors,
            EnrolmentFailure::ALL.iter().map(|r| r.as_str()),
        );
        zero(
            &self.capture_events,
            CaptureEvent::ALL.iter().map(|r| r.as_str()),
        );
        zero(&self.policy_cuts, CutReason::ALL.iter().map(|r| r.as_str()));
    }
}

fn add<C: Collector + Clone + 'static>(registry: &Registry, family: C) -> Result<C, Error> {
    registry.register(Box::new(family.clone()))?;
    Ok(family)
}

fn zero<'a>(family: &IntCounterVec, values: impl Iterator<Item = &'a str>) {
    for value in values {
        family.with_label_values(&[value]);
    }
}

fn build_info(registry: &Registry) -> Result<(), Error> {
    let opts = Opts::new("sealane_build_info", "1, with the version of the agent.")
        .const_label("version", env!("CARGO_PKG_VERSION"));
    add(registry, IntGauge::with_opts(opts)?)?.set(1);
    Ok(())
}

fn seconds(time: SystemTime) -> f64 {
    time.duration_since(UNIX_EPOCH)
        .unwrap_or_default()
        .as_secs_f64()
}

impl Metrics {
    /// # Errors
    /// When two families have one name: a mistake in this file.
    pub fn new() -> Result<Self, Error> {
        Ok(Self(Arc::new(Families::new()?)))
    }

    /// The counters of a connection's labels, to be asked for once per connection.
    #[must_use]
    pub fn tcp(&self, labels: &TcpLabels) -> TcpSeries {
        let (series, overflowed) = self.0.tcp.series(labels);
        if overflowed {
            self.0.tcp_overflow.inc();
        }
        series
    }

    /// Forgets TCP series, of workloads that are gone: those that `keep` refuses and no connection uses.
    pub fn retain_tcp(&self, keep: impl Fn(&TcpLabels) -> bool) {
        self.0.tcp.retain(keep);
    }

    pub fn handshake_succeeded(&self, side: Side, took: Duration) {
        self.0
            .handshakes
            .with_label_values(&[side.as_str(), "ok", NO_REASON])
            .inc();
        self.0
            .handshake_duration
            .with_label_values(&[side.as_str()])
            .observe(took.as_secs_f64());
    }

    pub fn handshake_failed(&self, side: Side, reason: HandshakeFailure) {
        self.0
            .handshakes
            .with_label_values(&[side.as_str(), "error", reason.as_str()])
            .inc();
    }

    /// Counts a connection as active until the guard is dropped.
    #[must_use]
    pub fn connection_active(&self, direction: Direction) -> ActiveConnection {
        let active = self
            .0
            .connections_active
            .with_label_values(&[direction.as_str()]);
        active.inc();
        ActiveConnection(active)
    }

    pub fn connection_refused(&self, direction: Direction, reason: RefusalReason) {
        let labels = [direction.as_str(), reason.as_str()];
        self.0.connections_refused.with_label_values(&labels).inc();
    }

    pub fn certificate_issued(&self, id: &SpiffeId, not_after: SystemTime) {
        let expiry = self
            .0
            .certificate_expiry
            .with_label_values(&[&id.to_string()]);
        expiry.set(seconds(not_after));
    }

    pub fn certificate_dropped(&self, id: &SpiffeId) {
        // An error says that there was none.
        let _ = self
            .0
            .certificate_expiry
            .remove_label_values(&[&id.to_string()]);
    }

    pub fn certificate_refresh(&self, ok: bool) {
        let result = if ok { "ok" } else { "error" };
        self.0
            .certificate_refresh
            .with_label_values(&[result])
            .inc();
    }

    pub fn set_ca_healthy(&self, healthy: bool) {
        self.0.ca_healthy.set(i64::from(healthy));
    }

    pub fn set_workloads(&self, enrolled: usize, failed: usize) {
        for (state, count) in [("enrolled", enrolled), ("failed", failed)] {
            let count = i64::try_from(count).unwrap_or(i64::MAX);
            self.0.workloads.with_label_values(&[state]).set(count);
        }
    }

    pub fn enrolment_failed(&self, reason: EnrolmentFailure) {
        self.0
            .enrolment_errors
            .with_label_values(&[reason.as_str()])
            .inc();
    }

    pub fn capture_event(&self, event: CaptureEvent, count: u64) {
        self.0
            .capture_events
            .with_label_values(&[event.as_str()])
            .inc_by(count);
    }

    pub fn connection_cut(&self, reason: CutReason) {
        self.0
            .policy_cuts
            .with_label_values(&[reason.as_str()])
            .inc();
    }

    /// A generation came into force.
    pub fn policy_loaded(&self, generation: u64, at: SystemTime) {
        self.0
            .policy_generation
            .set(i64::try_from(generation).unwrap_or(i64::MAX));
        self.0.policy_load_errors.set(0);
        self.0.policy_last_load.set(seconds(at));
    }

    /// The last load failed; what was in force stays.
    pub fn policy_load_failed(&self) {
        self.0.policy_load_errors.set(1);
    }

    /// All families in Prometheus's text format 0.0.4.
    #[must_use]
    pub fn render(&self) -> String {
        let mut bytes = Vec::new();
        if let Err(error) = TextEncoder::new().encode(&self.0.registry.gather(), &mut bytes) {
            tracing::warn!(%error, "metrics can't be written");
        }
        let mut text = String::from_utf8_lossy(&bytes).into_owned();
        self.0.tcp.render(&mut text);
        text
    }
}

#[cfg(test)]
mod tests;
