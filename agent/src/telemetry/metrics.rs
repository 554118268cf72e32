//! How the rest of the agent counts. Which families there are, `families` tells.

use std::{
    sync::{Arc, PoisonError},
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use prometheus::{Encoder, Error, IntGauge, Registry, TextEncoder};

use super::{
    CaptureEvent, CutReason, Direction, EnrolmentFailure, HandshakeFailure, IssueFailure,
    ProbeResult, RefusalReason, Side, TcpLabels, TcpSeries, Transport, WireRow,
    families::{EXPIRY_SERIES, Families, NO_REASON},
    wire,
};
use crate::identity::SpiffeId;

/// The process's metrics; clones count into the same.
#[derive(Clone)]
pub struct Metrics(Arc<Families>);

/// A connection that counts as active for as long as this is held.
#[derive(Debug)]
pub struct ActiveConnection(IntGauge);

impl Drop for ActiveConnection {
    fn drop(&mut self) {
        self.0.dec();
    }
}

pub(super) fn seconds(time: SystemTime) -> f64 {
    time.duration_since(UNIX_EPOCH)
        .unwrap_or_default()
        .as_secs_f64()
}

/// All families in Prometheus's text format 0.0.4.
pub(super) fn render(registry: &Registry) -> String {
    let mut bytes = Vec::new();
    if let Err(error) = TextEncoder::new().encode(&registry.gather(), &mut bytes) {
        tracing::warn!(%error, "metrics can't be written");
    }
    String::from_utf8_lossy(&bytes).into_owned()
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
            .connections
            .handshakes
            .with_label_values(&[side.as_str(), "ok", NO_REASON])
            .inc();
        self.0
            .connections
            .handshake_duration
            .with_label_values(&[side.as_str()])
            .observe(took.as_secs_f64());
    }

    pub fn handshake_failed(&self, side: Side, reason: HandshakeFailure) {
        self.0
            .connections
            .handshakes
            .with_label_values(&[side.as_str(), "error", reason.as_str()])
            .inc();
    }

    /// Counts a connection as active until the guard is dropped.
    #[must_use]
    pub fn connection_active(&self, direction: Direction) -> ActiveConnection {
        let active = self
            .0
            .connections
            .active
            .with_label_values(&[direction.as_str()]);
        active.inc();
        ActiveConnection(active)
    }

    pub fn connection_refused(&self, direction: Direction, reason: RefusalReason) {
        let labels = [direction.as_str(), reason.as_str()];
        self.0.connections.refused.with_label_values(&labels).inc();
    }

    /// It was asked whether a connection that policy refuses is the kubelet's.
    pub fn probed(&self, result: ProbeResult) {
        let probes = &self.0.connections.probes;
        probes.with_label_values(&[result.as_str()]).inc();
    }

    /// A connection under mutual TLS goes on in this way.
    pub fn connection_protected(&self, transport: Transport) {
        self.0
            .connections
            .tls
            .protected
            .with_label_values(&[transport.as_str()])
            .inc();
    }

    /// The kernel did not take a connection's keys.
    pub fn offload_failed(&self) {
        self.0.connections.tls.offload_failures.inc();
    }

    /// A connection has changed to its next key for what it sends.
    pub fn key_updated(&self) {
        self.0.connections.tls.key_updates.inc();
    }

    /// What the probe of kernel TLS has found.
    pub fn set_kernel_tls(&self, capability: &str, present: bool) {
        self.0
            .node
            .kernel_tls
            .with_label_values(&[capability])
            .set(i64::from(present));
    }

    pub fn certificate_issued(&self, id: &SpiffeId, not_after: SystemTime) {
        let certificates = &self.0.certificates;
        let mut told = certificates
            .told
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        if told.len() < EXPIRY_SERIES || told.contains(id) {
            told.insert(id.clone());
            let expiry = certificates.expiry.with_label_values(&[&id.to_string()]);
            expiry.set(seconds(not_after));
        }
    }

    pub fn certificate_dropped(&self, id: &SpiffeId) {
        let certificates = &self.0.certificates;
        let mut told = certificates
            .told
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        if told.remove(id) {
            // An error says that there was none.
            let _ = certificates.expiry.remove_label_values(&[&id.to_string()]);
        }
    }

    /// An attempt to get a certificate has ended.
    pub fn certificate_refresh(&self, outcome: Result<(), IssueFailure>, took: Duration) {
        let certificates = &self.0.certificates;
        let result = match outcome {
            Ok(()) => {
                certificates.issue_duration.observe(took.as_secs_f64());
                "ok"
            }
            Err(reason) => {
                let labels = [reason.as_str()];
                certificates.failures.with_label_values(&labels).inc();
                "error"
            }
        };
        certificates.refresh.with_label_values(&[result]).inc();
    }

    /// A gateway's credential is nobody's any more.
    pub fn forget_credential(&self, credential: &str) {
        let family = &self.0.certificates.credentials;
        // It may never have been told.
        let _ = family.remove_label_values(&[credential]);
    }

    /// Whether a gateway's credential is what is in force.
    pub fn set_credential_healthy(&self, credential: &str, healthy: bool) {
        let family = &self.0.certificates.credentials;
        family
            .with_label_values(&[credential])
            .set(i64::from(healthy));
    }

    pub fn set_ca_healthy(&self, healthy: bool) {
        self.0.certificates.ca_healthy.set(i64::from(healthy));
    }

    pub fn set_workloads(&self, enrolled: usize, failed: usize) {
        for (state, count) in [("enrolled", enrolled), ("failed", failed)] {
            let count = i64::try_from(count).unwrap_or(i64::MAX);
            self.0.node.workloads.with_label_values(&[state]).set(count);
        }
    }

    pub fn enrolment_failed(&self, reason: EnrolmentFailure) {
        self.0
            .node
            .enrolment_errors
            .with_label_values(&[reason.as_str()])
            .inc();
    }

    pub fn capture_event(&self, event: CaptureEvent, count: u64) {
        self.0
            .node
            .capture_events
            .with_label_values(&[event.as_str()])
            .inc_by(count);
    }

    /// `after`: the time from the change of policy that forbids it.
    pub fn connection_cut(&self, reason: CutReason, after: Duration) {
        let connections = &self.0.connections;
        connections.cuts.with_label_values(&[reason.as_str()]).inc();
        connections.cut_duration.observe(after.as_secs_f64());
    }

    /// What policies in dry run would have said of a connection.
    pub fn authorized_in_dry_run(&self, allowed: bool) {
        let result = if allowed { "allowed" } else { "denied" };
        let dry_runs = &self.0.connections.dry_runs;
        dry_runs.with_label_values(&[result]).inc();
    }

    /// A generation came into force.
    pub fn policy_loaded(&self, generation: u64, at: SystemTime) {
        self.0
            .policy
            .generation
            .set(i64::try_from(generation).unwrap_or(i64::MAX));
        self.0.policy.last_load.set(seconds(at));
    }

    /// Whether something of what there is to load is not in force: of the mesh, or of single namespaces only.
    pub fn set_policy_errors(&self, mesh: bool, namespaces: bool) {
        for (scope, any) in [("mesh", mesh), ("namespaces", namespaces)] {
            let gauge = self.0.policy.load_errors.with_label_values(&[scope]);
            gauge.set(i64::from(any));
        }
    }

    /// Namespaces whose documents can't be used: what they said last is in force, or nothing but refusals.
    pub fn set_held_back(&self, last_good: usize, closed: usize) {
        for (state, count) in [("last_good", last_good), ("closed", closed)] {
            let gauge = self.0.policy.held_back.with_label_values(&[state]);
            gauge.set(i64::try_from(count).unwrap_or(i64::MAX));
        }
    }

    /// Whether the source of objects can't be asked.
    pub fn set_stale(&self, stale: bool) {
        self.0.policy.stale.set(i64::from(stale));
    }

    /// Pods that run on this node and aren't found here.
    pub fn set_not_found(&self, pods: usize) {
        let count = i64::try_from(pods).unwrap_or(i64::MAX);
        self.0.node.not_found.set(count);
    }

    /// Whether pods that aren't known can't be held back, though they should be.
    pub fn set_unguarded(&self, unguarded: bool) {
        self.0.node.unguarded.set(i64::from(unguarded));
    }

    /// [`Metrics::render`], and what the kernel has counted on the wire.
    #[must_use]
    pub fn render_with(&self, on_wire: &[WireRow]) -> String {
        let mut text = self.render();
        wire::render(on_wire, &mut text);
        text
    }

    /// All families in Prometheus's text format 0.0.4.
    #[must_use]
    pub fn render(&self) -> String {
        let mut text = render(&self.0.registry);
        self.0.tcp.render(&mut text);
        text
    }
}

#[cfg(test)]
mod tests;
