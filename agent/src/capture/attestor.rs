//! Keeps the wire of the enrolled pods watched, and forgets what is over. Works beside the capture task, on threads that
//! may wait: nothing of it stands in the way of capture, or of the lease.

use std::{collections::HashMap, sync::Arc, time::Duration};

use tokio::{
    sync::watch,
    time::{MissedTickBehavior, interval},
};

use super::{
    Pod,
    attest::{self, Attestation},
    netns::{Netns, NetnsCookie},
    programs::Pins,
    wire::Wire,
};
use crate::workload::ObjectName;

/// Interfaces are looked for, and what is over is removed, so often.
const EVERY: Duration = Duration::from_secs(2);
/// What could not be watched is tried again so many looks apart: the kernel checks the programs anew each time.
const AGAIN: u32 = 30;
/// Why, where nobody wants it.
const SWITCHED_OFF: &str = "switched off (--attestation off)";

/// Of the enrolled pods.
pub type Attestations = HashMap<ObjectName, Attestation>;

/// What is watched, by network namespace.
pub(super) struct Attestor {
    pins: Pins,
    wire: Wire,
    watched: HashMap<NetnsCookie, (Arc<Pod>, Attestation)>,
    looks: u32,
    /// Whether there is a program that follows what those of the pods hand on, and else why not.
    followed: Option<Result<(), String>>,
    attests: bool,
    told: watch::Sender<Attestations>,
}

impl Attestor {
    pub(super) fn new(
        pins: Pins,
        wire: Wire,
        attests: bool,
    ) -> (Self, watch::Receiver<Attestations>) {
        let (told, receiver) = watch::channel(Attestations::new());
        let attestor = Self {
            pins,
            wire,
            watched: HashMap::new(),
            looks: 0,
            followed: (!attests).then(|| Err(SWITCHED_OFF.to_owned())),
            attests,
            told,
        };
        (attestor, receiver)
    }

    /// Until nobody says any more which pods there are.
    pub(super) async fn run(mut self, mut pods: watch::Receiver<Vec<Arc<Pod>>>) {
        let mut tick = interval(EVERY);
        tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            let sweeps = tokio::select! {
                changed = pods.changed() => match changed {
                    Ok(()) => false,
                    Err(_) => return,
                },
                _ = tick.tick() => true,
            };
            let now = pods.borrow_and_update().clone();
            let looked = tokio::task::spawn_blocking(move || {
                self.look(&now);
                if sweeps {
                    self.looks = self.looks.wrapping_add(1);
                    self.wire.sweep(&now);
                }
                self
            });
            match looked.await {
                Ok(attestor) => self = attestor,
                Err(error) => {
                    tracing::error!(%error, "attestation has ended");
                    return;
                }
            }
        }
    }

    fn look(&mut self, pods: &[Arc<Pod>]) {
        let is_there = |cookie: &NetnsCookie| pods.iter().any(|pod| pod.netns.cookie() == *cookie);
        let gone: Vec<_> = self
            .watched
            .keys()
            .filter(|c| !is_there(c))
            .copied()
            .collect();
        for cookie in gone {
            if let Some((pod, _)) = self.watched.remove(&cookie) {
                self.unwatch(&pod.netns);
            }
        }
        let is_due = self.looks.is_multiple_of(AGAIN);
        let is_to_be_tried = match self.followed {
            _ if !self.attests => false,
            None => !pods.is_empty(),
            Some(Ok(())) => false,
            Some(Err(_)) => is_due,
        };
        if is_to_be_tried {
            let followed = self.pins.follow_wire();
            self.followed = Some(followed.map_err(|error| error.to_string()));
        }
        for pod in pods {
            self.watch(pod, is_due);
        }
        let all = self.watched.values();
        let now: Attestations = all.map(|(pod, a)| (pod.name.clone(), a.clone())).collect();
        self.told.send_if_modified(|told| {
            let is_new = *told != now;
            *told = now;
            is_new
        });
    }

    fn unwatch(&self, netns: &Netns) {
        attest::unwatch(netns);
        self.pins.detach_wire(netns.cookie());
    }

    /// Watches the interfaces that a pod has now.
    fn watch(&mut self, pod: &Arc<Pod>, is_due: bool) {
        let netns = &pod.netns;
        let before = self.watched.get(&netns.cookie()).map(|(_, before)| before);
        if !is_due && matches!(before, Some(Attestation::Off { .. })) {
            return;
        }
        if !self.attests && before.is_none() {
            // An earlier agent may have left its programs.
            self.unwatch(netns);
        }
        let now = match (&self.followed, netns.enter(attest::interfaces)) {
            (Some(Err(error)), _) => attest::off(error),
            (_, Ok(Ok(found))) => match before {
                Some(Attestation::On { interfaces, .. }) if found == *interfaces => return,
                _ => attest::watch(&self.pins, netns, found),
            },
            (_, Ok(Err(error))) => attest::off(&error),
            (_, Err(error)) => attest::off(&error),
        };
        match &now {
            Attestation::Off { why } if self.attests && before != Some(&now) => {
                tracing::warn!(workload = %pod.name, error = %why, "attestation is off");
            }
            Attestation::Off { .. } => {}
            Attestation::On { interfaces, method } => {
                tracing::debug!(workload = %pod.name, ?interfaces, %method, "attestation is on");
            }
        }
        self.watched.insert(netns.cookie(), (Arc::clone(pod), now));
    }
}
