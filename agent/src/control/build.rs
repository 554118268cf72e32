//! Objects -> workloads, services and policy: everything that takes more than one object to know.
//!
//! Does not read files, and does not publish.

mod bystanders;
mod endpoints;
mod enrolment;
mod outside;

pub use outside::readdressed;

use std::{
    collections::{BTreeMap, BTreeSet, HashMap},
    sync::Arc,
};

use self::outside::Outside;
use super::{
    error::{LoadError, Problem},
    objects::{LocatedPod, Objects, PodFacts},
    yaml::FieldPath,
};
use crate::{
    config::MeshConfig,
    identity::{ParseSpiffeIdError, SpiffeId, TrustDomain},
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
    /// Whether pods with Istio's own proxy are in the mesh where their namespaces say so. Where agents run they are not:
    /// two proxies would answer one another's clients.
    pub takes_proxied: bool,
    /// Whether pods are found where they run, and need not say it.
    pub finds_pods: bool,
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
            takes_proxied: false,
            finds_pods: false,
        }
    }
}

impl Settings {
    /// Of a directory that documents are tried on: its pods are in the mesh as they would be in Istio's.
    #[must_use]
    pub fn of_dump(self) -> Self {
        Self {
            takes_proxied: true,
            ..self
        }
    }

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

#[cfg(test)]
impl Settings {
    /// Those of a mesh that says nothing itself.
    pub(crate) fn of_tests() -> Self {
        Self::from(MeshConfig {
            trust_domain: "cluster.local".parse().unwrap(),
            trust_domain_aliases: Vec::new(),
            cluster_domain: "cluster.local".to_owned(),
            root_namespace: "istio-system".to_owned(),
        })
    }
}

/// Documents, and what they mean.
#[derive(Clone, Debug, Default)]
pub struct Compiled {
    policy: Arc<Policy>,
    documents: Arc<Documents>,
    /// Of documents whose meaning depends on nothing else.
    warnings: Vec<String>,
}

impl Compiled {
    #[must_use]
    pub fn new(documents: Documents, settings: &Settings) -> Self {
        let policy = settings.compile(documents.clone());
        let ignored = policy.ignored().iter().map(ToString::to_string);
        let mut odd = documents.odd_principals();
        odd.extend(documents.beside_root(&settings.root_namespace));
        Self {
            warnings: ignored.chain(odd.iter().map(Doubt::to_string)).collect(),
            policy: Arc::new(policy),
            documents: Arc::new(documents),
        }
    }

    #[cfg(test)]
    pub(super) fn policy(&self) -> &Policy {
        &self.policy
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
    pub workloads: Vec<Arc<Workload>>,
    /// Of Kubernetes, by name.
    pub services: Vec<Arc<Service>>,
    /// Of hosts outside of the mesh.
    pub outside: Vec<Service>,
    pub policy: Arc<Policy>,
    /// Hosts outside of the mesh whose addresses must be asked for.
    pub names: BTreeSet<String>,
    /// Answers have been had for all of them.
    pub settled: bool,
    /// What `policy` was compiled from.
    pub documents: Arc<Documents>,
    pub bystanders: Arc<Bystanders>,
    /// Of pods that have been given to a node and have no address yet.
    pub expected: Arc<BTreeSet<(SpiffeId, Arc<str>)>>,
}

impl Mesh {
    /// Whether all is the same but the documents and what follows from them, whatever name servers say. What meshes
    /// share is not compared.
    #[must_use]
    pub fn has_objects_of(&self, other: &Self) -> bool {
        (&self.workloads, &self.services) == (&other.workloads, &other.services)
            && (&self.bystanders, &self.expected) == (&other.bystanders, &other.expected)
    }

