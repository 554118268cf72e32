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
        let Some(enrolled) = self.by_cookie(cookie) else {
            return;
        };
        let ports = match enrolled.listening.list() {
            Ok(ports) => ports,
            Err(error) => {
                tracing::warn!(workload = %enrolled.pod.name, %error, "can't list listening sockets");
                return;
            }
        };
        let known: BTreeSet<u16> = ports
            .iter()
            .copied()
            .filter(|port| {
                self.maps
                    .listening
                    .get(&ListenKey::new(cookie.0, *port), 0)
                    .is_ok()
            })
            .collect();
        for port in ports.difference(&known) {
            let key = ListenKey::new(cookie.0, *port);
            if let Err(error) = self.maps.listening.insert(key, 1, 0) {
                self.map_failed(&map_error(map::LISTENING, error));
                return;
            }
        }
    }
}
