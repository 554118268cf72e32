//! Istio's standard TCP metrics (<https://istio.io/latest/docs/reference/config/metrics/>).
//!
//! Kept apart from the registry of the other families: that one joins label values without a separator to
//! tell series apart, which is too weak for names that users choose. A connection finds its series once and
//! then only adds to four counters.

use std::{
    collections::HashMap,
    fmt::Write,
    sync::{
        Arc, PoisonError, RwLock,
        atomic::{AtomicU64, Ordering},
    },
};

use super::{Reporter, ResponseFlags, Security};
use crate::{
    identity::SpiffeId,
    workload::{Service, Workload},
};

/// Istio's word for what isn't known.
const UNKNOWN: &str = "unknown";
/// Name of all workloads for which there was no room left.
const OTHER: &str = "other";
/// Istio's name of a single cluster.
const CLUSTER: &str = "Kubernetes";

/// One end of a connection.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct PeerLabels {
    pub workload: String,
    pub namespace: String,
    /// The SPIFFE ID, where it was proven.
    pub principal: String,
    pub app: String,
    pub version: String,
    pub canonical_service: String,
    pub canonical_revision: String,
    pub cluster: String,
}

/// The service that was asked for.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct ServiceLabels {
    /// The host name, or the address when no service was asked for.
    pub host: String,
    pub name: String,
    pub namespace: String,
}

/// What tells one series from another.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct TcpLabels {
    pub reporter: Reporter,
    pub source: PeerLabels,
    pub destination: PeerLabels,
    pub service: ServiceLabels,
    pub response_flags: ResponseFlags,
    pub security: Security,
}

/// The counters of one series; clones count into the same.
#[derive(Clone, Debug)]
pub struct TcpSeries(Arc<Series>);

#[derive(Debug)]
struct Series {
    /// Rendered once: `{reporter="source",…}`.
    labels: String,
    counters: [AtomicU64; 4],
}

/// Name and help of the four families, in the order of the counters.
const FAMILIES: [(&str, &str); 4] = [
    (
        "istio_tcp_connections_opened_total",
        "TCP connections opened.",
    ),
    (
        "istio_tcp_connections_closed_total",
        "TCP connections closed.",
    ),
    (
        "istio_tcp_sent_bytes_total",
        "Bytes of the application sent from servers to clients.",
    ),
    (
        "istio_tcp_received_bytes_total",
        "Bytes of the application received by servers from clients.",
    ),
];
const OPENED: usize = 0;
const CLOSED: usize = 1;
const SENT: usize = 2;
const RECEIVED: usize = 3;

impl TcpSeries {
    pub fn opened(&self) {
        self.add(OPENED, 1);
    }

    pub fn closed(&self) {
        self.add(CLOSED, 1);
    }

    /// Bytes that the server sent to the client.
    pub fn sent(&self, bytes: u64) {
        self.add(SENT, bytes);
    }

    /// Bytes that the server received from the client.
    pub fn received(&self, bytes: u64) {
        self.add(RECEIVED, bytes);
    }

    fn add(&self, counter: usize, amount: u64) {
        self.0.counters[counter].fetch_add(amount, Ordering::Relaxed);
    }
}

/// All series, at most as many as there is room for.
#[derive(Debug)]
pub(super) struct TcpTable {
    room: usize,
    series: RwLock<HashMap<TcpLabels, TcpSeries>>,
}

impl TcpTable {
    pub(super) fn new(room: usize) -> Self {
        Self {
            room,
            series: RwLock::default(),
        }
    }

    /// The series of these labels, and whether there was no room left for one of its own.
    pub(super) fn series(&self, labels: &TcpLabels) -> (TcpSeries, bool) {
        let read = self.series.read().unwrap_or_else(PoisonError::into_inner);
        if let Some(series) = read.get(labels) {
            return (series.clone(), false);
        }
        drop(read);
        let mut all = self.series.write().unwrap_or_else(PoisonError::into_inner);
        if all.len() < self.room || all.contains_key(labels) {
            return (insert(&mut all, labels.clone()), false);
        }
        (insert(&mut all, labels.without_names()), true)
    }

    /// Removes what `keep` refuses, except series that connections still count into.
    pub(super) fn retain(&self, keep: impl Fn(&TcpLabels) -> bool) {
        let mut all = self.series.write().unwrap_or_else(PoisonError::into_inner);
        all.retain(|labels, series| Arc::strong_count(&series.0) > 1 || keep(labels));
    }

    /// Appends the families in Prometheus's text format 0.0.4.
    pub(super) fn render(&self, out: &mut String) {
        let all = self.series.read().unwrap_or_else(PoisonError::into_inner);
        let mut series: Vec<TcpSeries> = all.values().cloned().collect();
        drop(all);
        series.sort_by(|a, b| a.0.labels.cmp(&b.0.labels));
        for (index, (name, help)) in FAMILIES.iter().enumerate() {
            // Writing to a String can't fail.
            let _ = writeln!(out, "# HELP {name} {help}\n# TYPE {name} counter");
            for TcpSeries(series) in &series {
                let value = series.counters[index].load(Ordering::Relaxed);
                let _ = writeln!(out, "{name}{} {value}", series.labels);
            }
        }
    }
}

