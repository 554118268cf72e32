//! From the state as it is to the state as it should be.

use std::{
    collections::{HashMap, HashSet},
    os::fd::AsRawFd as _,
};

use aya::maps::lpm_trie::Key;
use sealane_common::{Address, ListenKey, ListenerKey, map};

use super::{Capture, Notice};
use crate::{
    capture::{
        desired::{Desired, DesiredPod},
        enrol::{self, Enrolled, Listeners},
        error::EnrolError,
        maps::map_error,
        netns::NetnsCookie,
    },
    workload::ObjectName,
};

impl Capture {
    /// Takes stock of what an earlier agent left pinned.
    pub(super) fn adopt(&mut self) {
        let keys: Vec<_> = self
            .maps
            .destinations
            .keys()
            .filter_map(Result::ok)
            .collect();
        for key in keys {
            let address = key.data();
            if let Ok(value) = self.maps.destinations.get(&key, 0) {
                self.destinations.insert(address, value);
            }
        }
    }

    pub(super) fn apply(&mut self, desired: Desired) {
        self.apply_destinations(&desired);
        self.desired = desired;
        self.leave_the_unwanted();
        self.update_the_enrolled();
        self.enrol_the_missing();
        self.forget_strangers();
        self.publish_status();
    }

    fn apply_destinations(&mut self, desired: &Desired) {
        let wanted: HashMap<_, _> = desired
            .destinations
            .iter()
            .map(|(ip, destination)| (Address::from(*ip), *destination))
            .collect();
        let mut errors = Vec::new();
        for (address, destination) in &wanted {
            if self.destinations.get(address) != Some(destination) {
                let key = Key::new(128, *address);
                errors.extend(self.maps.destinations.insert(&key, *destination, 0).err());
            }
        }
        for address in self.destinations.keys().filter(|a| !wanted.contains_key(a)) {
            errors.extend(
                self.maps
                    .destinations
                    .remove(&Key::new(128, *address))
                    .err(),
            );
        }
        if let Some(error) = errors.pop() {
            self.map_failed(&map_error(map::DESTINATIONS, error));
        }
        self.destinations = wanted;
    }

    fn leave_the_unwanted(&mut self) {
        let leaving: Vec<_> = self
            .enrolled
            .iter()
            .filter(|(name, enrolled)| {
                self.desired.pods.get(*name).map(|d| &d.sandbox) != Some(&enrolled.desired.sandbox)
                    || !enrolled.pod.netns.is_current()
            })
            .map(|(name, _)| name.clone())
            .collect();
        for name in leaving {
            if let Some(enrolled) = self.enrolled.remove(&name) {
                self.leave(&enrolled);
                self.notify(Notice::Left { name });
            }
        }
        let pods = &self.desired.pods;
        self.failed.retain(|name, _| pods.contains_key(name));
    }

    /// First nothing is steered or redirected any more, then the listeners close.
    fn leave(&mut self, enrolled: &Enrolled) {
        self.forget(enrolled.pod.netns.cookie());
        enrolled.pod.stop.cancel();
    }

    /// Nothing is steered to the agent's listeners any more.
    pub(super) fn unlist(&mut self, cookie: NetnsCookie) {
        for v4 in [true, false] {
            let _ = self.maps.listeners.remove(&ListenerKey::new(cookie.0, v4));
        }
    }

    fn forget(&mut self, cookie: NetnsCookie) {
        self.pins.detach_inbound(cookie);
        let _ = self.maps.workloads.remove(&cookie.0);
        self.unlist(cookie);
        let ports: Vec<_> = self
            .maps
            .listening
            .keys()
            .filter_map(Result::ok)
            .filter(|key| key.netns == cookie.0)
            .collect();
        for key in ports {
            let _ = self.maps.listening.remove(&key);
        }
    }

    fn update_the_enrolled(&mut self) {
        let mut failures = Vec::new();
        for (name, enrolled) in &mut self.enrolled {
            let Some(desired) = self.desired.pods.get(name) else {
                continue;
            };
            if enrolled.desired != *desired {
                enrolled.desired = desired.clone();
                let cookie = enrolled.pod.netns.cookie().0;
                let written = self.maps.workloads.insert(cookie, enrolled.workload(), 0);
                failures.extend(written.err());
            }
        }
        for error in failures {
            self.map_failed(&map_error(map::WORKLOADS, error));
        }
    }

