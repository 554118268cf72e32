//! Answers what the admin side asks, from what the parts have published.

mod capture;
mod certificate;
pub(super) mod connection;
mod degradation;
mod flow;
mod verify;

use std::{
    collections::HashMap,
    sync::Arc,
    time::{Duration, SystemTime},
};

use jiff::Timestamp;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use self::degradation::Nowhere;
use super::{offload, taint};
use crate::{
    admin::{Health, Inspect, Recording, api},
    ca::{Issuer, Svids},
    capture::{Attestations, CaptureStatus, PROGRAMS, PodState, Wire},
    config::{AgentConfig, SourceConfig},
    control::{Candidate, LoadErrors, NotFound, Settings, SourceStatus},
    proxy::Proxy,
    review::{self, Authorized, Diff, Explanation, Flows, TargetError, TlsRow},
    store::Reader,
    telemetry::Direction,
    trust::TrustReader,
    workload::{ObjectName, Workload},
};

pub(super) use self::capture::Recordings;

/// Handles on everything that can be asked for.
pub(super) struct Inspector {
    pub(super) started: SystemTime,
    pub(super) store: Reader,
    pub(super) source: watch::Receiver<SourceStatus>,
    pub(super) capture: watch::Receiver<CaptureStatus>,
    pub(super) wire: Wire,
    pub(super) attestations: watch::Receiver<Attestations>,
    pub(super) svids: Arc<Svids<Issuer>>,
    pub(super) trust: TrustReader,
    pub(super) proxy: Arc<Proxy>,
    pub(super) config: AgentConfig,
    pub(super) recordings: Recordings,
}

/// Writes the log line `ready` once nothing is missing any more.
pub(super) async fn announce_ready(inspector: Arc<Inspector>, stop: CancellationToken) {
    let (mut source, mut capture) = (inspector.source.clone(), inspector.capture.clone());
    while !inspector.unready().is_empty() {
        tokio::select! {
            () = stop.cancelled() => return,
            changed = source.changed() => if changed.is_err() { return },
            changed = capture.changed() => if changed.is_err() { return },
        }
    }
    tracing::info!(node = inspector.config.node, "ready");
    taint::take_off(&inspector.config, &stop).await;
}

impl Health for Inspector {
    fn unready(&self) -> Vec<String> {
        let mut missing = Vec::new();
        let source = self.source.borrow().clone();
        if source.generation == 0 {
            missing.push(match source.errors.first() {
                Some(error) => format!("source: {error}"),
                None => "source: not loaded yet".to_owned(),
            });
        }
        if let Some(held) = source.closed_mesh() {
            missing.push(format!(
                "source: the policy of the whole mesh (namespace {}) has never been readable, and every connection is \
                 refused: {}",
                held.namespace, held.error
            ));
        }
        let capture = self.capture.borrow().clone();
        if !capture.active {
            missing.push("capture: not active yet".to_owned());
        }
        if capture.unguarded {
            missing.push(format!(
                "capture: no kubepods cgroup below {}: pods that are not known yet are not held back; mount the node's \
                 cgroup v2 hierarchy, or say --unknown-pods=pass",
                self.config.cgroup_root.display()
            ));
        }
        if !self.svids.healthy() {
            missing.push("ca: a certificate could not be issued".to_owned());
        }
        missing
    }

    fn degraded(&self) -> Vec<String> {
        degradation::lines(&self.source.borrow())
    }

    fn metrics(&self) -> String {
        self.proxy.metrics.render_with(&verify::rows(self))
    }
}

