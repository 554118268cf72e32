//! What capture and the source tell: served, counted and logged.

use std::{collections::HashSet, sync::Arc, time::SystemTime};

use sealane_common::{Event, EventKind};
use tokio::sync::{mpsc::UnboundedReceiver, watch};

use crate::{
    capture::Notice,
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
            Notice::Event(event) => kernel_event(metrics, event),
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

fn kernel_event(metrics: &Metrics, event: Event) {
    let kind = match event.kind {
        EventKind::MAP_FULL => CaptureEvent::MapFull,
        EventKind::LEASE_LAPSED => CaptureEvent::LeaseLapsed,
        EventKind::NO_LISTENER => CaptureEvent::NoListener,
        EventKind::LISTEN_CHANGED => CaptureEvent::ListenChanged,
        EventKind::WENT_DIRECT => CaptureEvent::WentDirect,
        _ => CaptureEvent::Unknown,
    };
    metrics.capture_event(kind, 1);
    let address = std::net::IpAddr::from(event.address);
    tracing::debug!(kind = kind.as_str(), netns = event.netns, %address, port = event.port, "kernel");
}

/// Counts what the source loaded or could not.
pub(super) async fn watch_source(mut status: watch::Receiver<SourceStatus>, metrics: Metrics) {
    while status.changed().await.is_ok() {
        let now = status.borrow_and_update().clone();
        if now.errors.is_empty() {
            let at = now.loaded_at.map_or_else(SystemTime::now, SystemTime::from);
            metrics.policy_loaded(now.generation, at);
        } else {
            metrics.policy_load_failed();
        }
    }
}
