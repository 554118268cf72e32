//! Objects -> workloads, services and policy: everything that takes more than one object to know.
//!
//! Does not read files, and does not publish.

mod endpoints;
mod enrolment;
mod telemetry;

use std::{collections::HashMap, hash::BuildHasher};

use super::{
    error::{LoadError, Problem},
    objects::{Located, Objects, PeerAuthenticationFacts, PodFacts},
    yaml::FieldPath,
};
use crate::{
    identity::{SpiffeId, TrustDomain},
    policy::{Policy, PolicyRef},
    store::Snapshot,
    workload::{Service, Workload},
};

/// What the objects themselves don't say.
#[derive(Clone, Debug)]
pub struct Settings {
    pub trust_domain: TrustDomain,
    /// Such as `cluster.local`: the end of every service's host name.
    pub cluster_domain: String,
    /// The namespace whose documents are for the whole mesh.
    pub root_namespace: String,
}

/// A mesh as a set of objects describes it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct Mesh {
    /// In the order of precedence: the older keeps an address that two claim, then the first by name.
    pub workloads: Vec<Workload>,
    /// By name.
    pub services: Vec<Service>,
    pub policy: Policy,
}

impl Mesh {
    /// Equal for equal meshes; two that differ have different ones for all practical purposes, if `hasher`
    /// is keyed at random.
    #[must_use]
    pub fn fingerprint(&self, hasher: &impl BuildHasher) -> u64 {
        hasher.hash_one(self)
    }

    #[must_use]
    pub fn into_snapshot(self) -> Snapshot {
        Snapshot::new(self.workloads, self.services, self.policy)
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
        peer_authentications,
        ..
    } = objects;
    let mut errors = Vec::new();
    let policy = compile(&peer_authentications, settings, &mut errors);
    pods.retain(|pod| !pod.facts.outside && !pod.facts.addresses.is_empty());
    pods.sort_by(|a, b| {
        let age = |pod: &Located<PodFacts>| pod.facts.created.unwrap_or(i64::MAX);
        age(a)
            .cmp(&age(b))
            .then_with(|| a.facts.name.cmp(&b.facts.name))
    });
    let services = endpoints::resolve(services, endpoint_slices, &pods, settings);
    let mut workloads = Vec::with_capacity(pods.len());
    for Located { place, path, facts } in pods {
        let labels = namespaces.get(&*facts.name.namespace);
        let enrolled = enrolment::is_enrolled(labels, &facts);
        if !enrolled && facts.own_enrolment.is_none() && facts.sandbox.is_some() {
            warnings.push(enrolment::missing_label(&facts));
        }
        match workload(facts, enrolled, settings) {
            Ok(workload) => workloads.push(workload),
            Err(problem) => errors.push(LoadError {
                place,
                field: path.then(&FieldPath::of("spec.serviceAccountName")),
                problem,
            }),
        }
    }
    warnings.extend(policy.ignored().iter().map(ToString::to_string));
    if !errors.is_empty() {
        return Err(errors);
    }
    Ok(Mesh {
        workloads,
        services,
        policy,
    })
}

fn compile(
    documents: &[Located<PeerAuthenticationFacts>],
    settings: &Settings,
    errors: &mut Vec<LoadError>,
) -> Policy {
    let plain = documents
        .iter()
        .map(|located| located.facts.document.clone())
        .collect();
    let complaints = match Policy::compile(&settings.root_namespace, plain) {
        Ok(policy) => return policy,
        Err(complaints) => complaints,
    };
    let by_reference: HashMap<&PolicyRef, _> = documents
        .iter()
        .map(|located| (&located.facts.document.reference, located))
        .collect();
    for complaint in complaints {
        let Some(located) = by_reference.get(complaint.document()) else {
            continue;
        };
        let (field, line) = located.facts.locate(&complaint);
        errors.push(LoadError {
            place: located.place.clone().on_line(line),
            field: located.path.clone().then(&field),
            problem: Problem::Policy(Box::new(complaint)),
        });
    }
    Policy::default()
}

fn workload(facts: PodFacts, enrolled: bool, settings: &Settings) -> Result<Workload, Problem> {
    let telemetry = telemetry::names(&facts);
    let identity = SpiffeId::new(
        settings.trust_domain.clone(),
        &facts.name.namespace,
        &facts.service_account,
    )?;
    Ok(Workload {
        name: facts.name,
        identity,
        node: facts.node,
        addresses: facts.addresses,
        labels: facts.labels,
        named_ports: facts.named_ports,
        enrolled,
        sandbox: facts.sandbox,
        telemetry,
    })
}

#[cfg(test)]
mod tests;
