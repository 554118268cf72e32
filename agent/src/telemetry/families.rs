//! Every metric family: name, help, labels and the series that exist from the start.

mod authority;
mod register;
mod tls;

use std::{collections::HashSet, sync::Mutex};

use prometheus::{
    Error, Gauge, GaugeVec, Histogram, HistogramVec, IntCounter, IntCounterVec, IntGauge,
    IntGaugeVec, Registry,
};

pub(super) use authority::CaFamilies;
use register::{
    add, counter, counters, gauge, gauges, histogram, opts, seconds_histogram, time, times,
};
use tls::TlsFamilies;

use crate::identity::SpiffeId;

use super::{
    CaptureEvent, CutReason, Direction, EnrolmentFailure, HandshakeFailure, IssueFailure,
    ProbeResult, RefusalReason, Side, tcp::TcpTable,
};

/// Series of Istio's TCP metrics: far more than one node's pods and their peers make.
const TCP_SERIES: usize = 4096;
/// Handshakes take half a millisecond on one node, and seconds with a peer that is overloaded or far away.
const HANDSHAKE_SECONDS: [f64; 12] = [
    0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 1.0, 2.5, 10.0,
];
/// Most are cut at once; those that did not come through the agent are looked for several times within a second.
const CUT_SECONDS: [f64; 10] = [0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0];
/// A tenth of a millisecond from the embedded CA, and up to its deadline from one that is far away.
const ISSUE_SECONDS: [f64; 10] = [
    0.0005, 0.001, 0.0025, 0.005, 0.01, 0.05, 0.25, 1.0, 5.0, 10.0,
];
/// Identities whose expiry is told: more than a node has.
pub(super) const EXPIRY_SERIES: usize = 1024;
/// `reason` of a handshake that succeeded.
pub(super) const NO_REASON: &str = "none";

/// All of them, with the registry that writes them.
pub(super) struct Families {
    pub(super) registry: Registry,
    pub(super) tcp: TcpTable,
    pub(super) tcp_overflow: IntCounter,
    pub(super) connections: ConnectionFamilies,
    pub(super) certificates: CertificateFamilies,
    pub(super) node: NodeFamilies,
    pub(super) policy: PolicyFamilies,
}

/// Handshakes and connections.
pub(super) struct ConnectionFamilies {
    pub(super) handshakes: IntCounterVec,
    pub(super) handshake_duration: HistogramVec,
    pub(super) active: IntGaugeVec,
    pub(super) refused: IntCounterVec,
    pub(super) probes: IntCounterVec,
    pub(super) cuts: IntCounterVec,
    pub(super) cut_duration: Histogram,
    pub(super) dry_runs: IntCounterVec,
    pub(super) tls: TlsFamilies,
}

/// The CA and what it issues.
pub(super) struct CertificateFamilies {
    pub(super) expiry: GaugeVec,
    /// Those that `expiry` has a series of.
    pub(super) told: Mutex<HashSet<SpiffeId>>,
    pub(super) refresh: IntCounterVec,
    pub(super) failures: IntCounterVec,
    pub(super) issue_duration: Histogram,
    pub(super) ca_healthy: IntGauge,
    pub(super) credentials: IntGaugeVec,
}

/// The pods of this node and the programs in the kernel.
pub(super) struct NodeFamilies {
    pub(super) workloads: IntGaugeVec,
    pub(super) enrolment_errors: IntCounterVec,
    pub(super) capture_events: IntCounterVec,
    pub(super) kernel_tls: IntGaugeVec,
    pub(super) not_found: IntGauge,
    pub(super) unguarded: IntGauge,
}

/// Objects and policy.
pub(super) struct PolicyFamilies {
    pub(super) generation: IntGauge,
    pub(super) load_errors: IntGaugeVec,
    pub(super) last_load: Gauge,
    pub(super) held_back: IntGaugeVec,
    pub(super) stale: IntGauge,
}