    pub(super) fn enrol_the_missing(&mut self) {
        let missing: Vec<_> = self
            .desired
            .pods
            .iter()
            .filter(|(name, _)| !self.enrolled.contains_key(*name))
            .map(|(name, desired)| (name.clone(), desired.clone()))
            .collect();
        for (name, desired) in missing {
            match self.enrol(&name, &desired) {
                Ok((enrolled, listeners)) => {
                    self.failed.remove(&name);
                    let pod = std::sync::Arc::clone(&enrolled.pod);
                    self.enrolled.insert(name, enrolled);
                    self.notify(Notice::Enrolled { pod, listeners });
                }
                Err(error) => self.enrol_failed(name, error),
            }
        }
    }

    fn enrol(
        &mut self,
        name: &ObjectName,
        desired: &DesiredPod,
    ) -> Result<(Enrolled, Listeners), EnrolError> {
        let (enrolled, listeners) =
            enrol::prepare(&self.home, &self.config.cgroup_root, name, desired)?;
        let cookie = enrolled.pod.netns.cookie();
        if let Some(other) = self.by_cookie(cookie) {
            return Err(EnrolError::SharedNamespace {
                path: desired.sandbox.netns.clone(),
                other: other.pod.name.to_string(),
            });
        }
        let result = self.capture_pod(&enrolled, &listeners);
        if result.is_err() {
            self.forget(cookie);
        }
        result.map(|()| (enrolled, listeners))
    }

    /// The order leaves no gap: what the inbound program looks up is there before it is attached.
    fn capture_pod(
        &mut self,
        enrolled: &Enrolled,
        listeners: &Listeners,
    ) -> Result<(), EnrolError> {
        let cookie = enrolled.pod.netns.cookie();
        let failed = |name, source| EnrolError::Capture(map_error(name, source));
        for listener in &listeners.inbound {
            let v4 = listener.local_addr().is_ok_and(|a| a.is_ipv4());
            self.maps
                .listeners
                .insert(ListenerKey::new(cookie.0, v4), listener.as_raw_fd(), 0)
                .map_err(|e| failed(map::LISTENERS, e))?;
        }
        self.maps
            .workloads
            .insert(cookie.0, enrolled.workload(), 0)
            .map_err(|e| failed(map::WORKLOADS, e))?;
        for port in enrolled.listening.list().map_err(EnrolError::Listening)? {
            self.maps
                .listening
                .insert(ListenKey::new(cookie.0, port), 1, 0)
                .map_err(|e| failed(map::LISTENING, e))?;
        }
        self.pins.attach_inbound(&enrolled.pod.netns)?;
        Ok(())
    }

    fn enrol_failed(&mut self, name: ObjectName, error: EnrolError) {
        let text = error.to_string();
        let known = self
            .failed
            .get(&name)
            .is_some_and(|e| e.to_string() == text);
        if !known {
            tracing::error!(workload = %name, error = %text, "can't enrol");
            self.notify(Notice::Failed {
                name: name.clone(),
                reason: error.reason(),
                error: text,
            });
        }
        self.failed.insert(name, error);
    }

    /// Pods that an earlier agent enrolled and that are not here any more. One that is wanted but can't be
    /// enrolled now stays as it was: its STRICT ports keep refusing.
    fn forget_strangers(&mut self) {
        if !self.failed.is_empty() {
            return;
        }
        let ours: HashSet<_> = self
            .enrolled
            .values()
            .map(|e| e.pod.netns.cookie().0)
            .collect();
        let pinned = self.pins.inbound_cookies().into_iter().map(|c| c.0);
        let mapped = self.maps.workloads.keys().filter_map(Result::ok);
        let strangers: HashSet<_> = pinned.chain(mapped).filter(|c| !ours.contains(c)).collect();
        for cookie in strangers {
            self.forget(NetnsCookie(cookie));
        }
    }
}
