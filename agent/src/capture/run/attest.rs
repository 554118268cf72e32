//! Keeps the wire of the enrolled pods watched. Nothing of it may stand in the way of capture.

use std::sync::Arc;

use super::Capture;
use crate::capture::{
    Pod,
    attest::{self, Attestation},
    netns::NetnsCookie,
};

/// Interfaces are looked for, and what is over is removed, so many looks at the pods apart.
const EVERY: u32 = 2;
/// What could not be watched is tried again so many looks apart: the kernel checks the programs anew each time.
const AGAIN: u32 = 60;

impl Capture {
    pub(super) fn watch(&mut self, pod: &Pod) {
        let again = self.looks.is_multiple_of(AGAIN);
        if self.watched.update(&self.pins, &pod.netns, again) {
            match self.watched.get(pod.netns.cookie()) {
                Some(Attestation::Off { why }) => {
                    tracing::warn!(workload = %pod.name, error = %why, "attestation is off");
                }
                Some(Attestation::On { interfaces, method }) => {
                    tracing::debug!(workload = %pod.name, ?interfaces, %method, "attestation is on");
                }
                None => {}
            }
        }
    }

    pub(super) fn unwatch(&mut self, pod: &Pod) {
        attest::unwatch(&pod.netns);
        self.watched.forget(&self.pins, pod.netns.cookie());
    }

    pub(super) fn forget_wire(&mut self, cookie: NetnsCookie) {
        self.watched.forget(&self.pins, cookie);
    }

    /// Once in a while: interfaces that came or could not be watched, and the sweep.
    pub(super) fn look_at_the_wire(&mut self) {
        self.looks = self.looks.wrapping_add(1);
        if !self.looks.is_multiple_of(EVERY) {
            return;
        }
        let pods: Vec<_> = self.enrolled.values().map(|e| Arc::clone(&e.pod)).collect();
        for pod in &pods {
            self.watch(pod);
        }
        self.publish_status();
        if self.sweep.as_ref().is_none_or(|sweep| sweep.is_finished()) {
            let wire = self.wire.clone();
            self.sweep = Some(tokio::task::spawn_blocking(move || wire.sweep(&pods)));
        }
    }
}
