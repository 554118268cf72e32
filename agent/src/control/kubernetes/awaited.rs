//! Pods of this node that aren't found here, and for how long.

use std::{collections::HashMap, sync::Arc, time::Duration};

use tokio::time::Instant;

use super::sandbox::Missing;
use crate::control::{objects::PodFacts, publisher::NotFound};

/// How long the API may know of a pod's network before it is found here.
const PATIENCE: Duration = Duration::from_secs(10);

/// Pods that are looked for, by UID.
#[derive(Debug, Default)]
pub(super) struct Awaited(HashMap<Arc<str>, Since>);

#[derive(Clone, Copy, Debug)]
struct Since {
    instant: Instant,
    timestamp: jiff::Timestamp,
    why: Missing,
    /// In the log.
    told: Option<Missing>,
}

impl Awaited {
    /// Takes in what the last look was missing.
    pub(super) fn update(&mut self, missing: &HashMap<Arc<str>, Missing>, now: Instant) {
        self.0.retain(|uid, _| missing.contains_key(uid));
        for (uid, why) in missing {
            let fresh = Since {
                instant: now,
                timestamp: jiff::Timestamp::now(),
                why: *why,
                told: None,
            };
            self.0.entry(Arc::clone(uid)).or_insert(fresh).why = *why;
        }
    }

    /// Since when the latest is looked for.
    pub(super) fn latest(&self) -> Option<Instant> {
        self.0.values().map(|since| since.instant).max()
    }

    /// Those that run, as the API says, and have been looked for long enough. Each is told to the log once for each
    /// reason.
    pub(super) fn not_found<'p>(
        &mut self,
        pods: impl Iterator<Item = &'p Arc<PodFacts>>,
        now: Instant,
    ) -> Vec<NotFound> {
        let is_due = |since: &Since| now.saturating_duration_since(since.instant) >= PATIENCE;
        let mut not_found = Vec::new();
        // There are many pods, and sandboxes are looked for often.
        if !self.0.values().any(is_due) {
            return not_found;
        }
        for pod in pods.filter(|pod| runs(pod)) {
            let since = pod.uid().and_then(|uid| self.0.get_mut(uid));
            let Some(since) = since.filter(|since| is_due(since)) else {
                continue;
            };
            let reason = since.why.as_str();
            if since.told.replace(since.why) != Some(since.why) {
                let (pod, since) = (&pod.name, since.timestamp);
                tracing::warn!(%pod, %since, reason, "a pod isn't found on its node, and is not captured");
            }
            not_found.push(NotFound {
                pod: pod.name.clone(),
                since: since.timestamp,
                reason,
            });
        }
        not_found.sort_by(|a, b| a.pod.cmp(&b.pod));
        not_found
    }
}

/// With a network that kubelet has told of.
fn runs(pod: &PodFacts) -> bool {
    !(pod.addresses.is_empty() || pod.finished || pod.leaving || pod.host_network)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::{
        control::objects::{FromObject as _, api},
        workload::ObjectName,
    };

    fn pod(name: &str, addresses: &[&str]) -> Arc<PodFacts> {
        let ips: Vec<_> = addresses.iter().map(|ip| json!({"ip": ip})).collect();
        let pod = json!({
            "metadata": {"name": name, "namespace": "shop", "uid": name},
            "status": {"phase": "Running", "podIPs": ips},
        });
        let pod: api::Pod = serde_json::from_value(pod).unwrap();
        Arc::new(PodFacts::from_object(&ObjectName::new("shop", name), pod).unwrap())
    }

    #[test]
    fn a_pod_that_runs_and_is_not_found_is_told_with_the_time_and_a_remedy() {
        let begun = Instant::now();
        let pods = [pod("web", &["10.0.0.1"]), pod("starting", &[])];
        let missing = ["web", "starting"].map(|uid| (Arc::from(uid), Missing::NoCgroup));
        let missing = HashMap::from(missing);
        let mut awaited = Awaited::default();
        awaited.update(&missing, begun);
        assert!(awaited.not_found(pods.iter(), begun).is_empty());
        let later = begun + PATIENCE;
        awaited.update(&missing, later);
        assert_eq!(awaited.latest(), Some(begun));
        let told = awaited.not_found(pods.iter(), later);
        assert_eq!(told.len(), 1);
        assert_eq!(told[0].pod, ObjectName::new("shop", "web"));
        assert!(told[0].reason.contains("cgroup driver"), "{told:?}");
        awaited.update(&HashMap::new(), later);
        assert!(awaited.not_found(pods.iter(), later).is_empty());
    }
}
