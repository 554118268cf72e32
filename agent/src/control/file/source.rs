//! Keeps the store in step with a directory.

use std::{
    collections::{BTreeSet, HashSet, hash_map::RandomState},
    path::PathBuf,
    sync::Arc,
};

use serde::Serialize;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use super::{
    load::{Loaded, load_changes},
    watch::DirectoryWatch,
};
use crate::{
    control::{
        build::{Mesh, Settings, readdressed},
        names::Names,
        objects::Cache,
    },
    policy::{Addresses, Documents},
    store::{Snapshot, Writer},
};

/// How the source is doing.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct SourceStatus {
    /// Of the snapshot that is in force; zero: none yet.
    pub generation: u64,
    /// When the directory was last read without error.
    pub loaded_at: Option<jiff::Timestamp>,
    /// Why the directory as it is now is not in force; empty if it is. At most 100, then a line that says how
    /// many more there are.
    pub errors: Vec<String>,
    /// About what is in force.
    pub warnings: Vec<String>,
    /// Files and documents of what is in force.
    pub files: usize,
    pub documents: usize,
}

/// Feeds the store from a directory.
pub struct FileSource {
    dir: PathBuf,
    settings: Settings,
    writer: Writer,
    cache: Cache,
    status: watch::Sender<SourceStatus>,
    /// Hosts whose addresses are asked for, and what is known of them.
    names: watch::Sender<BTreeSet<String>>,
    addresses: watch::Receiver<Arc<Addresses>>,
    asking: Option<Names>,
    /// Keyed at random, so that no content can be made to look unchanged.
    hasher: RandomState,
    published: Option<Published>,
}

struct Published {
    fingerprint: u64,
    /// Those that have not changed are shared with what is read the next time: to compare them takes no time.
    documents: Arc<Documents>,
    addresses: Arc<Addresses>,
    conflicts: Vec<String>,
}

impl FileSource {
    /// A source that has read nothing yet.
    #[must_use]
    pub fn new(
        dir: PathBuf,
        settings: Settings,
        writer: Writer,
    ) -> (Self, watch::Receiver<SourceStatus>) {
        let (status, receiver) = watch::channel(SourceStatus::default());
        let (names, wanted) = watch::channel(BTreeSet::new());
        let (asking, addresses) = Names::new(wanted);
        let source = Self {
            dir,
            settings,
            writer,
            cache: Cache::default(),
            status,
            names,
            addresses,
            asking: Some(asking),
            hasher: RandomState::new(),
            published: None,
        };
        (source, receiver)
    }

    /// Reads the directory, and again whenever it changes, until `stop`.
    pub async fn run(mut self, stop: CancellationToken) {
        let asking = self.asking.take();
        let follow = async {
            let mut watch = DirectoryWatch::new(self.dir.clone()).await;
            loop {
                self.reload().await;
                loop {
                    tokio::select! {
                        () = watch.changed() => break,
                        Ok(()) = self.addresses.changed() => self.readdress(),
                    }
                }
            }
        };
        let asking = asking.map(|names| tokio::spawn(names.run()));
        let _: Option<()> = stop.run_until_cancelled(follow).await;
        if let Some(asking) = asking {
            asking.abort();
        }
    }

    async fn reload(&mut self) {
        let dir = self.dir.clone();
        let addresses = self.addresses.borrow_and_update().clone();
        let settings = Settings {
            addresses: Arc::clone(&addresses),
            ..self.settings.clone()
        };
        let mut cache = std::mem::take(&mut self.cache);
        let loading = move || (load_changes(&dir, &settings, &mut cache), cache);
        let result = tokio::task::spawn_blocking(loading).await;
        let result = result.map(|(result, cache)| {
            self.cache = cache;
            result
        });
        match result {
            Ok(Ok(loaded)) => return self.accept(loaded, addresses),
            Ok(Err(errors)) => self.refuse(errors.texts()),
            Err(error) => self.refuse(vec![format!("reading the directory failed: {error}")]),
        }
        self.lay_over(addresses);
    }

    fn accept(&mut self, loaded: Loaded, addresses: Arc<Addresses>) {
        let before = self.status.borrow().clone();
        let Loaded {
            mesh,
            mut warnings,
            files,
            documents,
            skipped,
        } = loaded;
        let (workloads, services) = (mesh.workloads.len(), mesh.services.len());
        self.names.send_if_modified(|names| {
            let is_new = *names != mesh.names;
            names.clone_from(&mesh.names);
            is_new
        });
        let generation = self.publish(mesh, addresses, before.generation, &mut warnings);
        if generation != before.generation || !before.errors.is_empty() {
            let warnings = warnings.len();
            tracing::info!(
                generation,
                files,
                documents,
                skipped,
                workloads,
                services,
                warnings,
                "objects loaded"
            );
        }
        let known: HashSet<_> = before.warnings.iter().collect();
        for warning in warnings.iter().filter(|warning| !known.contains(warning)) {
            tracing::warn!("{warning}");
        }
        self.status.send_replace(SourceStatus {
            generation,
            loaded_at: Some(jiff::Timestamp::now()),
            errors: Vec::new(),
            warnings,
            files,
            documents,
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
        let fingerprint = mesh.fingerprint(&self.hasher);
        if let Some(published) = &self.published
            && published.fingerprint == fingerprint
            && *published.documents == mesh.documents
            && published.addresses == addresses
        {
            warnings.extend_from_slice(&published.conflicts);
            return current;
        }
        let snapshot = mesh.into_snapshot();
        let conflicts = conflicts(&snapshot);
        warnings.extend_from_slice(&conflicts);
        self.published = Some(Published {
            fingerprint,
            documents: Arc::clone(&snapshot.documents),
            addresses,
            conflicts,
        });
        self.writer.publish(snapshot)
    }

    /// What name servers say is new; it counts whatever state the directory is in.
    fn readdress(&mut self) {
        let addresses = self.addresses.borrow_and_update().clone();
        self.lay_over(addresses);
    }

    fn lay_over(&mut self, addresses: Arc<Addresses>) {
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

    fn refuse(&mut self, errors: Vec<String>) {
        let before = self.status.borrow().errors.clone();
        for error in errors.iter().filter(|error| !before.contains(error)) {
            tracing::error!("{error}");
        }
        self.status.send_modify(|status| status.errors = errors);
    }
}

fn conflicts(snapshot: &Snapshot) -> Vec<String> {
    let conflicts = snapshot.conflicts().iter();
    conflicts.map(ToString::to_string).collect()
}

#[cfg(test)]
mod tests;
