//! Tells that a directory may have changed, sooner rather than exactly.

use std::{
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use notify::{
    EventKind, RecommendedWatcher, RecursiveMode, Watcher,
    event::{AccessKind, AccessMode},
};
use tokio::{sync::Notify, time::Instant};

use super::listing::Listing;

/// A change is over when nothing has happened for so long.
const QUIET: Duration = Duration::from_millis(20);

/// How long changes that don't end are waited for.
const MAX_DELAY: Duration = Duration::from_millis(200);

/// How often to look, in case the kernel doesn't tell: links out of the directory, network file systems.
const POLL: Duration = Duration::from_secs(5);

/// How often to look for a directory that can't be watched.
const POLL_UNWATCHED: Duration = Duration::from_millis(250);

/// A directory that is watched by name: it may come, go, and be replaced.
pub struct DirectoryWatch {
    dir: PathBuf,
    events: Arc<Notify>,
    watched: Option<Watched>,
    /// `None`: there was no directory.
    seen: Option<Listing>,
    /// So that a failure is logged once.
    complained: bool,
}

struct Watched {
    /// Device and inode of the directory.
    identity: (u64, u64),
    /// Watches until it is dropped.
    _watcher: RecommendedWatcher,
}

impl DirectoryWatch {
    /// Watches from now on: what is there already counts as seen.
    pub async fn new(dir: PathBuf) -> Self {
        let mut watch = Self {
            dir,
            events: Arc::new(Notify::new()),
            watched: None,
            seen: None,
            complained: false,
        };
        watch.look().await;
        watch
    }

    /// Waits until the directory has, or may have, changed and has come to rest. May be dropped at any
    /// point; a change that was under way is then told by the next call.
    pub async fn changed(&mut self) {
        loop {
            let pause = match self.watched {
                Some(_) => POLL,
                None => POLL_UNWATCHED,
            };
            match tokio::time::timeout(pause, self.events.notified()).await {
                Ok(()) => {
                    // Kept for the case that this future is dropped while it waits.
                    self.events.notify_one();
                    self.settle().await;
                    self.look().await;
                    return;
                }
                Err(_elapsed) => {
                    if self.look().await {
                        return;
                    }
                }
            }
        }
    }

    async fn settle(&self) {
        let deadline = Instant::now() + MAX_DELAY;
        let mut until = Instant::now();
        while until < deadline {
            let quiet = tokio::time::timeout_at(until, self.events.notified()).await;
            if quiet.is_err() {
                return;
            }
            until = deadline.min(Instant::now() + QUIET);
        }
    }

    /// Compares with what was seen last, and renews the watch if the name leads to another directory now.
    async fn look(&mut self) -> bool {
        let dir = self.dir.clone();
        let identity = self.watched.as_ref().map(|watched| watched.identity);
        let events = Arc::clone(&self.events);
        let looked = tokio::task::spawn_blocking(move || {
            let listing = Listing::of(&dir).ok();
            let now = listing.as_ref().map(|listing| listing.identity);
            let renewed = (now != identity).then(|| now.map(|now| watch(&dir, now, &events)));
            // What happened between the first look and the watch would be told by nobody.
            let listing = match renewed {
                Some(Some(Ok(_))) => Listing::of(&dir).ok(),
                _ => listing,
            };
            (listing, renewed)
        });
        let Ok((listing, renewed)) = looked.await else {
            return true;
        };
        match renewed {
            None => {}
            Some(None) => self.watched = None,
            Some(Some(Ok(watched))) => {
                self.watched = Some(watched);
                self.complained = false;
            }
            Some(Some(Err(error))) => {
                self.watched = None;
                if !std::mem::replace(&mut self.complained, true) {
                    tracing::warn!(dir = %self.dir.display(), %error, "cannot watch the directory: polling it");
                }
            }
        }
        let changed = listing != self.seen;
        self.seen = listing;
        changed
    }
}

fn watch(dir: &Path, identity: (u64, u64), events: &Arc<Notify>) -> notify::Result<Watched> {
    let events = Arc::clone(events);
    let mut watcher = notify::recommended_watcher(move |event: notify::Result<notify::Event>| {
        if event.is_ok_and(|event| !is_change(event.kind)) {
            return;
        }
        events.notify_one();
    })?;
    watcher.watch(dir, RecursiveMode::NonRecursive)?;
    Ok(Watched {
        identity,
        _watcher: watcher,
    })
}

/// Our own reading of the files makes events, too.
fn is_change(kind: EventKind) -> bool {
    match kind {
        EventKind::Access(access) => access == AccessKind::Close(AccessMode::Write),
        _ => true,
    }
}