impl ConnectionFamilies {
    fn new(r: &Registry) -> Result<Self, Error> {
        Ok(Self {
            handshakes: counters(
                r,
                "handshakes_total",
                "Mutual TLS handshakes by role of this node's pod, result and reason of failure.",
                &["side", "result", "reason"],
            )?,
            handshake_duration: seconds_histogram(
                r,
                "handshake_duration_seconds",
                "Duration of successful mutual TLS handshakes.",
                &["side"],
            )?,
            active: gauges(
                r,
                "connections_active",
                "Connections that go through the agent now.",
                &["direction"],
            )?,
            refused: counters(
                r,
                "connections_refused_total",
                "Connections refused, by reason.",
                &["direction", "reason"],
            )?,
            probes: counters(
                r,
                "probe_connections_total",
                "Connections that policy refuses, on ports where kubelet probes the pod, by whether they are its own.",
                &["result"],
            )?,
            cuts: counters(
                r,
                "policy_cuts_total",
                "Established connections cut, by reason.",
                &["reason"],
            )?,
            cut_duration: histogram(
                r,
                "policy_cut_duration_seconds",
                "Time from a change of policy to the end of each established connection that it forbids.",
                &CUT_SECONDS,
            )?,
            dry_runs: counters(
                r,
                "authorization_dry_run_total",
                "Connections to workloads with AuthorizationPolicies in dry run, by what these would have said.",
                &["result"],
            )?,
            tls: TlsFamilies::new(r)?,
        })
    }
}

impl CertificateFamilies {
    fn new(r: &Registry) -> Result<Self, Error> {
        Ok(Self {
            expiry: times(
                r,
                "certificate_expiry_timestamp_seconds",
                "When the certificate of an identity of this node expires.",
                &["identity"],
            )?,
            told: Mutex::default(),
            refresh: counters(
                r,
                "certificate_refresh_total",
                "Attempts to get a certificate, by result.",
                &["result"],
            )?,
            failures: counters(
                r,
                "certificate_failures_total",
                "Failed attempts to get a certificate, by reason.",
                &["reason"],
            )?,
            issue_duration: histogram(
                r,
                "certificate_issue_duration_seconds",
                "Time from asking the CA to having checked the certificate.",
                &ISSUE_SECONDS,
            )?,
            ca_healthy: gauge(
                r,
                "ca_healthy",
                "1 while the CA issues, 0 while the last attempt for an identity has failed.",
            )?,
            credentials: gauges(
                r,
                "gateway_credential_healthy",
                "1 for a Gateway's credential that is in force as it is, 0 for one that can't be used.",
                &["credential"],
            )?,
        })
    }
}

impl NodeFamilies {
    fn new(r: &Registry) -> Result<Self, Error> {
        Ok(Self {
            workloads: gauges(
                r,
                "workloads",
                "Pods of this node that belong to the mesh, by state.",
                &["state"],
            )?,
            enrolment_errors: counters(
                r,
                "enrolment_errors_total",
                "Failed attempts to enrol a pod, by reason.",
                &["reason"],
            )?,
            capture_events: counters(
                r,
                "capture_events_total",
                "Events from the programs in the kernel, by kind.",
                &["kind"],
            )?,
            kernel_tls: gauges(
                r,
                "ktls_capability",
                "1 for what kernel TLS can on this node: cipher suites, splice, rekey.",
                &["capability"],
            )?,
            not_found: gauge(
                r,
                "pods_not_found",
                "Pods of this node that run, as the API server says, and whose processes aren't found: they are not captured.",
            )?,
            unguarded: gauge(
                r,
                "unknown_pods_unguarded",
                "1 while pods that the API server has not spoken of can't be held back, though they should be.",
            )?,
        })
    }
}

