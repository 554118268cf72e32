//! One immutable snapshot of workloads, services and policy; one [`Writer`], many [`Reader`]s.
//!
//! Readers never block and never see half of a change: a snapshot is replaced whole. Does not parse, watch
//! or decide.

mod headless;
mod lead;
mod outside;

use std::{
    collections::HashMap,
    net::IpAddr,
    sync::Arc,
    time::{Duration, Instant},
};

use arc_swap::ArcSwap;
use tokio::sync::watch;

use headless::Headless;
pub use lead::{Lead, LeadError};
use outside::Outside;

use crate::{
    policy::{Documents, Policy},
    workload::{Bystanders, Endpoint, ObjectName, Service, Workload},
};

/// Everything that the control side knew at one moment.
#[derive(Clone, Debug, Default)]
pub struct Snapshot {
    /// Counts up with every published change; zero is the empty snapshot before the first.
    pub generation: u64,
    pub policy: Arc<Policy>,
    /// What `policy` was compiled from.
    pub documents: Arc<Documents>,
    /// Name servers have been heard about every host outside: no address is missing because it is early.
    pub settled: bool,
    pub bystanders: Arc<Bystanders>,
    /// When it came into force.
    published: Option<Instant>,
    workloads: HashMap<ObjectName, Arc<Workload>>,
    workload_by_address: HashMap<IpAddr, Arc<Workload>>,
    services: HashMap<ObjectName, Arc<Service>>,
    service_by_address: HashMap<IpAddr, Arc<Service>>,
    service_by_endpoint: HashMap<Endpoint, Arc<Service>>,
    headless: Headless,
    outside: Outside,
    conflicts: Vec<Conflict>,
}

/// Two objects claim one address. The one that comes first in the order of precedence (the older) keeps it;
/// the other is left out whole.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{loser} has the address {address}, which {winner} has already: {loser} is left out")]
pub struct Conflict {
    pub address: IpAddr,
    pub winner: ObjectName,
    pub loser: ObjectName,
}

impl Snapshot {
    /// Indexes objects by address. `workloads` in the order of precedence: of two with one address the
    /// earlier keeps it.
    #[must_use]
    pub fn new(
        workloads: impl IntoIterator<Item = impl Into<Arc<Workload>>>,
        services: Vec<Service>,
        policy: impl Into<Arc<Policy>>,
    ) -> Self {
        let mut snapshot = Self {
            policy: policy.into(),
            ..Self::default()
        };
        for workload in workloads {
            snapshot.add_workload(workload.into());
        }
        for service in services {
            snapshot.add_service(Arc::new(service));
        }
        snapshot
    }

    fn add_workload(&mut self, workload: Arc<Workload>) {
        let taken = workload.addresses.iter().find_map(|address| {
            let winner = self.workload_by_address.get(address)?;
            Some(Conflict {
                address: *address,
                winner: winner.name.clone(),
                loser: workload.name.clone(),
            })
        });
        if let Some(conflict) = taken {
            self.conflicts.push(conflict);
            return;
        }
        for address in &*workload.addresses {
            self.workload_by_address
                .insert(*address, Arc::clone(&workload));
        }
        self.workloads.insert(workload.name.clone(), workload);
    }

    /// With other services outside: what name servers say has changed, and nothing else.
    #[must_use]
    pub fn readdressed(&self, outside: Vec<Service>, settled: bool) -> Self {
        let mut next = Self {
            settled,
            outside: Outside::default(),
            ..self.clone()
        };
        let is_inside = |service: &Arc<Service>| service.outside.is_none();
        let is_outside = |name: &ObjectName| self.service(name).is_some_and(|s| !is_inside(s));
        next.conflicts.retain(|c| !is_outside(&c.loser));
        next.services.retain(|_, service| is_inside(service));
        let endpoints = &mut next.service_by_endpoint;
        endpoints.retain(|_, service| is_inside(service));
        for service in outside {
            next.add_service(Arc::new(service));
        }
        next
    }

    /// Services of Kubernetes come before those outside.
    fn add_service(&mut self, service: Arc<Service>) {
        let mut owned = Vec::new();
        for address in &service.virtual_addresses {
            // A host outside may well lead to a pod.
            let pod = self.workload_by_address.get(address);
            let pod = pod.filter(|_| service.outside.is_none());
            let owner = pod
                .map(|w| &w.name)
                .or_else(|| self.service_by_address.get(address).map(|s| &s.name));
            match owner {
                Some(winner) => self.conflicts.push(Conflict {
                    address: *address,
                    winner: winner.clone(),
                    loser: service.name.clone(),
                }),
                None => owned.push(*address),
            }
        }
        for endpoint in service.ports.iter().flat_map(|p| &p.endpoints) {
            self.service_by_endpoint
                .entry(*endpoint)
                .or_insert_with(|| Arc::clone(&service));
        }
        if service.is_headless() {
            self.headless.add(&service);
        }
        if service.outside.is_some() {
            self.outside.add(&service, owned.into_iter());
        } else {
            let owned = owned.into_iter().map(|a| (a, Arc::clone(&service)));
            self.service_by_address.extend(owned);
        }
        self.services.insert(service.name.clone(), service);
    }

