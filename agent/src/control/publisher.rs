//! Puts what a source has read into force, and tells how the source is doing.

use std::{
    borrow::Cow,
    collections::{BTreeSet, HashSet},
    future::pending,
    sync::Arc,
};

use serde::Serialize;
use tokio::sync::watch;

use super::{
    build::{Mesh, readdressed},
    error::one_line,
    names::Names,
};
use crate::{
    policy::{Addresses, Documents},
    store::{Snapshot, Writer},
    workload::ObjectName,
};

/// How the source is doing.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct SourceStatus {
    /// Of the snapshot that is in force; zero: none yet.
    pub generation: u64,
    /// When the source was last read without error.
    pub loaded_at: Option<jiff::Timestamp>,
    /// Why something that the source has now is not in force; empty if all of it is. At most 100, then a line that
    /// says how many more there are.
    pub errors: Vec<String>,
    /// So many of them are about the source itself, which can't be asked: what is in force is what it said last.
    pub stale: usize,
    /// Each of the others is about objects of one namespace, which is not the mesh's.
    pub confined: bool,
    /// About what is in force.
    pub warnings: Vec<String>,
    /// Files and documents of what is in force.
    pub files: usize,
    pub documents: usize,
    /// Namespaces whose documents are not in force as they are. On a cluster only: a directory counts as a whole.
    pub held_back: Vec<HeldBack>,
    /// Pods of this node that run and can't be captured. On a cluster only.
    pub not_found: Vec<NotFound>,
}

impl SourceStatus {
    /// Why nobody can tell what the policy of the mesh as a whole is.
    #[must_use]
    pub fn closed_mesh(&self) -> Option<&HeldBack> {
        let mut held_back = self.held_back.iter();
        held_back.find(|held| held.mesh_wide && held.closed)
    }
}

/// Something is wrong with the documents of a namespace.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize)]
pub struct HeldBack {
    pub namespace: String,
    /// It is the root namespace.
    pub mesh_wide: bool,
    /// They have never made sense since the agent was started: its workloads are STRICT and take no connection.
    /// Otherwise what they said last is in force.
    pub closed: bool,
    /// One of those that there are.
    pub error: String,
}

/// A pod that runs on this node and whose processes aren't found here.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct NotFound {
    pub pod: ObjectName,
    pub since: jiff::Timestamp,
    /// With what to do about it.
    pub reason: &'static str,
}

/// What a source says.
#[derive(Debug)]
pub struct Loaded {
    pub mesh: Mesh,
    /// For the user: nothing that keeps the objects from taking effect.
    pub warnings: Vec<String>,
    pub files: usize,
    pub documents: usize,
    /// Objects without bearing on the mesh.
    pub skipped: usize,
    pub held_back: Vec<HeldBack>,
}

/// Feeds the store with what is new.
pub struct Publisher {
    writer: Writer,
    status: watch::Sender<SourceStatus>,
    /// Hosts whose addresses are asked for, and what is known of them.
    names: watch::Sender<BTreeSet<String>>,
    addresses: watch::Receiver<Arc<Addresses>>,
    published: Option<Published>,
}

struct Published {
    /// Its workloads and services are those of the snapshot.
    mesh: Mesh,
    /// Those that have not changed are shared with what is read the next time: to compare them takes no time.
    documents: Arc<Documents>,
    addresses: Arc<Addresses>,
    conflicts: Vec<String>,
}

impl Publisher {
    /// One that has published nothing yet, and what has to run beside it.
    #[must_use]
    pub fn new(writer: Writer) -> (Self, watch::Receiver<SourceStatus>, Names) {
        let (status, receiver) = watch::channel(SourceStatus::default());
        let (names, wanted) = watch::channel(BTreeSet::new());
        let (asking, addresses) = Names::new(wanted);
        let publisher = Self {
            writer,
            status,
            names,
            addresses,
            published: None,
        };
        (publisher, receiver, asking)
    }

    /// What name servers say, to relate the next objects with.
    pub fn addresses(&mut self) -> Arc<Addresses> {
        self.addresses.borrow_and_update().clone()
    }

    /// Waits until name servers say something new.
    pub async fn addresses_changed(&mut self) {
        if self.addresses.changed().await.is_err() {
            pending::<()>().await;
        }
    }

    #[must_use]
    pub fn current(&self) -> Arc<Snapshot> {
        self.writer.current()
    }

