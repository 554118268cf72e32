//! Keeps the store in step with a directory.

use std::{path::PathBuf, sync::Arc};

use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use super::{load::load_changes, watch::DirectoryWatch};
use crate::{
    control::{
        build::Settings,
        names::Names,
        objects::Cache,
        publisher::{Publisher, SourceStatus},
    },
    store::Writer,
};

/// Feeds the store from a directory.
pub struct FileSource {
    dir: PathBuf,
    settings: Settings,
    cache: Cache,
    publisher: Publisher,
    asking: Option<Names>,
}

impl FileSource {
    /// A source that has read nothing yet.
    #[must_use]
    pub fn new(
        dir: PathBuf,
        settings: Settings,
        writer: Writer,
    ) -> (Self, watch::Receiver<SourceStatus>) {
        let (publisher, status, asking) = Publisher::new(writer);
        let source = Self {
            dir,
            settings,
            cache: Cache::default(),
            publisher,
            asking: Some(asking),
        };
        (source, status)
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
                        () = self.publisher.addresses_changed() => self.publisher.readdress(),
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
        let addresses = self.publisher.addresses();
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
        let errors = match result {
            Ok(Ok(loaded)) => return self.publisher.accept(loaded, addresses, Vec::new(), false),
            Ok(Err(errors)) => errors.texts(),
            Err(error) => vec![format!("reading the directory failed: {error}")],
        };
        self.publisher.refuse(errors);
        self.publisher.readdress();
    }
}

#[cfg(test)]
mod tests;
