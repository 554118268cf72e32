//! Policy for connections that never came to the agent: those that it forbids are ended where they are, in the
//! pod's network namespace.

use std::{
    collections::{HashMap, hash_map::RandomState},
    hash::BuildHasher,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use tokio::sync::Notify;

use super::{Proxy, enforce::cut_reason};
use crate::{
    capture::{Pod, Unseen, UnseenSockets},
    policy::{Flow, Protection, Verdict},
    store::Snapshot,
    workload::{ObjectName, Workload},
};

/// A pod is looked at so often after each change: what was on its way when policy changed turns up late.
const LOOKS: u8 = 4;
const BETWEEN: Duration = Duration::from_millis(250);

/// The pods of this node that are served.
#[derive(Debug, Default)]
pub struct Pods {
    served: Mutex<HashMap<ObjectName, Arc<Pod>>>,
    added: Notify,
}

impl Pods {
    pub(super) fn add(&self, pod: &Arc<Pod>) {
        let mut served = self.served.lock().unwrap_or_else(PoisonError::into_inner);
        served.retain(|_, pod| !pod.stop.is_cancelled());
        served.insert(pod.name.clone(), Arc::clone(pod));
        self.added.notify_one();
    }

    fn list(&self) -> Vec<Arc<Pod>> {
        let mut served = self.served.lock().unwrap_or_else(PoisonError::into_inner);
        served.retain(|_, pod| !pod.stop.is_cancelled());
        served.values().cloned().collect()
    }
}

/// Looks at pods whenever what policy says of them has changed, until the store's writer is gone.
pub async fn enforce_unseen(proxy: Arc<Proxy>) {
    let mut store = proxy.store.clone();
    let mut watched = Watched::default();
    loop {
        tokio::select! {
            changed = store.changed() => if changed.is_none() { return },
            () = proxy.pods.added.notified() => {}
            () = tokio::time::sleep(BETWEEN), if !watched.due.is_empty() => {}
        }
        let snapshot = proxy.store.current();
        for pod in watched.due_now(&proxy.pods.list(), &snapshot) {
            let (proxy, snapshot) = (Arc::clone(&proxy), Arc::clone(&snapshot));
            // A netlink socket waits for the kernel, and a namespace is entered by a whole thread.
            let look = tokio::task::spawn_blocking(move || look(&proxy, &pod, &snapshot));
            let _ = look.await;
        }
    }
}

/// What is known of pods, and how often they are still to be looked at.
#[derive(Default)]
struct Watched {
    hasher: RandomState,
    said: HashMap<ObjectName, u64>,
    due: HashMap<ObjectName, u8>,
}

impl Watched {
    fn due_now(&mut self, pods: &[Arc<Pod>], snapshot: &Snapshot) -> Vec<Arc<Pod>> {
        self.said
            .retain(|name, _| pods.iter().any(|pod| pod.name == *name));
        for pod in pods {
            let Some(workload) = snapshot.workload(&pod.name) else {
                continue;
            };
            let says = self.hasher.hash_one(snapshot.policy.of(workload));
            if self.said.insert(pod.name.clone(), says) != Some(says) {
                self.due.insert(pod.name.clone(), LOOKS);
            }
        }
        let due = pods.iter().filter(|pod| self.due.contains_key(&pod.name));
        let due: Vec<_> = due.cloned().collect();
        self.due.retain(|_, looks| {
            *looks -= 1;
            *looks > 0
        });
        due
    }
}

fn look(proxy: &Proxy, pod: &Pod, snapshot: &Snapshot) {
    let Some(workload) = snapshot.workload(&pod.name).filter(|w| w.enrolled) else {
        return;
    };
    let Some(sockets) = listed(pod) else {
        return;
    };
    for unseen in &sockets.found {
        let flow = flow(snapshot, workload, unseen);
        let decision = snapshot.policy.evaluate(workload, &flow.attributes());
        let Verdict::Refuse(refusal) = decision.verdict else {
            continue;
        };
        match sockets.destroy(unseen) {
            Ok(()) => {
                proxy
                    .metrics
                    .connection_cut(cut_reason(refusal), snapshot.age());
                tracing::info!(
                    workload = %pod.name,
                    source = %unseen.remote,
                    destination = %unseen.local,
                    reason = %refusal,
                    "cut a connection that did not come through the agent"
                );
            }
            Err(error) => tracing::error!(
                workload = %pod.name,
                source = %unseen.remote,
                destination = %unseen.local,
                %error,
                "can't cut a connection that policy forbids"
            ),
        }
    }
}

/// Those that are open in the pods of this node. Asks the kernel, and waits for it.
pub(super) fn flows(proxy: &Proxy) -> impl Iterator<Item = Flow> {
    let snapshot = proxy.store.current();
    let pods = proxy.pods.list().into_iter();
    pods.flat_map(move |pod| {
        let workload = snapshot.workload(&pod.name).filter(|w| w.enrolled);
        let flows: Vec<_> = workload.map_or_else(Vec::new, |workload| {
            let found = listed(&pod).map_or_else(Vec::new, |sockets| sockets.found);
            let flow = |unseen| flow(&snapshot, workload, unseen);
            found.iter().map(flow).collect()
        });
        flows
    })
}

fn listed(pod: &Pod) -> Option<UnseenSockets> {
    match UnseenSockets::of(pod) {
        Ok(sockets) => Some(sockets),
        Err(error) => {
            tracing::warn!(workload = %pod.name, %error, "can't list its connections");
            None
        }
    }
}

/// It is plaintext as far as anybody can tell: nobody has proven anything.
fn flow(snapshot: &Snapshot, workload: &Workload, unseen: &Unseen) -> Flow {
    let client = snapshot.workload_at(unseen.remote.ip());
    Flow {
        client: client.map(|w| w.name.clone()),
        client_address: unseen.remote.ip(),
        server: workload.name.clone(),
        server_address: unseen.local.ip(),
        port: unseen.local.port(),
        protection: Protection::Plaintext,
    }
}