    /// Puts what was read into force. `errors` are about what is not in it; `confined`: each is of one namespace, or
    /// of the source itself.
    pub fn accept(
        &mut self,
        loaded: Loaded,
        addresses: Arc<Addresses>,
        errors: Vec<String>,
        confined: bool,
    ) {
        let before = self.status.borrow().clone();
        let Loaded {
            mesh,
            mut warnings,
            files,
            documents,
            skipped,
            held_back,
        } = loaded;
        let (workloads, services) = (mesh.workloads.len(), mesh.services.len());
        self.names.send_if_modified(|names| {
            let is_new = *names != mesh.names;
            names.clone_from(&mesh.names);
            is_new
        });
        let generation = self.publish(mesh, addresses, before.generation, &mut warnings);
        if generation != before.generation || before.errors.len() > errors.len() {
            let (warnings, errors) = (warnings.len(), errors.len());
            tracing::info!(
                generation,
                files,
                documents,
                skipped,
                workloads,
                services,
                warnings,
                errors,
                "objects loaded"
            );
        }
        for warning in &mut warnings {
            if let Cow::Owned(shown) = one_line(warning) {
                *warning = shown;
            }
        }
        let known: HashSet<_> = before.warnings.iter().collect();
        for warning in warnings.iter().filter(|warning| !known.contains(warning)) {
            tracing::warn!("{warning}");
        }
        log_new(&errors, &before.errors);
        log_held_back(&held_back, &before.held_back);
        self.status.send_replace(SourceStatus {
            generation,
            loaded_at: Some(jiff::Timestamp::now()),
            confined,
            errors,
            warnings,
            files,
            documents,
            held_back,
            stale: before.stale,
            not_found: before.not_found,
        });
    }

    /// Tells how many of the errors to come are about the source itself.
    pub fn doubt(&mut self, stale: usize) {
        self.status.send_if_modified(|status| {
            let before = std::mem::replace(&mut status.stale, stale);
            before != stale
        });
    }

    /// Tells which pods of this node are not found.
    pub fn miss(&mut self, not_found: Vec<NotFound>) {
        self.status.send_if_modified(|status| {
            let is_new = status.not_found != not_found;
            status.not_found = not_found;
            is_new
        });
    }

    /// Publishes a mesh unless it is in force already. Returns the generation that is in force now, and adds
    /// its conflicts to the warnings.
    fn publish(
        &mut self,
        mesh: Mesh,
        addresses: Arc<Addresses>,
        current: u64,
        warnings: &mut Vec<String>,
    ) -> u64 {
        if let Some(published) = &self.published
            && published.mesh.has_objects_of(&mesh)
            && published.documents == mesh.documents
            && published.addresses == addresses
        {
            warnings.extend_from_slice(&published.conflicts);
            return current;
        }
        let snapshot = mesh.clone().into_snapshot();
        let conflicts = conflicts(&snapshot);
        warnings.extend_from_slice(&conflicts);
        self.published = Some(Published {
            mesh,
            documents: Arc::clone(&snapshot.documents),
            addresses,
            conflicts,
        });
        self.writer.publish(snapshot)
    }

    /// What name servers say is new; it counts whatever state the source is in.
    pub fn readdress(&mut self) {
        let addresses = self.addresses();
        let published = self.published.as_mut();
        let Some(published) = published.filter(|p| p.addresses != addresses) else {
            return;
        };
        let snapshot = readdressed(&self.writer.current(), &addresses);
        let conflicts = conflicts(&snapshot);
        let before = std::mem::replace(&mut published.conflicts, conflicts.clone());
        published.addresses = addresses;
        let generation = self.writer.publish(snapshot);
        self.status.send_modify(|status| {
            status.generation = generation;
            status.warnings.retain(|warning| !before.contains(warning));
            status.warnings.extend(conflicts);
        });
    }

    /// Nothing of what was read counts; what is in force stays.
    pub fn refuse(&mut self, errors: Vec<String>) {
        log_new(&errors, &self.status.borrow().errors);
        self.status.send_if_modified(|status| {
            let is_new = status.errors != errors || status.confined;
            status.errors = errors;
            status.confined = false;
            is_new
        });
    }
}

fn log_new(errors: &[String], before: &[String]) {
    for error in errors.iter().filter(|error| !before.contains(error)) {
        tracing::error!("{error}");
    }
}

fn log_held_back(held_back: &[HeldBack], before: &[HeldBack]) {
    let known: HashSet<_> = before
        .iter()
        .map(|held| (&held.namespace, held.closed))
        .collect();
    for held in held_back {
        let HeldBack {
            namespace, closed, ..
        } = held;
        match (known.contains(&(namespace, *closed)), closed) {
            (true, _) => {}
            (false, false) => tracing::warn!(
                namespace,
                "policy is held back: what its documents said last stays in force"
            ),
            (false, true) => tracing::error!(
                namespace,
                "policy is held back: what its documents ask for has never been known, and every connection to its \
                 workloads is refused until all of them can be used"
            ),
        }
    }
}

fn conflicts(snapshot: &Snapshot) -> Vec<String> {
    let conflicts = snapshot.conflicts().iter();
    conflicts.map(ToString::to_string).collect()
}
