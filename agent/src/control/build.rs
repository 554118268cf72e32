//! Objects -> workloads, services and policy: everything that takes more than one object to know.
//!
//! Does not read files, and does not publish.

mod bystanders;
mod endpoints;
mod enrolment;
mod outside;
mod telemetry;

pub use outside::readdressed;

use std::{
    collections::{BTreeMap, BTreeSet},
    hash::BuildHasher,
    sync::Arc,
};

use self::outside::Outside;
use super::{
    error::{LoadError, Problem},
    objects::{Located, Objects, PodFacts},
    yaml::FieldPath,
};
use crate::{
    config::MeshConfig,
    identity::{SpiffeId, TrustDomain},
    policy::{Addresses, Documents, Doubt, Labels, Policy, Scope},
    store::Snapshot,
    workload::{Bystanders, ObjectName, Service, Workload},
};

/// What the objects themselves don't say.
#[derive(Clone, Debug)]
pub struct Settings {
    pub trust_domains: TrustDomains,
    /// Such as `cluster.local`: the end of every service's host name.
    pub cluster_domain: String,
    /// The namespace whose documents are for the whole mesh.
    pub root_namespace: String,
    /// Of hosts outside of the mesh.
    pub addresses: Arc<Addresses>,
}

impl From<MeshConfig> for Settings {
    fn from(config: MeshConfig) -> Self {
        Self {
            trust_domains: TrustDomains {
                own: config.trust_domain,
                aliases: config.trust_domain_aliases,
            },
            cluster_domain: config.cluster_domain,
            root_namespace: config.root_namespace,
            addresses: Arc::default(),
        }
    }
}

impl Settings {
    /// Compiles documents as those of this mesh.
    #[must_use]
    pub fn compile(&self, documents: Documents) -> Policy {
        let scope = Scope {
            root_namespace: &self.root_namespace,
            cluster_domain: &self.cluster_domain,
            trust_domains: &self.trust_domains.all(),
        };
        Policy::compile(scope, documents)
    }
}

/// The names of the mesh.
#[derive(Clone, Debug)]
pub struct TrustDomains {
    pub own: TrustDomain,
    /// Others that policies may mean it by (Istio's `trustDomainAliases`).
    pub aliases: Vec<TrustDomain>,
}

impl TrustDomains {
    /// The own one first.
    #[must_use]
    pub fn all(&self) -> Vec<TrustDomain> {
        let own = std::iter::once(&self.own);
        own.chain(&self.aliases).cloned().collect()
    }
}

/// A mesh as a set of objects describes it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Mesh {
    /// In the order of precedence: the older keeps an address that two claim, then the first by name.
    pub workloads: Vec<Workload>,
    /// Of Kubernetes, by name.
    pub services: Vec<Service>,
    /// Of hosts outside of the mesh.
    pub outside: Vec<Service>,
    pub policy: Policy,
    /// Hosts outside of the mesh whose addresses must be asked for.
    pub names: BTreeSet<String>,
    /// Answers have been had for all of them.
    pub settled: bool,
    /// What `policy` was compiled from.
    pub documents: Documents,
    pub bystanders: Bystanders,
}

impl Mesh {
    /// Of all but the documents and what follows from them, whatever name servers say: equal for meshes from equal
    /// objects; two that differ have different ones for all practical purposes, if `hasher` is keyed at random.
    #[must_use]
    pub fn fingerprint(&self, hasher: &impl BuildHasher) -> u64 {
        hasher.hash_one((&self.workloads, &self.services, &self.bystanders))
    }

    #[must_use]
    pub fn into_snapshot(self) -> Snapshot {
        let mut services = self.services;
        services.extend(self.outside);
        let mut snapshot = Snapshot::new(self.workloads, services, self.policy);
        snapshot.documents = Arc::new(self.documents);
        snapshot.settled = self.settled;
        snapshot.bystanders = Arc::new(self.bystanders);
        snapshot
    }
}

