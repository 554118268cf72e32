//! What capture and the source tell: served, counted and logged.

use std::{
    collections::{HashMap, HashSet},
    sync::Arc,
    time::{Duration, Instant},
};

use sealane_common::{Event, EventKind};
use tokio::sync::{mpsc::UnboundedReceiver, watch};

use crate::{
    capture::{CaptureStatus, Notice},
    control::SourceStatus,
    proxy::Proxy,
    telemetry::{CaptureEvent, EnrolmentFailure, Metrics},
    workload::ObjectName,
};

/// Serves the pods that were enrolled, until capture is gone.
pub(super) async fn handle(mut notices: UnboundedReceiver<Notice>, proxy: Arc<Proxy>) {
    let metrics = &proxy.metrics;
    let mut enrolled: HashSet<ObjectName> = HashSet::new();
    let mut failed: HashSet<ObjectName> = HashSet::new();
    let mut told = Told::default();
    while let Some(notice) = notices.recv().await {
        match notice {
            Notice::Enrolled { pod, listeners } => {
                tracing::info!(workload = %pod.name, netns = pod.netns.cookie().0, "enrolled");
                failed.remove(&pod.name);
                enrolled.insert(pod.name.clone());
                proxy.serve(&pod, listeners);
            }
            Notice::Left { name } => {
                tracing::info!(workload = %name, "left");
                enrolled.remove(&name);
                failed.remove(&name);
            }
            Notice::Failed { name, reason, .. } => {
                metrics.enrolment_failed(enrolment_failure(reason));
                enrolled.remove(&name);
                failed.insert(name);
            }
            Notice::Event(event) => kernel_event(metrics, &mut told, event),
            Notice::MapError { .. } => metrics.enrolment_failed(EnrolmentFailure::Map),
        }
        metrics.set_workloads(enrolled.len(), failed.len());
    }
}

fn enrolment_failure(reason: &str) -> EnrolmentFailure {
    match reason {
        "cgroup" => EnrolmentFailure::Cgroup,
        "listen" | "listening" => EnrolmentFailure::Listen,
        "capture" => EnrolmentFailure::Attach,
        _ => EnrolmentFailure::Netns,
    }
}

/// Events of one kind are told at most once in this time; the metric counts all.
const QUIET: Duration = Duration::from_secs(1);

/// When each kind of event was last told.
#[derive(Default)]
struct Told(HashMap<u32, Instant>);

impl Told {
    fn is_due(&mut self, kind: u32) -> bool {
        let now = Instant::now();
        let due = self
            .0
            .get(&kind)
            .is_none_or(|last| now.duration_since(*last) >= QUIET);
        // Kinds that aren't known share one entry: the table is as long as the list of kinds.
        if due && (kind <= EventKind::UNKNOWN_POD || self.0.is_empty()) {
            self.0.insert(kind, now);
        }
        due
    }
}

fn kernel_event(metrics: &Metrics, told: &mut Told, event: Event) {
    let (kind, text) = match event.kind {
        EventKind::MAP_FULL => (
            CaptureEvent::MapFull,
            "refused: a shared map is full, too many connections or listening ports on this node",
        ),
        EventKind::LEASE_LAPSED => (
            CaptureEvent::LeaseLapsed,
            "refused: the agent's lease had lapsed and policy wants encryption",
        ),
        EventKind::NO_LISTENER => (
            CaptureEvent::NoListener,
            "refused: the agent has no listener of this address family in the pod",
        ),
        EventKind::LISTEN_CHANGED => (CaptureEvent::ListenChanged, "a port is listened on no more"),
        EventKind::WENT_DIRECT => (
            CaptureEvent::WentDirect,
            "went directly and in clear: the agent's lease had lapsed and policy allows it",
        ),
        EventKind::UNKNOWN_POD => (
            CaptureEvent::UnknownPod,
            "refused: it is not known yet whether the pod is in the mesh",
        ),
        _ => (CaptureEvent::Unknown, "unknown event"),
    };
    metrics.capture_event(kind, 1);
    if told.is_due(event.kind) {
        let address = std::net::IpAddr::from(event.address);
        tracing::warn!(netns = event.netns, %address, port = event.port, "{text}");
    }
}

/// Counts what the source loaded or could not.
pub(super) async fn watch_source(mut status: watch::Receiver<SourceStatus>, metrics: Metrics) {
    while status.changed().await.is_ok() {
        let now = status.borrow_and_update().clone();
        let closed = now.held_back.iter().filter(|held| held.closed).count();
        metrics.set_held_back(now.held_back.len() - closed, closed);
        metrics.set_not_found(now.not_found.len());
        if let Some(at) = now.loaded_at {
            metrics.policy_loaded(now.generation, at.into());
        }
        metrics.set_stale(now.stale > 0);
        let any = now.errors.len() > now.stale;
        metrics.set_policy_errors(any && !now.confined, any && now.confined);
    }
}

/// Counts what capture can't do on this node.
pub(super) async fn watch_capture(mut status: watch::Receiver<CaptureStatus>, metrics: Metrics) {
    while status.changed().await.is_ok() {
        metrics.set_unguarded(status.borrow_and_update().unguarded);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_source_that_cant_be_asked_is_no_bad_policy() {
        let metrics = Metrics::new().unwrap();
        let (sender, status) = watch::channel(SourceStatus::default());
        sender.send_replace(SourceStatus {
            errors: vec!["Pod: 503".to_owned()],
            stale: 1,
            confined: true,
            ..SourceStatus::default()
        });
        drop(sender);
        watch_source(status, metrics.clone()).await;
        let text = metrics.render();
        for line in [
            "sealane_source_stale 1",
            "sealane_policy_load_errors{scope=\"mesh\"} 0",
            "sealane_policy_load_errors{scope=\"namespaces\"} 0",
        ] {
            assert!(text.lines().any(|l| l == line), "{line}");
        }
    }
}