fn insert(all: &mut HashMap<TcpLabels, TcpSeries>, labels: TcpLabels) -> TcpSeries {
    let fresh = || Series {
        labels: String::new(),
        counters: Default::default(),
    };
    match all.get(&labels) {
        Some(series) => series.clone(),
        None => {
            let series = TcpSeries(Arc::new(Series {
                labels: labels.rendered(),
                ..fresh()
            }));
            all.insert(labels, series.clone());
            series
        }
    }
}

impl TcpLabels {
    /// Names and values as Istio has them.
    fn pairs(&self) -> [(&'static str, &str); 23] {
        let Self {
            source,
            destination,
            service,
            ..
        } = self;
        [
            ("reporter", self.reporter.as_str()),
            ("source_workload", &source.workload),
            ("source_workload_namespace", &source.namespace),
            ("source_principal", &source.principal),
            ("source_app", &source.app),
            ("source_version", &source.version),
            ("source_canonical_service", &source.canonical_service),
            ("source_canonical_revision", &source.canonical_revision),
            ("source_cluster", &source.cluster),
            ("destination_workload", &destination.workload),
            ("destination_workload_namespace", &destination.namespace),
            ("destination_principal", &destination.principal),
            ("destination_app", &destination.app),
            ("destination_version", &destination.version),
            (
                "destination_canonical_service",
                &destination.canonical_service,
            ),
            (
                "destination_canonical_revision",
                &destination.canonical_revision,
            ),
            ("destination_cluster", &destination.cluster),
            ("destination_service", &service.host),
            ("destination_service_name", &service.name),
            ("destination_service_namespace", &service.namespace),
            ("request_protocol", "tcp"),
            ("response_flags", self.response_flags.as_str()),
            ("connection_security_policy", self.security.as_str()),
        ]
    }

    fn rendered(&self) -> String {
        let mut text = String::from("{");
        for (index, (name, value)) in self.pairs().into_iter().enumerate() {
            if index > 0 {
                text.push(',');
            }
            text.push_str(name);
            text.push_str("=\"");
            for c in value.chars() {
                match c {
                    '\\' => text.push_str("\\\\"),
                    '"' => text.push_str("\\\""),
                    '\n' => text.push_str("\\n"),
                    c => text.push(c),
                }
            }
            text.push('"');
        }
        text.push('}');
        text
    }

    fn without_names(&self) -> Self {
        Self {
            source: PeerLabels::all_named(OTHER),
            destination: PeerLabels::all_named(OTHER),
            service: ServiceLabels {
                host: OTHER.to_owned(),
                name: OTHER.to_owned(),
                namespace: OTHER.to_owned(),
            },
            ..self.clone()
        }
    }
}

impl PeerLabels {
    /// A workload of the mesh; `principal` only when its certificate was seen.
    #[must_use]
    pub fn of(workload: &Workload, principal: Option<&SpiffeId>) -> Self {
        let names = &workload.telemetry;
        Self {
            workload: names.workload.clone(),
            namespace: workload.namespace().to_owned(),
            principal: principal.map_or_else(|| UNKNOWN.to_owned(), ToString::to_string),
            app: names.app.clone(),
            version: names.version.clone(),
            canonical_service: names.canonical_service.clone(),
            canonical_revision: names.canonical_revision.clone(),
            cluster: CLUSTER.to_owned(),
        }
    }

    /// Someone whom the mesh doesn't know.
    #[must_use]
    pub fn unknown() -> Self {
        Self::all_named(UNKNOWN)
    }

    fn all_named(name: &str) -> Self {
        let name = || name.to_owned();
        Self {
            workload: name(),
            namespace: name(),
            principal: name(),
            app: name(),
            version: name(),
            canonical_service: name(),
            canonical_revision: name(),
            cluster: name(),
        }
    }
}

impl ServiceLabels {
    #[must_use]
    pub fn of(service: &Service) -> Self {
        Self {
            host: service.host.clone(),
            name: service.name.name.to_string(),
            namespace: service.name.namespace.to_string(),
        }
    }

    /// A workload was asked for directly: Istio takes its canonical service for the name.
    #[must_use]
    pub fn of_workload(workload: &Workload) -> Self {
        Self {
            host: UNKNOWN.to_owned(),
            name: workload.telemetry.canonical_service.clone(),
            namespace: workload.namespace().to_owned(),
        }
    }

    #[must_use]
    pub fn unknown() -> Self {
        let name = || UNKNOWN.to_owned();
        Self {
            host: name(),
            name: name(),
            namespace: name(),
        }
    }
}

#[cfg(test)]
mod tests;