/// Relates objects to each other. Warnings are added to `warnings`.
///
/// # Errors
/// Everything that is wrong; each names its document.
pub fn build(
    objects: Objects,
    settings: &Settings,
    warnings: &mut Vec<String>,
) -> Result<Mesh, Vec<LoadError>> {
    let Objects {
        namespaces,
        mut pods,
        services,
        endpoint_slices,
        documents,
        warnings: noted,
        ..
    } = objects;
    warnings.extend(noted);
    let policy = settings.compile(documents.clone());
    warnings.extend(policy.ignored().iter().map(ToString::to_string));
    let bystanders = bystanders::found(&namespaces, &pods, &services);
    pods.retain(|pod| !pod.facts.finished && !pod.facts.addresses.is_empty());
    pods.sort_by(|a, b| precedence(&a.facts).cmp(&precedence(&b.facts)));
    let services = endpoints::resolve(services, endpoint_slices, &pods, settings);
    pods.retain(|pod| !pod.facts.host_network);
    let entries = &documents.service_entries;
    let outside = Outside::of(entries, services.iter(), &settings.addresses, warnings);
    warnings.extend(documents.odd_principals().iter().map(Doubt::to_string));
    let all: Vec<_> = services.iter().chain(&outside.services).collect();
    // Documents alone: nobody knows what there will be.
    if !(all.is_empty() && pods.is_empty()) {
        warnings.extend(unknown_hosts(&policy, &documents, &all, settings));
    }
    let workloads = workloads(&pods, &namespaces, settings, warnings)?;
    Ok(Mesh {
        workloads,
        services,
        outside: outside.services,
        policy,
        names: outside.names,
        settled: outside.settled,
        documents,
        bystanders,
    })
}

/// What is said of hosts that none of `services` has.
fn unknown_hosts(
    policy: &Policy,
    documents: &Documents,
    services: &[&Service],
    settings: &Settings,
) -> Vec<String> {
    let mut texts = outside::nowhere(policy, services.iter().copied());
    let hosts = services.iter().map(|service| &*service.host);
    let unknown = documents.for_unknown_hosts(&settings.cluster_domain, hosts);
    texts.extend(unknown.iter().map(Doubt::to_string));
    texts
}

/// In the order of the pods.
fn workloads(
    pods: &[Arc<Located<PodFacts>>],
    namespaces: &BTreeMap<String, Labels>,
    settings: &Settings,
    warnings: &mut Vec<String>,
) -> Result<Vec<Workload>, Vec<LoadError>> {
    let mut errors = Vec::new();
    let mut workloads = Vec::with_capacity(pods.len());
    for pod in pods {
        let labels = namespaces.get(&*pod.facts.name.namespace);
        let enrolled = enrolment::is_enrolled(labels, &pod.facts);
        if enrolment::looks_forgotten(enrolled, &pod.facts) {
            warnings.push(enrolment::missing_label(&pod.facts));
        }
        match workload(pod, enrolled, settings) {
            Ok(workload) => workloads.push(workload),
            Err(error) => errors.push(error),
        }
    }
    if errors.is_empty() {
        Ok(workloads)
    } else {
        Err(errors)
    }
}

/// Age, then name.
fn precedence(pod: &PodFacts) -> (i64, &ObjectName) {
    (pod.created.unwrap_or(i64::MAX), &pod.name)
}

fn workload(
    pod: &Located<PodFacts>,
    enrolled: bool,
    settings: &Settings,
) -> Result<Workload, LoadError> {
    let Located { place, path, facts } = pod;
    let trust_domain = settings.trust_domains.own.clone();
    let identity = SpiffeId::new(trust_domain, &facts.name.namespace, &facts.service_account);
    let identity = identity.map_err(|error| LoadError {
        place: place.clone(),
        field: path.clone().then(&FieldPath::of("spec.serviceAccountName")),
        problem: Problem::Identity(error),
    })?;
    Ok(Workload {
        name: facts.name.clone(),
        uid: facts.uid.clone(),
        identity,
        node: facts.node.clone(),
        addresses: facts.addresses.clone(),
        labels: facts.labels.clone(),
        container_ports: facts.container_ports.clone(),
        enrolled,
        sandbox: facts.sandbox.clone(),
        telemetry: telemetry::names(facts),
    })
}

#[cfg(test)]
mod tests;