impl PolicyFamilies {
    fn new(r: &Registry) -> Result<Self, Error> {
        Ok(Self {
            generation: gauge(
                r,
                "policy_generation",
                "Generation of the objects and policy in force; 0 before the first.",
            )?,
            load_errors: gauges(
                r,
                "policy_load_errors",
                "1 while something of what there is to load can't be used, and what was in force of it stays: of the mesh, \
                 or of single namespaces only.",
                &["scope"],
            )?,
            last_load: time(
                r,
                "policy_last_load_timestamp_seconds",
                "When the generation in force was loaded; 0 before the first.",
            )?,
            stale: gauge(
                r,
                "source_stale",
                "1 while the API server can't be asked for some kind of objects: what it said last is in force.",
            )?,
            held_back: gauges(
                r,
                "policy_namespaces_held_back",
                "Namespaces with documents that can't be used, by what is in force there: what they said last, or nothing \
                 but refusals.",
                &["state"],
            )?,
        })
    }
}

impl Families {
    /// # Errors
    /// When two families have one name: a mistake in this file.
    pub(super) fn new() -> Result<Self, Error> {
        let registry = Registry::new();
        build_info(&registry)?;
        let families = Self {
            tcp: TcpTable::new(TCP_SERIES),
            tcp_overflow: counter(
                &registry,
                "tcp_series_overflow_total",
                "Connections counted under the name other, for want of room for more TCP series.",
            )?,
            connections: ConnectionFamilies::new(&registry)?,
            certificates: CertificateFamilies::new(&registry)?,
            node: NodeFamilies::new(&registry)?,
            policy: PolicyFamilies::new(&registry)?,
            registry,
        };
        families.start_at_zero();
        Ok(families)
    }

    /// Series that exist from the start: a rate over the first failure is right, and alerts see a zero.
    fn start_at_zero(&self) {
        let Self {
            connections,
            certificates,
            node,
            policy,
            ..
        } = self;
        for side in Side::ALL.iter().map(|s| s.as_str()) {
            connections.handshake_duration.with_label_values(&[side]);
            connections
                .handshakes
                .with_label_values(&[side, "ok", NO_REASON]);
            for reason in HandshakeFailure::ALL {
                connections
                    .handshakes
                    .with_label_values(&[side, "error", reason.as_str()]);
            }
        }
        for direction in Direction::ALL.iter().map(|d| d.as_str()) {
            connections.active.with_label_values(&[direction]);
            for reason in RefusalReason::ALL {
                connections
                    .refused
                    .with_label_values(&[direction, reason.as_str()]);
            }
        }
        for scope in ["mesh", "namespaces"] {
            policy.load_errors.with_label_values(&[scope]);
        }
        for state in ["last_good", "closed"] {
            policy.held_back.with_label_values(&[state]);
        }
        for state in ["enrolled", "failed"] {
            node.workloads.with_label_values(&[state]);
        }
        zero(&certificates.refresh, ["ok", "error"].into_iter());
        zero(
            &certificates.failures,
            IssueFailure::ALL.iter().map(|r| r.as_str()),
        );
        zero(&connections.dry_runs, ["allowed", "denied"].into_iter());
        zero(
            &connections.probes,
            ProbeResult::ALL.iter().map(|r| r.as_str()),
        );
        zero(&connections.cuts, CutReason::ALL.iter().map(|r| r.as_str()));
        zero(
            &node.enrolment_errors,
            EnrolmentFailure::ALL.iter().map(|r| r.as_str()),
        );
        zero(
            &node.capture_events,
            CaptureEvent::ALL.iter().map(|r| r.as_str()),
        );
    }
}

fn zero<'a>(family: &IntCounterVec, values: impl Iterator<Item = &'a str>) {
    for value in values {
        family.with_label_values(&[value]);
    }
}

fn build_info(registry: &Registry) -> Result<(), Error> {
    let opts = opts("build_info", "1, with the version of the agent.")
        .const_label("version", env!("CARGO_PKG_VERSION"));
    add(registry, IntGauge::with_opts(opts)?)?.set(1);
    Ok(())
}