    #[must_use]
    pub fn into_snapshot(self) -> Snapshot {
        let mut services = self.services;
        services.extend(self.outside.into_iter().map(Arc::new));
        let mut snapshot = Snapshot::new(self.workloads, services, self.policy);
        snapshot.documents = self.documents;
        snapshot.settled = self.settled;
        snapshot.bystanders = self.bystanders;
        snapshot.expected = self.expected;
        snapshot
    }
}

/// Compiles the documents and relates objects to each other. Warnings are added to `warnings`.
///
/// # Errors
/// Everything that is wrong; each names its document.
pub fn build(
    mut objects: Objects,
    settings: &Settings,
    warnings: &mut Vec<String>,
) -> Result<Mesh, Vec<LoadError>> {
    warnings.append(&mut objects.warnings);
    let compiled = Compiled::new(std::mem::take(&mut objects.documents), settings);
    relate(objects, &compiled, &Snapshot::default(), settings, warnings)
}

/// [`build`] with documents that are compiled already; workloads and services that are as they are in `previous` are
/// shared with it.
///
/// # Errors
/// As [`build`].
pub fn relate(
    objects: Objects,
    compiled: &Compiled,
    previous: &Snapshot,
    settings: &Settings,
    warnings: &mut Vec<String>,
) -> Result<Mesh, Vec<LoadError>> {
    let Objects {
        namespaces,
        mut pods,
        services,
        endpoint_slices,
        ..
    } = objects;
    let Compiled {
        policy, documents, ..
    } = compiled;
    warnings.extend_from_slice(&compiled.warnings);
    let bystanders = bystanders::found(&namespaces, &pods, &services, settings.takes_proxied);
    let expected = expected(&pods, settings);
    pods.retain(|pod| !pod.facts.finished && !pod.facts.addresses.is_empty());
    // Names make it total.
    pods.sort_unstable_by(|a, b| precedence(&a.facts).cmp(&precedence(&b.facts)));
    let services = endpoints::resolve(&services, &endpoint_slices, &pods, settings, previous);
    pods.retain(|pod| !pod.facts.host_network);
    let entries = &documents.service_entries;
    let outside = Outside::of(
        entries,
        services.iter().map(Arc::as_ref),
        &settings.addresses,
        warnings,
    );
    let inside = services.iter().map(Arc::as_ref);
    let all: Vec<_> = inside.chain(&outside.services).collect();
    // Documents alone: nobody knows what there will be.
    if !(all.is_empty() && pods.is_empty()) {
        warnings.extend(unknown_hosts(policy, documents, &all, settings));
    }
    let enrolled = Enrolled {
        namespaces: &namespaces,
        settings,
        previous,
        identities: HashMap::new(),
    };
    Ok(Mesh {
        workloads: enrolled.workloads(pods, warnings)?,
        services,
        outside: outside.services,
        policy: Arc::clone(policy),
        names: outside.names,
        settled: outside.settled,
        documents: Arc::clone(documents),
        bystanders: Arc::new(bystanders),
        expected: Arc::new(expected),
    })
}

/// Identity and node of the pods that start: their agents ask for certificates before the API has their addresses.
fn expected(pods: &[LocatedPod], settings: &Settings) -> BTreeSet<(SpiffeId, Arc<str>)> {
    let pods = pods.iter().map(|pod| &pod.facts);
    let starting = pods.filter(|pod| {
        pod.addresses.is_empty() && !(pod.finished || pod.host_network || pod.node.name.is_empty())
    });
    let identified = starting.filter_map(|pod| {
        let domain = settings.trust_domains.own.clone();
        let identity = SpiffeId::new(domain, &pod.name.namespace, &pod.service_account);
        Some((identity.ok()?, Arc::clone(&pod.node.name)))
    });
    identified.collect()
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

/// Makes workloads of pods.
struct Enrolled<'a> {
    namespaces: &'a BTreeMap<String, Labels>,
    settings: &'a Settings,
    previous: &'a Snapshot,
    /// By namespace and account: what many pods have is there once.
    identities: HashMap<(Arc<str>, Arc<str>), SpiffeId>,
}

impl Enrolled<'_> {
    /// In the order of the pods.
    fn workloads(
        mut self,
        pods: Vec<LocatedPod>,
        warnings: &mut Vec<String>,
    ) -> Result<Vec<Arc<Workload>>, Vec<LoadError>> {
        let mut errors = Vec::new();
        let mut workloads = Vec::with_capacity(pods.len());
        for LocatedPod { site, facts } in pods {
            let labels = self.namespaces.get(&*facts.name.namespace);
            let enrolled = enrolment::is_enrolled(labels, &facts, self.settings.takes_proxied);
            if !self.settings.finds_pods && enrolment::looks_forgotten(enrolled, &facts) {
                warnings.push(enrolment::missing_label(&facts));
            }
            match self.workload(&facts, enrolled) {
                Ok(workload) => workloads.push(workload),
                Err(error) => errors.push(LoadError {
                    place: site.0.clone().into(),
                    field: site
                        .1
                        .clone()
                        .then(&FieldPath::of("spec.serviceAccountName")),
                    problem: Problem::Identity(error),
                    namespace: Some(Arc::clone(&facts.name.namespace)),
                    is_vital: true,
                }),
            }
        }
        if errors.is_empty() {
            Ok(workloads)
        } else {
            Err(errors)
        }
    }

    fn workload(
        &mut self,
        pod: &Arc<PodFacts>,
        enrolled: bool,
    ) -> Result<Arc<Workload>, ParseSpiffeIdError> {
        let known = self.previous.workload(&pod.name);
        // Nearly all are the very same, and so are their identities then.
        let very_same =
            |known: &&Arc<Workload>| Arc::ptr_eq(&known.pod, pod) && known.enrolled == enrolled;
        if let Some(known) = known.filter(very_same) {
            return Ok(Arc::clone(known));
        }
        let identity = self.identity(pod)?;
        let is_same = |known: &&Arc<Workload>| {
            known.pod == *pod && known.enrolled == enrolled && known.identity == identity
        };
        if let Some(known) = known.filter(is_same) {
            return Ok(Arc::clone(known));
        }
        Ok(Arc::new(Workload {
            pod: Arc::clone(pod),
            identity,
            enrolled,
        }))
    }

    fn identity(&mut self, pod: &PodFacts) -> Result<SpiffeId, ParseSpiffeIdError> {
        let account = (
            Arc::clone(&pod.name.namespace),
            Arc::clone(&pod.service_account),
        );
        if let Some(known) = self.identities.get(&account) {
            return Ok(known.clone());
        }
        let domain = self.settings.trust_domains.own.clone();
        let identity = SpiffeId::new(domain, &account.0, &account.1)?;
        self.identities.insert(account, identity.clone());
        Ok(identity)
    }
}

/// Age, then name; but who is leaving may have left already, and its address be another's.
fn precedence(pod: &PodFacts) -> (bool, i64, &ObjectName) {
    (pod.leaving, pod.created.unwrap_or(i64::MAX), &pod.name)
}

#[cfg(test)]
mod tests;
