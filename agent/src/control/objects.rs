//! Documents -> the facts that the mesh needs, each with the place where it stands.
//!
//! Kubernetes kinds that have no bearing on the mesh are skipped; Istio kinds that aren't enforced yet are
//! refused, never ignored. Does not relate objects to each other: see `build`.

pub mod api;
mod cache;
mod claim;
mod collect;
mod config_map;
mod emptied;
mod endpoint_slice;
mod flattened;
mod kind;
mod metadata;
mod name;
mod namespace;
mod pasted;
mod pieces;
mod pod;
mod policy;
mod probe;
mod service;
mod site;
mod switch;
mod telemetry;
mod typed;
mod unheeded;

use std::{collections::BTreeMap, sync::Arc};

pub use cache::Cache;
pub use collect::Collector;
pub use endpoint_slice::{Condition, EndpointSliceFacts};
pub use pieces::pieces;
pub use pod::{CGROUP, NETNS, PodFacts};
pub use service::{ServiceFacts, ServicePortFacts, TargetPort};
pub use switch::SWITCH;

use super::{
    error::{Place, Problem},
    yaml::FieldPath,
};
use crate::{policy::Documents, workload::ObjectName};

/// Everything that a directory says.
#[derive(Clone, Debug, Default)]
pub struct Objects {
    /// Labels by name.
    pub namespaces: BTreeMap<String, BTreeMap<String, String>>,
    pub pods: Vec<LocatedPod>,
    pub services: Vec<Arc<ServiceFacts>>,
    pub endpoint_slices: Vec<Arc<EndpointSliceFacts>>,
    pub documents: Documents,
    /// Of documents that are read, but had better be written in another way.
    pub warnings: Vec<String>,
    pub count: Count,
}

impl Objects {
    /// Adds what another set says.
    pub(super) fn append(&mut self, other: &Self) {
        self.namespaces.extend(other.namespaces.clone());
        self.pods.extend_from_slice(&other.pods);
        self.services.extend_from_slice(&other.services);
        let slices = &mut self.endpoint_slices;
        slices.extend_from_slice(&other.endpoint_slices);
        self.documents.append(&other.documents);
        self.warnings.extend_from_slice(&other.warnings);
        self.count.files += other.count.files;
        self.count.documents += other.count.documents;
        self.count.skipped += other.count.skipped;
    }
}

/// How much was read.
#[derive(Clone, Copy, Debug, Default)]
pub struct Count {
    pub files: usize,
    /// Of YAML.
    pub documents: usize,
    /// Objects that have no bearing on the mesh.
    pub skipped: usize,
}

/// Facts, and where they come from.
#[derive(Clone, Debug)]
pub struct Located<T> {
    pub place: Place,
    /// Path of the object in its document: empty, or the item of a list.
    pub path: FieldPath,
    pub facts: T,
}

/// A pod, of which there are many: those of one place share it.
#[derive(Clone, Debug)]
pub struct LocatedPod {
    pub site: Arc<(Place, FieldPath)>,
    pub facts: Arc<PodFacts>,
}

impl From<Located<PodFacts>> for LocatedPod {
    fn from(pod: Located<PodFacts>) -> Self {
        Self {
            site: Arc::new((pod.place, pod.path)),
            facts: Arc::new(pod.facts),
        }
    }
}

/// A field of an object that makes no sense.
#[derive(Debug)]
pub struct BadField {
    pub field: FieldPath,
    pub problem: Problem,
}

impl BadField {
    #[must_use]
    pub fn new(field: FieldPath, problem: Problem) -> Self {
        Self { field, problem }
    }
}

/// Facts from an object as the Kubernetes API knows it. `Ok(None)`: it has no bearing on the mesh.
pub trait FromObject: Sized {
    type Object: serde::de::DeserializeOwned;

    /// # Errors
    /// All fields that make no sense.
    fn from_object(name: &ObjectName, object: Self::Object) -> Result<Self, Vec<BadField>>;
}

#[cfg(test)]
mod tests;
