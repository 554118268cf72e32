//! One immutable snapshot of workloads, services and policy; one [`Writer`], many [`Reader`]s.
//!
//! Readers never block and never see half of a change: a snapshot is replaced whole. Does not parse, watch
//! or decide.

mod headless;
mod index;
mod lead;
mod outside;

use std::{
    collections::BTreeSet,
    net::IpAddr,
    sync::Arc,
    time::{Duration, Instant},
};

use arc_swap::ArcSwap;
use tokio::sync::watch;

use headless::Headless;
use index::Index;
pub use lead::{Lead, LeadError};
use outside::Outside;

use crate::{
    identity::SpiffeId,
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
    /// Identities of pods that start, each with the node.
    pub expected: Arc<BTreeSet<(SpiffeId, Arc<str>)>>,
    /// When it came into force.
    published: Option<Instant>,
    workloads: Vec<Arc<Workload>>,
    workload_by_name: Index,
    workload_by_address: Index,
    /// Those of Kubernetes before those outside.
    services: Vec<Arc<Service>>,
    service_by_name: Index,
    /// Of Kubernetes.
    service_by_address: Index,
    /// By the addresses of their endpoints.
    services_by_endpoint: Index,
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
        workloads: Vec<Arc<Workload>>,
        services: Vec<Arc<Service>>,
        policy: impl Into<Arc<Policy>>,
    ) -> Self {
        let addresses = workloads.iter().map(|w| w.addresses.len()).sum();
        let mut snapshot = Self {
            policy: policy.into(),
            workload_by_name: Index::with_capacity(workloads.len()),
            workload_by_address: Index::with_capacity(addresses),
            ..Self::default()
        };
        snapshot.workloads.reserve_exact(workloads.len());
        for workload in workloads {
            snapshot.add_workload(workload);
        }
        snapshot.services.reserve_exact(services.len());
        let endpoints = services.iter().map(|s| endpoint_addresses(s).len()).sum();
        snapshot.services_by_endpoint = Index::with_capacity(endpoints);
        for service in services {
            snapshot.add_service(&service);
        }
        snapshot
    }

    fn add_workload(&mut self, workload: Arc<Workload>) {
        let taken = workload.addresses.iter().find_map(|address| {
            let winner = self.workload_at(*address)?;
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
        let at = self.workloads.len();
        for address in &*workload.addresses {
            self.workload_by_address.insert(address, at);
        }
        if self.workload(&workload.name).is_none() {
            self.workload_by_name.insert(&workload.name, at);
        }
        self.workloads.push(workload);
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
        let inside = self.services.partition_point(is_inside);
        next.services.truncate(inside);
        next.service_by_name.truncate(inside);
        next.services_by_endpoint.truncate(inside);
        for service in outside {
            next.add_service(&Arc::new(service));
        }
        next
    }

    fn add_service(&mut self, service: &Arc<Service>) {
        let mut owned = Vec::new();
        for address in &service.virtual_addresses {
            // A host outside may well lead to a pod.
            let pod = self.workload_at(*address);
            let pod = pod.filter(|_| service.outside.is_none());
            let owner = pod
                .map(|w| &w.name)
                .or_else(|| self.service_at(*address).map(|s| &s.name));
            match owner {
                Some(winner) => self.conflicts.push(Conflict {
                    address: *address,
                    winner: winner.clone(),
                    loser: service.name.clone(),
                }),
                None => owned.push(*address),
            }
        }
        let at = self.services.len();
        self.services.push(Arc::clone(service));
        for address in endpoint_addresses(service) {
            self.services_by_endpoint.insert(&address, at);
        }
        if service.is_headless() {
            self.headless.add(service);
        }
        if service.outside.is_some() {
            self.outside.add(service, owned.into_iter());
        } else {
            for address in owned {
                self.service_by_address.insert(&address, at);
            }
        }
        if self.service(&service.name).is_none() {
            self.service_by_name.insert(&service.name, at);
        }
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
        let index = &self.workload_by_address;
        let at = index.find(&address, |at| {
            self.workloads[at].addresses.contains(&address)
        });
        at.map(|at| &self.workloads[at])
    }

    /// Whether it is certain whose an address is. A pod out of the mesh may be what a host outside leads to, of which
    /// nothing is known yet.
    #[must_use]
    pub fn knows(&self, address: IpAddr) -> bool {
        let pod = self.workload_at(address);
        pod.is_some_and(|pod| pod.enrolled || self.settled)
            || self.service_at(address).is_some()
            || self.headless.knows(address)
            || self.outside.knows(address)
    }

    /// The service of Kubernetes whose virtual address it is.
    #[must_use]
    pub fn service_at(&self, address: IpAddr) -> Option<&Arc<Service>> {
        let has = |at: usize| self.services[at].virtual_addresses.contains(&address);
        let at = self.service_by_address.find(&address, has);
        at.map(|at| &self.services[at])
    }

    /// The service that sends connections to an endpoint; one of them when there are several.
    #[must_use]
    pub fn service_of(&self, endpoint: Endpoint) -> Option<&Arc<Service>> {
        let has = |at: usize| {
            let mut ports = self.services[at].ports.iter();
            ports.any(|port| port.endpoints.contains(endpoint))
        };
        let all = self.services_by_endpoint.all(&endpoint.address);
        let at = all.filter(|at| has(*at)).min();
        at.map(|at| &self.services[at])
    }

    #[must_use]
    pub fn workload(&self, name: &ObjectName) -> Option<&Arc<Workload>> {
        let index = &self.workload_by_name;
        let at = index.find(name, |at| self.workloads[at].name == *name);
        at.map(|at| &self.workloads[at])
    }

    #[must_use]
    pub fn service(&self, name: &ObjectName) -> Option<&Arc<Service>> {
        let index = &self.service_by_name;
        let at = index.find(name, |at| self.services[at].name == *name);
        at.map(|at| &self.services[at])
    }

    /// In no particular order.
    pub fn workloads(&self) -> impl Iterator<Item = &Arc<Workload>> + Clone {
        self.workloads.iter()
    }

    /// In no particular order.
    pub fn services(&self) -> impl Iterator<Item = &Arc<Service>> {
        self.services.iter()
    }

    #[must_use]
    pub fn conflicts(&self) -> &[Conflict] {
        &self.conflicts
    }
}

fn endpoint_addresses(service: &Service) -> BTreeSet<IpAddr> {
    service.endpoints().map(|e| e.address).collect()
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