    /// For how long it has been in force.
    #[must_use]
    pub fn age(&self) -> Duration {
        self.published
            .map_or(Duration::ZERO, |since| since.elapsed())
    }

    /// Whether an agent enforces it: it knows what name servers say.
    #[must_use]
    pub fn is_in_force(&self) -> bool {
        self.published.is_some()
    }

    #[must_use]
    pub fn workload_at(&self, address: IpAddr) -> Option<&Arc<Workload>> {
        self.workload_by_address.get(&address)
    }

    /// Whether it is certain whose an address is. A pod out of the mesh may be what a host outside leads to, of which
    /// nothing is known yet.
    #[must_use]
    pub fn knows(&self, address: IpAddr) -> bool {
        let pod = self.workload_by_address.get(&address);
        pod.is_some_and(|pod| pod.enrolled || self.settled)
            || self.service_by_address.contains_key(&address)
            || self.headless.knows(address)
            || self.outside.knows(address)
    }

    /// The service of Kubernetes whose virtual address it is.
    #[must_use]
    pub fn service_at(&self, address: IpAddr) -> Option<&Arc<Service>> {
        self.service_by_address.get(&address)
    }

    /// The service that sends connections to an endpoint; one of them when there are several.
    #[must_use]
    pub fn service_of(&self, endpoint: Endpoint) -> Option<&Arc<Service>> {
        self.service_by_endpoint.get(&endpoint)
    }

    #[must_use]
    pub fn workload(&self, name: &ObjectName) -> Option<&Arc<Workload>> {
        self.workloads.get(name)
    }

    #[must_use]
    pub fn service(&self, name: &ObjectName) -> Option<&Arc<Service>> {
        self.services.get(name)
    }

    /// In no particular order.
    pub fn workloads(&self) -> impl Iterator<Item = &Arc<Workload>> + Clone {
        self.workloads.values()
    }

    /// In no particular order.
    pub fn services(&self) -> impl Iterator<Item = &Arc<Service>> {
        self.services.values()
    }

    #[must_use]
    pub fn conflicts(&self) -> &[Conflict] {
        &self.conflicts
    }
}

/// A fresh store, holding the empty snapshot.
#[must_use]
pub fn store() -> (Writer, Reader) {
    let current = Arc::new(ArcSwap::from_pointee(Snapshot::default()));
    let (notify, changes) = watch::channel(0);
    let reader = Reader {
        current: Arc::clone(&current),
        changes,
    };
    (Writer { current, notify }, reader)
}

/// The only way to change what readers see.
#[derive(Debug)]
pub struct Writer {
    current: Arc<ArcSwap<Snapshot>>,
    notify: watch::Sender<u64>,
}

impl Writer {
    /// What was published last.
    #[must_use]
    pub fn current(&self) -> Arc<Snapshot> {
        self.current.load_full()
    }

    /// Replaces the snapshot and wakes readers. Returns the new generation.
    pub fn publish(&mut self, mut snapshot: Snapshot) -> u64 {
        let generation = self.current.load().generation + 1;
        snapshot.generation = generation;
        snapshot.published = Some(Instant::now());
        self.current.store(Arc::new(snapshot));
        self.notify.send_replace(generation);
        generation
    }
}

/// A view of the latest snapshot.
#[derive(Clone, Debug)]
pub struct Reader {
    current: Arc<ArcSwap<Snapshot>>,
    changes: watch::Receiver<u64>,
}

impl Reader {
    /// The latest snapshot.
    #[must_use]
    pub fn current(&self) -> Arc<Snapshot> {
        self.current.load_full()
    }

    /// Waits for a snapshot that this reader hasn't been told of yet; `None` once the writer is gone.
    pub async fn changed(&mut self) -> Option<Arc<Snapshot>> {
        self.changes.changed().await.ok()?;
        self.changes.borrow_and_update();
        Some(self.current())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn readers_see_whole_snapshots_and_are_woken() {
        let (mut writer, mut reader) = store();
        assert_eq!(reader.current().generation, 0);
        assert_eq!(writer.publish(Snapshot::default()), 1);
        assert_eq!(reader.changed().await.unwrap().generation, 1);
        drop(writer);
        assert!(reader.changed().await.is_none());
    }
}
