//! From the state as it is to the state as it should be.

use std::{
    collections::{HashMap, HashSet},
    os::fd::AsRawFd as _,
    sync::Arc,
};

use aya::maps::{MapError, lpm_trie::Key};
use sealane_common::{Address, ListenKey, ListenerKey, OnLoss, Workload, map};

use super::{Capture, Notice};
use crate::{
    capture::{
        desired::{Desired, DesiredPod},
        destinations::{Change, Destinations},
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
        // The connections of this process, not of its predecessor, are the agent's own from now on.
        let lease = self
            .maps
            .agent
            .get(&0, 0)
            .map_or(0, |agent| agent.lease_expires);
        self.write_lease(lease);
        let keys: Vec<_> = self
            .maps
            .destinations
            .keys()
            .filter_map(Result::ok)
            .collect();
        let standing = keys.iter().filter_map(|key| {
            let value = self.maps.destinations.get(key, 0).ok()?;
            Some((key.data(), value))
        });
        let standing: Destinations = standing.collect();
        self.inherited.extend(standing.refused());
        self.destinations = Arc::new(standing);
    }

    pub(super) fn apply(&mut self, desired: Desired) {
        self.desired = desired;
        self.incomplete = false;
        // Before there is anything that strangers are kept from.
        self.let_others_pass();
        self.apply_destinations();
        self.leave_the_unwanted();
        self.move_the_changed();
        self.update_the_enrolled();
        self.enrol_the_missing();
        self.forget_others();
        self.forget_strangers();
        self.publish_status();
    }

    /// What could not be written stays out of `destinations` and is tried again.
    fn apply_destinations(&mut self) {
        // What may be a host of which name servers have not been heard is not let go in clear.
        if self.desired.settled {
            self.inherited.clear();
        }
        let wanted = Arc::clone(&self.desired.destinations);
        let before = Arc::clone(&self.destinations);
        let mut exceptions = HashMap::new();
        for change in before.changes(&wanted) {
            match change {
                Change::Put {
                    address,
                    destination,
                    before,
                } => {
                    let key = Key::new(128, address);
                    let put = self.maps.destinations.insert(&key, destination, 0);
                    if let Err(error) = put {
                        exceptions.insert(address, before);
                        self.map_failed(&map_error(map::DESTINATIONS, error));
                    }
                }
                Change::Remove { address, before } if self.inherited.contains(&address) => {
                    exceptions.insert(address, Some(before));
                }
                Change::Remove { address, before } => {
                    match self.maps.destinations.remove(&Key::new(128, address)) {
                        Ok(()) | Err(MapError::KeyNotFound) => {}
                        Err(error) => {
                            exceptions.insert(address, Some(before));
                            self.map_failed(&map_error(map::DESTINATIONS, error));
                        }
                    }
                }
            }
        }
        self.destinations = if exceptions.is_empty() {
            wanted
        } else {
            Arc::new(wanted.but(&exceptions))
        };
    }

    fn leave_the_unwanted(&mut self) {
        let pods = &self.desired.pods;
        let leaving: Vec<_> = self
            .enrolled
            .keys()
            .filter(|name| !pods.contains_key(*name))
            .cloned()
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

    /// Pods that are somewhere else than they were. The old capture stays in force until the new one is.
    fn move_the_changed(&mut self) {
        let changed: Vec<_> = self
            .enrolled
            .iter()
            .filter_map(|(name, enrolled)| {
                let desired = self.desired.pods.get(name)?;
                let here = enrolled.desired.sandbox.netns == desired.sandbox.netns
                    && enrolled.is_current();
                (!here).then(|| (name.clone(), desired.clone()))
            })
            .collect();
        for (name, desired) in changed {
            match self.enrol(&name, &desired) {
                Ok((enrolled, listeners)) => {
                    let previous = self.enrolled.remove(&name);
                    let namespace = enrolled.pod.netns.cookie();
                    match previous {
                        // By another path: what is captured is the new listeners' already.
                        Some(previous) if previous.pod.netns.cookie() == namespace => {
                            previous.pod.stop.cancel();
                        }
                        Some(previous) => self.leave(&previous),
                        None => {}
                    }
                    self.took_in(name, enrolled, listeners);
                }
                Err(error) => self.enrol_failed(name, error),
            }
        }
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
        self.pins.detach_wire(cookie);
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
            if enrolled.desired == *desired
                || enrolled.desired.sandbox.netns != desired.sandbox.netns
            {
                continue;
            }
            let cookie = enrolled.pod.netns.cookie().0;
            match self
                .maps
                .workloads
                .insert(cookie, enrolled.workload(desired), 0)
            {
                Ok(()) => enrolled.desired = desired.clone(),
                Err(error) => failures.push(map_error(map::WORKLOADS, error)),
            }
        }
        for error in failures {
            self.map_failed(&error);
        }
    }

    fn enrol_the_missing(&mut self) {
        let missing: Vec<_> = self
            .desired
            .pods
            .iter()
            .filter(|(name, _)| !self.enrolled.contains_key(*name))
            .map(|(name, desired)| (name.clone(), desired.clone()))
            .collect();
        for (name, desired) in missing {
            match self.enrol(&name, &desired) {
                Ok((enrolled, listeners)) => self.took_in(name, enrolled, listeners),
                Err(error) => self.enrol_failed(name, error),
            }
        }
    }

    fn took_in(&mut self, name: ObjectName, enrolled: Enrolled, listeners: Listeners) {
        self.failed.remove(&name);
        let pod = Arc::clone(&enrolled.pod);
        self.enrolled.insert(name, enrolled);
        self.notify(Notice::Enrolled { pod, listeners });
    }

    fn enrol(
        &mut self,
        name: &ObjectName,
        desired: &DesiredPod,
    ) -> Result<(Enrolled, Listeners), EnrolError> {
        let root = &self.config.cgroup_root;
        let (enrolled, listeners) =
            enrol::prepare(&self.home, root, self.own_cgroup, name, desired)?;
        let cookie = enrolled.pod.netns.cookie();
        let other = self.by_cookie(cookie);
        if let Some(other) = other.filter(|other| other.pod.name != *name) {
            return Err(EnrolError::SharedNamespace {
                path: desired.sandbox.netns.path().to_owned(),
                other: other.pod.name.to_string(),
            });
        }
        let result = self.capture_pod(&enrolled, &listeners);
        if result.is_err() {
            self.hold_back(&enrolled);
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
            .insert(cookie.0, enrolled.workload(&enrolled.desired), 0)
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

    /// A pod that could not be captured whole. One whose traffic must not be in clear is refused everything
    /// until it can be; any other goes on as if it were not enrolled.
    fn hold_back(&mut self, enrolled: &Enrolled) {
        let cookie = enrolled.pod.netns.cookie();
        if enrolled.desired.outbound_on_loss == OnLoss::DIRECT {
            self.forget(cookie);
            return;
        }
        self.unlist(cookie);
        let refused = Workload {
            outbound_v4: 0,
            outbound_v6: 0,
            ..enrolled.workload(&enrolled.desired)
        };
        if let Err(error) = self.maps.workloads.insert(cookie.0, refused, 0) {
            self.map_failed(&map_error(map::WORKLOADS, error));
        }
        if let Err(error) = self.pins.attach_inbound(&enrolled.pod.netns) {
            self.map_failed(&error);
        }
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
        let ours: HashSet<_> = self
            .enrolled
            .values()
            .map(|e| e.pod.netns.cookie().0)
            .collect();
        let (waiting, addresses) = self.waiting();
        let mapped: HashMap<u64, Workload> =
            self.maps.workloads.iter().filter_map(Result::ok).collect();
        let is_waiting = |cookie: &u64| {
            waiting.contains(cookie)
                || mapped.get(cookie).is_some_and(|workload| {
                    addresses.contains(&workload.address_v4)
                        || addresses.contains(&workload.address_v6)
                })
        };
        let pinned = self.pins.inbound_cookies().into_iter().map(|c| c.0);
        let strangers: HashSet<_> = pinned
            .chain(mapped.keys().copied())
            .filter(|cookie| !ours.contains(cookie) && !is_waiting(cookie))
            .collect();
        for cookie in strangers {
            self.forget(NetnsCookie(cookie));
        }
    }

    /// Network namespaces and addresses of the pods that are wanted and could not be enrolled.
    fn waiting(&self) -> (HashSet<u64>, HashSet<Address>) {
        let (mut cookies, mut addresses) = (HashSet::new(), HashSet::new());
        for desired in self
            .failed
            .keys()
            .filter_map(|name| self.desired.pods.get(name))
        {
            match self.home.netns(desired.sandbox.netns.path()) {
                Ok(netns) => drop(cookies.insert(netns.cookie().0)),
                Err(_) => addresses.extend(desired.addresses.iter().map(|a| Address::from(*a))),
            }
        }
        (cookies, addresses)
    }
}