impl Inspect for Inspector {
    fn status(&self) -> api::Status {
        let snapshot = self.store.current();
        let unready = self.unready();
        let source = self.source.borrow().clone();
        let not_found = source.not_found.clone();
        let capture = self.capture.borrow().clone();
        let (pending, limit) = self.proxy.pending.usage();
        let age = self.started.elapsed().unwrap_or_default();
        api::Status {
            version: env!("CARGO_PKG_VERSION").to_owned(),
            node: self.config.node.clone(),
            ready: unready.is_empty(),
            unready,
            started_at: timestamp(self.started),
            uptime_seconds: age.as_secs(),
            trust_domain: self.config.mesh.trust_domain.to_string(),
            generation: snapshot.generation,
            source: self::source(self.config.source.to_string(), source),
            ca: self.authority(),
            trusted: super::trust::status(&self.trust),
            capture: api::Capture {
                attached: capture.active,
                programs: PROGRAMS.iter().map(ToString::to_string).collect(),
                attestation: verify::attestation(&self.attestations.borrow(), &capture),
            },
            kernel_tls: offload::status(&self.proxy.offload),
            kubelet: self.kubelet(),
            workloads: self.workloads(&capture, &not_found),
            conflicts: snapshot
                .conflicts()
                .iter()
                .map(ToString::to_string)
                .collect(),
            limits: vec![self::pending(pending, limit)],
        }
    }

    fn connections(&self) -> Vec<api::Connection> {
        self.proxy
            .connections
            .list()
            .iter()
            .map(|c| connection::shown(c))
            .collect()
    }

    fn certificates(&self) -> Vec<api::Certificate> {
        self.svids
            .list()
            .into_iter()
            .map(certificate::shown)
            .collect()
    }

    fn explain(&self, client: &str, server: &str) -> Result<Explanation, TargetError> {
        review::explain(&self.store.current(), client, server)
    }

    fn tls_check(
        &self,
        client: Option<&str>,
        server: Option<&str>,
    ) -> Result<Vec<TlsRow>, TargetError> {
        let snapshot = self.store.current();
        let mut rows = review::tls_check(&snapshot, client, server)?;
        let observer = connection::Observer {
            client: client.map(|c| review::client(&snapshot, c)).transpose()?,
            node: &self.config.node,
            snapshot: &snapshot,
        };
        observer.count(&self.proxy.connections.list(), &mut rows);
        Ok(rows)
    }

    fn authz_check(&self, workload: &str) -> Result<Vec<Authorized>, TargetError> {
        review::authz_check(&self.store.current(), workload)
    }

    fn verify(&self, workload: Option<&str>) -> Result<api::Verification, String> {
        verify::verify(self, workload)
    }

    fn capture(&self, question: &api::CaptureQuestion) -> Result<Recording, String> {
        capture::capture(self, question)
    }

    fn flows(&self, last: Duration) -> Flows {
        // Nothing is known of what was before.
        let last = last.min(self.config.flow_retention);
        flow::shown(self.proxy.recent_flows(last), last)
    }

    fn policy_diff(&self, question: &api::PolicyDiff) -> Result<Diff, LoadErrors> {
        let candidate = Candidate::read(&question.files)?;
        let settings = Settings::from(self.config.mesh.clone());
        let mut flows = self.flows(Duration::from_secs(question.last_seconds));
        review::by_client(&mut flows.flows);
        let snapshot = self.store.current();
        let policy = candidate.compile(&settings, &snapshot.documents, question.replace);
        let mut diff = review::diff(&snapshot, &policy, &candidate.untried(), flows.flows);
        diff.window_seconds = Some(flows.window_seconds);
        diff.summary.evicted = flows.evicted;
        diff.warnings.splice(..0, candidate.warnings);
        Ok(diff)
    }
}

impl Inspector {
    fn authority(&self) -> api::Authority {
        let error = self.svids.list().into_iter().find_map(|s| s.last_error);
        api::Authority {
            healthy: self.svids.healthy(),
            address: self.svids.issuer().address(),
            root_not_after: self.svids.issuer().not_after().map(timestamp),
            error,
        }
    }

    fn kubelet(&self) -> api::Kubelet {
        let found = self.proxy.kubelet.cgroup();
        api::Kubelet {
            error: found.as_ref().err().map(ToString::to_string),
            cgroup: found.ok().map(|path| path.display().to_string()),
        }
    }

