//! The capture task: one owner of all state, woken by changes, time and the kernel.

use std::{
    collections::{HashMap, HashSet},
    sync::Arc,
    time::Duration,
};

use sealane_common::{AgentState, Event};
use tokio::{
    sync::{mpsc, watch},
    task::block_in_place,
    time::{Instant, MissedTickBehavior, interval},
};
use tokio_util::sync::CancellationToken;

use super::{
    attestor::{Attestations, Attestor},
    boottime, cgroup,
    desired::Desired,
    destinations::Destinations,
    enrol::{Enrolled, Listeners, Pod},
    error::{CaptureError, EnrolError},
    flows::Flows,
    maps::{Maps, Taken, map_error},
    netns::{Home, NetnsCookie},
    programs::{self, CaptureConfig, Pins},
    wire::Wire,
};
use crate::workload::ObjectName;
use strangers::Strangers;
pub use strangers::cgroup_of_pods;

mod apply;
mod events;
mod listening;
mod strangers;

/// How often failed enrolments are tried again and listening sockets are looked up.
const RETRY: Duration = Duration::from_secs(1);

/// The capture of this node's pods.
pub struct Capture {
    config: CaptureConfig,
    home: Home,
    pins: Pins,
    maps: Maps,
    events: events::Ring,
    own_cgroup: u64,
    lease: Duration,
    desired: Desired,
    enrolled: HashMap<ObjectName, Enrolled>,
    failed: HashMap<ObjectName, EnrolError>,
    strangers: Strangers,
    /// Who watches the wire, until it runs, and what it is told.
    attestor: Option<Attestor>,
    served: watch::Sender<Vec<Arc<Pod>>>,
    /// A map could not be written: to be applied again.
    incomplete: bool,
    /// What stands in the destinations map.
    destinations: Arc<Destinations>,
    /// Of these, what an earlier agent captured and this one has not been told of yet.
    inherited: HashSet<sealane_common::Address>,
    notices: mpsc::UnboundedSender<Notice>,
    status: watch::Sender<CaptureStatus>,
}

/// What capture tells the rest of the agent.
#[derive(Debug)]
pub enum Notice {
    /// A pod is captured: serve these listeners until `pod.stop`.
    Enrolled { pod: Arc<Pod>, listeners: Listeners },
    /// A pod left.
    Left { name: ObjectName },
    /// A pod can't be enrolled; it is tried again every second, told once per error.
    Failed {
        name: ObjectName,
        reason: &'static str,
        error: String,
    },
    /// The kernel refused or let pass something.
    Event(Event),
    /// The shared maps could not be written.
    MapError { error: String },
}

/// For readiness and `sealane status`.
#[derive(Clone, Debug, Default)]
pub struct CaptureStatus {
    /// Whether the first desired state has been applied and the lease runs.
    pub active: bool,
    /// Pods that aren't known can't be held back, though they should be: their cgroup hasn't been found.
    pub unguarded: bool,
    pub pods: HashMap<ObjectName, PodState>,
}

/// What the rest of the agent is given of capture.
pub struct Handles {
    pub flows: Flows,
    pub wire: Wire,
    pub notices: mpsc::UnboundedReceiver<Notice>,
    pub status: watch::Receiver<CaptureStatus>,
    pub attestations: watch::Receiver<Attestations>,
}

/// How far a pod of this node is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum PodState {
    Enrolled { netns: u64 },
    Failed { error: String },
}

impl Capture {
    /// Attaches the programs. Nothing is captured before [`run`](Self::run) applies the first desired state;
    /// what an earlier agent left stays in force until then.
    ///
    /// # Errors
    /// When the kernel, the cgroup root or the bpf file system doesn't allow it.
    pub fn attach(config: CaptureConfig, lease: Duration) -> Result<(Self, Handles), CaptureError> {
        let home = Home::open()?;
        let own_cgroup = cgroup::own().map_err(CaptureError::OwnCgroup)?;
        let (pins, taken, mut ebpf) = programs::attach_all(&config)?;
        let Taken {
            maps,
            flows,
            wire,
            events,
        } = taken;
        if config.trace {
            events::start_trace(&mut ebpf);
        }
        let events = events::Ring::new(events).map_err(CaptureError::Events)?;
        let (notices, notice_receiver) = mpsc::unbounded_channel();
        let (status, status_receiver) = watch::channel(CaptureStatus::default());
        let strangers = Strangers::new(&config, &home);
        let (attestor, attestations) = Attestor::new(pins.clone(), wire.clone(), config.attests);
        let capture = Self {
            config,
            strangers,
            home,
            pins,
            maps,
            events,
            own_cgroup,
            lease,
            desired: Desired::default(),
            attestor: Some(attestor),
            served: watch::Sender::default(),
            enrolled: HashMap::new(),
            failed: HashMap::new(),
            incomplete: false,
            destinations: Arc::default(),
            inherited: HashSet::new(),
            notices,
            status,
        };
        let handles = Handles {
            flows,
            wire,
            notices: notice_receiver,
            status: status_receiver,
            attestations,
        };
        Ok((capture, handles))
    }

