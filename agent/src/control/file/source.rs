//! Keeps the store in step with a directory.

use std::{collections::hash_map::RandomState, path::PathBuf};

use serde::Serialize;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use super::{
    load::{Loaded, load},
    watch::DirectoryWatch,
};
use crate::{
    control::{build::Settings, error::LoadErrors},
    store::Writer,
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
    status: watch::Sender<SourceStatus>,
    /// Keyed at random, so that no content can be made to look unchanged.
    hasher: RandomState,
    published: Option<Published>,
}

struct Published {
    fingerprint: u64,
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
        let source = Self {
            dir,
            settings,
            writer,
            status,
            hasher: RandomState::new(),
            published: None,
        };
        (source, receiver)
    }

    /// Reads the directory, and again whenever it changes, until `stop`.
    pub async fn run(mut self, stop: CancellationToken) {
        let follow = async {
            let mut watch = DirectoryWatch::new(self.dir.clone()).await;
            loop {
                self.reload().await;
                watch.changed().await;
            }
        };
        let _: Option<()> = stop.run_until_cancelled(follow).await;
    }

    async fn reload(&mut self) {
        let (dir, settings) = (self.dir.clone(), self.settings.clone());
        let result = tokio::task::spawn_blocking(move || load(&dir, &settings)).await;
        match result {
            Ok(Ok(loaded)) => self.accept(loaded),
            Ok(Err(errors)) => self.refuse(texts(&errors)),
            Err(error) => self.refuse(vec![format!("reading the directory failed: {error}")]),
        }
    }

    fn accept(&mut self, loaded: Loaded) {
        let Loaded {
            mesh,
            mut warnings,
            files,
            documents,
            skipped,
        } = loaded;
        let before = self.status.borrow().clone();
        let mut generation = before.generation;
        let (workloads, services) = (mesh.workloads.len(), mesh.services.len());
        let fingerprint = mesh.fingerprint(&self.hasher);
        let current = self.published.take();
        let unchanged = current.filter(|published| published.fingerprint == fingerprint);
        let changed = unchanged.is_none();
        let published = unchanged.unwrap_or_else(|| {
            let snapshot = mesh.into_snapshot();
            let conflicts = snapshot.conflicts().iter().map(ToString::to_string);
            let conflicts = conflicts.collect();
            generation = self.writer.publish(snapshot);
            Published {
                fingerprint,
                conflicts,
            }
        });
        warnings.extend(published.conflicts.iter().cloned());
        self.published = Some(published);
        if changed || !before.errors.is_empty() {
            tracing::info!(
                generation,
                files,
                documents,
                skipped,
                workloads,
                services,
                warnings = warnings.len(),
                "objects loaded"
            );
        }
        for warning in warnings.iter().filter(|w| !before.warnings.contains(w)) {
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

    fn refuse(&mut self, errors: Vec<String>) {
        let before = self.status.borrow().errors.clone();
        for error in errors.iter().filter(|error| !before.contains(error)) {
            tracing::error!("{error}");
        }
        self.status.send_modify(|status| status.errors = errors);
    }
}

fn texts(errors: &LoadErrors) -> Vec<String> {
    let mut texts: Vec<_> = errors.iter().map(ToString::to_string).collect();
    if errors.total() > texts.len() {
        texts.push(format!("and {} more", errors.total() - texts.len()));
    }
    texts
}

#[cfg(test)]
mod tests;