    fn workloads(&self, capture: &CaptureStatus, not_found: &[NotFound]) -> Vec<api::Workload> {
        let snapshot = self.store.current();
        let open = self.open_connections();
        let nowhere = |workload| match self.config.source {
            SourceConfig::Directory(_) => Nowhere::Unsaid,
            SourceConfig::Cluster { .. } => degradation::nowhere(workload, not_found),
        };
        let mut rows: Vec<_> = snapshot
            .workloads()
            .filter(|w| w.enrolled && *w.node.name == *self.config.node)
            .map(|workload| {
                let effective = snapshot.policy.workload_mode(workload);
                let ports = snapshot.policy.port_modes(workload);
                let pod = capture.pods.get(&workload.name);
                api::Workload {
                    mode: effective.mode.to_string(),
                    policy: effective.document.map(ToString::to_string),
                    ports: ports.into_iter().map(|(p, m)| (p, m.to_string())).collect(),
                    connections: open.get(&workload.name).copied().unwrap_or(0),
                    ..workload_row(workload, pod, || nowhere(workload))
                }
            })
            .collect();
        rows.sort_by(|a, b| a.name.cmp(&b.name));
        rows
    }

    fn open_connections(&self) -> HashMap<ObjectName, u64> {
        let mut open = HashMap::new();
        for connection in self.proxy.connections.list() {
            let Some(route) = connection.route() else {
                continue;
            };
            let local = match connection.direction {
                Direction::Inbound => route.server.as_ref(),
                Direction::Outbound => route.source.as_ref(),
            };
            if let Some(workload) = local {
                *open.entry(workload.name.clone()).or_insert(0) += 1;
            }
        }
        open
    }
}

/// `nowhere`: why it isn't said where it lives.
fn workload_row(
    workload: &Workload,
    pod: Option<&PodState>,
    nowhere: impl FnOnce() -> Nowhere,
) -> api::Workload {
    let (state, error) = match (workload.sandbox(), pod) {
        (_, Some(PodState::Enrolled { .. })) => (api::WorkloadState::Enrolled, None),
        (_, Some(PodState::Failed { error })) => (api::WorkloadState::Failed, Some(error.clone())),
        (Some(_), None) => (api::WorkloadState::Pending, None),
        (None, None) => match nowhere() {
            Nowhere::Looked => (api::WorkloadState::Pending, None),
            Nowhere::Missing(error) => (api::WorkloadState::Failed, Some(error)),
            Nowhere::Unsaid => {
                let error = "no annotations sealane.dev/netns and sealane.dev/cgroup".to_owned();
                (api::WorkloadState::Failed, Some(error))
            }
        },
    };
    api::Workload {
        name: workload.name.to_string(),
        identity: workload.identity.to_string(),
        addresses: workload.addresses.to_vec(),
        netns: workload
            .sandbox()
            .map(|s| s.netns.path().display().to_string()),
        state,
        error,
        mode: String::new(),
        policy: None,
        ports: std::collections::BTreeMap::new(),
        probes: workload.probe_ports.to_vec(),
        connections: 0,
    }
}

pub(super) fn source(dir: String, status: SourceStatus) -> api::Source {
    api::Source {
        dir,
        loaded_at: status.loaded_at,
        errors: status.errors,
        warnings: status.warnings,
        held_back: status
            .held_back
            .into_iter()
            .map(degradation::held_back)
            .collect(),
        not_found: status
            .not_found
            .into_iter()
            .map(degradation::not_found)
            .collect(),
    }
}

/// Connections whose handshake isn't over.
pub(super) fn pending(used: usize, limit: usize) -> api::Limit {
    api::Limit {
        name: "pending connections".to_owned(),
        used: used as u64,
        limit: limit as u64,
    }
}

pub(super) fn timestamp(time: SystemTime) -> Timestamp {
    Timestamp::try_from(time).unwrap_or(Timestamp::UNIX_EPOCH)
}