    /// Applies every desired state that arrives until `stop`, then stops capturing: the lease ends, so that
    /// the kernel does with new connections what policy says of agent loss.
    pub async fn run(
        mut self,
        mut desired: watch::Receiver<Option<Desired>>,
        stop: CancellationToken,
    ) {
        tokio::select! {
            () = stop.cancelled() => return,
            first = desired.wait_for(Option::is_some) => {
                let Ok(first) = first.map(|d| d.clone().unwrap_or_default()) else { return };
                self.adopt();
                block_in_place(|| self.apply(first));
                programs::remove_other_layouts(&self.config.bpffs);
            }
        }
        self.renew_lease();
        if let Some(attestor) = self.attestor.take() {
            tokio::spawn(attestor.run(self.served.subscribe()));
        }
        self.status.send_modify(|status| status.active = true);
        let mut lease = ticker(self.lease / 4);
        let mut retry = ticker(RETRY);
        loop {
            tokio::select! {
                () = stop.cancelled() => break,
                _ = lease.tick() => self.renew_lease(),
                _ = retry.tick() => self.look_again(),
                changed = desired.changed() => {
                    if changed.is_err() { break }
                    let next = desired.borrow_and_update().clone();
                    block_in_place(|| self.apply(next.unwrap_or_default()));
                }
                events = self.events.next() => match events {
                    Ok(events) => self.handle_events(events),
                    Err(error) => {
                        tracing::error!(%error, "event ring");
                        break;
                    }
                },
            }
        }
        self.end_lease();
    }

    fn renew_lease(&mut self) {
        let lease = u64::try_from(self.lease.as_nanos()).unwrap_or(u64::MAX);
        self.write_lease(boottime().saturating_add(lease));
    }

    fn end_lease(&mut self) {
        self.write_lease(0);
        let pods: Vec<_> = self.enrolled.values().map(|e| Arc::clone(&e.pod)).collect();
        for pod in pods {
            self.unlist(pod.netns.cookie());
            pod.stop.cancel();
        }
        self.status.send_modify(|status| status.active = false);
    }

    fn write_lease(&mut self, lease_expires: u64) {
        let state = AgentState {
            lease_expires,
            cgroup: self.own_cgroup,
            pods: self.strangers.pods(),
        };
        let unguarded = self.strangers.are_unguarded();
        self.status.send_if_modified(|status| {
            let before = std::mem::replace(&mut status.unguarded, unguarded);
            before != unguarded
        });
        if let Err(error) = self.maps.agent.set(0, state, 0) {
            self.map_failed(&map_error(sealane_common::map::AGENT, error));
        }
    }

    fn map_failed(&mut self, error: &CaptureError) {
        self.incomplete = true;
        tracing::error!(%error, "shared map");
        self.notify(Notice::MapError {
            error: error.to_string(),
        });
    }

    fn notify(&self, notice: Notice) {
        // The receiver only goes away when the agent ends.
        let _ = self.notices.send(notice);
    }

    fn publish_status(&self) {
        let enrolled = self.enrolled.iter().map(|(name, enrolled)| {
            let netns = enrolled.pod.netns.cookie().0;
            (name.clone(), PodState::Enrolled { netns })
        });
        let failed = self.failed.iter().map(|(name, error)| {
            (
                name.clone(),
                PodState::Failed {
                    error: error.to_string(),
                },
            )
        });
        let pods = enrolled.chain(failed).collect();
        self.status.send_modify(|status| status.pods = pods);
        let served = self.enrolled.values().map(|e| Arc::clone(&e.pod));
        self.served.send_replace(served.collect());
    }

    fn by_cookie(&self, cookie: NetnsCookie) -> Option<&Enrolled> {
        self.enrolled
            .values()
            .find(|e| e.pod.netns.cookie() == cookie)
    }
}

fn ticker(period: Duration) -> tokio::time::Interval {
    let mut ticker = interval(period);
    ticker.set_missed_tick_behavior(MissedTickBehavior::Delay);
    ticker.reset_at(Instant::now() + period);
    ticker
}
