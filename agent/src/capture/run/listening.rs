//! Keeps the map of listening ports true: a port that is missing there looks closed from outside.

use std::collections::{BTreeSet, HashSet};

use sealane_common::{ListenKey, map};

use super::Capture;
use crate::capture::{maps::map_error, netns::NetnsCookie};

impl Capture {
    /// Once a second: enrol what failed, notice namespaces that vanished, look at listening sockets.
    pub(super) fn look_again(&mut self) {
        let vanished = self.enrolled.values().any(|e| !e.is_current());
        if vanished || self.incomplete || !self.failed.is_empty() {
            let desired = self.desired.clone();
            self.apply(desired);
        }
        let cookies: Vec<_> = self
            .enrolled
            .values()
            .map(|e| e.pod.netns.cookie())
            .collect();
        for cookie in cookies {
            self.add_listening(cookie);
        }
    }

    /// Sockets ceased to listen on these ports; others may still.
    pub(super) fn listen_changed(&mut self, cookie: NetnsCookie, ports: &HashSet<u16>) {
        for port in ports {
            let _ = self.maps.listening.remove(&ListenKey::new(cookie.0, *port));
        }
        // Looked up after the removal: whoever listens again meanwhile is found.
        self.add_listening(cookie);
    }

    fn add_listening(&mut self, cookie: NetnsCookie) {
        let Some(ports) = self.list(cookie) else {
            return;
        };
        let found = self
            .by_cookie(cookie)
            .map(|e| e.found.clone())
            .unwrap_or_default();
        let gone: Vec<_> = found.difference(&ports).copied().collect();
        for port in &gone {
            let _ = self.maps.listening.remove(&ListenKey::new(cookie.0, *port));
        }
        // Looked up again after a removal: whoever listens anew meanwhile is found.
        let ports = if gone.is_empty() {
            ports
        } else {
            self.list(cookie).unwrap_or_default()
        };
        for port in &ports {
            let key = ListenKey::new(cookie.0, *port);
            if self.maps.listening.get(&key, 0).is_ok() {
                continue;
            }
            if let Err(error) = self.maps.listening.insert(key, 1, 0) {
                self.map_failed(&map_error(map::LISTENING, error));
                return;
            }
        }
        let pod = self
            .enrolled
            .values_mut()
            .find(|e| e.pod.netns.cookie() == cookie);
        if let Some(enrolled) = pod {
            enrolled.found = ports;
        }
    }

    fn list(&self, cookie: NetnsCookie) -> Option<BTreeSet<u16>> {
        let enrolled = self.by_cookie(cookie)?;
        let listed = enrolled.listening.list().inspect_err(|error| {
            tracing::warn!(workload = %enrolled.pod.name, %error, "can't list listening sockets");
        });
        listed.ok()
    }
}
