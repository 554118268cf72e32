//! Watches: from where, what is sent first, and what each change looks like to who selects.
//!
//! Source: "Efficient detection of changes" of the Kubernetes API concepts; k8s.io/apiserver/pkg/storage/cacher.

mod frame;

use std::{sync::Arc, time::Duration};

use futures_util::stream;
use hyper::{Response, body::Bytes, header};
use tokio::{
    sync::{broadcast, mpsc, watch},
    time::{Instant, sleep_until},
};

use super::{Asked, Body, accept::Form, body, body::Broken, list};
use crate::{
    faults::{Break, How},
    request::Query,
    resources::Resource,
    selector::Selection,
    server::Cluster,
    status::Status,
};
use frame::Framing;

/// Frames that wait for a client; it is given up when the history no longer has what it missed.
const WAITING: usize = 64;
/// Events that are taken out of the store at a time.
const BATCH: usize = 256;
/// A bookmark is sent so long before the end, as nextBookmarkTime in cache_watcher.go does.
const BEFORE_END: Duration = Duration::from_secs(2);
/// `--min-request-timeout` of the real server; the time-out is up to twice that.
const SHORTEST: u64 = 1800;

type Sender = mpsc::Sender<Result<Bytes, Broken>>;

/// What comes before the first change.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Start {
    /// The changes after this version.
    After(u64),
    /// All objects first, from a state that is not older than this. `ends`: with a bookmark after them.
    State { oldest: u64, ends: bool },
}

struct Watcher {
    cluster: Arc<Cluster>,
    resource: Arc<Resource>,
    selection: Selection,
    framing: Framing,
    sender: Sender,
    changes: watch::Receiver<(u64, u64)>,
    breaks: broadcast::Receiver<Break>,
    cursor: u64,
    epoch: u64,
    end: Instant,
    wants_bookmarks: bool,
}

pub async fn watch(
    cluster: &Arc<Cluster>,
    resource: &Arc<Resource>,
    asked: &Asked,
) -> Result<Response<Body>, Status> {
    let mut selection = list::selected(resource, asked)?;
    if !asked.target.name.is_empty() {
        let fields = format!("metadata.name={}", asked.target.name);
        selection = Selection::new(resource, asked.scope(resource), "", &fields)?;
    }
    let include = asked.query.text("includeObject");
    let form = Form::accepted(asked.header(header::ACCEPT), include)?;
    let start = start(&asked.query, cluster.faults.streams_lists())?;
    if let Start::After(version) = start
        && cluster.faults.refuses_old_watches()
    {
        remembered(cluster, resource, version)?;
    }
    let seconds = asked
        .query
        .number("timeoutSeconds")
        .filter(|seconds| *seconds > 0);
    let seconds = seconds.unwrap_or_else(|| fastrand::u64(SHORTEST..2 * SHORTEST));
    let (sender, receiver) = mpsc::channel(WAITING);
    let watcher = Watcher {
        cluster: Arc::clone(cluster),
        resource: Arc::clone(resource),
        selection,
        framing: Framing::new(form, Arc::clone(resource), asked.target.version.clone()),
        sender,
        changes: cluster.store.changes(),
        breaks: cluster.faults.breaks(),
        cursor: 0,
        epoch: cluster.store.read().epoch,
        end: Instant::now() + Duration::from_secs(seconds),
        wants_bookmarks: asked.query.flag("allowWatchBookmarks"),
    };
    tokio::spawn(watcher.run(start));
    let frames = stream::unfold(receiver, |mut receiver| async move {
        receiver.recv().await.map(|frame| (frame, receiver))
    });
    Ok(body::streamed("application/json;stream=watch", frames))
}

/// SetListOptionsDefaults of the real server.
fn start(query: &Query, streams_lists: bool) -> Result<Start, Status> {
    check(query, streams_lists)?;
    let initial = query.optional_flag("sendInitialEvents");
    let oldest = list::resource_version(query.text("resourceVersion"))?;
    Ok(match (initial, oldest) {
        (Some(true), oldest) => Start::State { oldest, ends: true },
        // A watch without a version is a streamed list by default where the server can.
        (None, 0) => Start::State {
            oldest: 0,
            ends: streams_lists,
        },
        (_, version) => Start::After(version),
    })
}

/// validateWatchOptions of the real server.
fn check(query: &Query, streams_lists: bool) -> Result<(), Status> {
    let matched = query.text("resourceVersionMatch");
    let initial = query.optional_flag("sendInitialEvents");
    let mut wrong = Vec::new();
    let mut refuse = |field: &str, why: &str| wrong.push((field.to_owned(), why.to_owned()));
    let field = "resourceVersionMatch";
    if initial.is_some() {
        if matched != "NotOlderThan" {
            refuse(
                field,
                "Forbidden: sendInitialEvents requires setting resourceVersionMatch to NotOlderThan",
            );
        }
        if !streams_lists {
            let why = "Forbidden: sendInitialEvents is forbidden for watch unless the WatchList feature gate is enabled";
            refuse("sendInitialEvents", why);
        }
    }
    if !matched.is_empty() {
        if initial.is_none() {
            refuse(
                field,
                "Forbidden: resourceVersionMatch is forbidden for watch unless sendInitialEvents is provided",
            );
        }
        if matched != "NotOlderThan" {
            let why =
                format!("Unsupported value: \"{matched}\": supported values: \"NotOlderThan\"");
            refuse(field, &why);
        }
        if !query.text("continue").is_empty() {
            refuse(
                field,
                "Forbidden: resourceVersionMatch is forbidden when continue is provided",
            );
        }
    }
    list::refused(&wrong)
}

/// Whether changes after this version are still known.
fn remembered(cluster: &Cluster, resource: &Resource, version: u64) -> Result<(), Status> {
    let state = cluster.store.read();
    let forgot = state
        .table(&resource.id())
        .is_some_and(|table| !table.remembers(version));
    if forgot && version != 0 {
        let current = state.version;
        return Err(Status::expired(format!(
            "too old resource version: {version} ({current})"
        )));
    }
    Ok(())
}

impl Watcher {
    async fn run(mut self, start: Start) {
        if let Err(status) = self.begin(start).await {
            let _ = self.send(self.framing.error(&status)).await;
            return;
        }
        let mut bookmark = self.next_bookmark(Instant::now());
        loop {
            if !self.pass_on().await {
                return;
            }
            let never = Instant::now() + Duration::from_secs(3600);
            tokio::select! {
                changed = self.changes.changed() => if changed.is_err() { return },
                () = sleep_until(bookmark.unwrap_or(never)) => {
                    if bookmark.is_some() && !self.bookmark().await {
                        return;
                    }
                    bookmark = self.next_bookmark(Instant::now());
                }
                () = sleep_until(self.end) => return,
                () = self.sender.closed() => return,
                order = self.breaks.recv() => {
                    let Ok(order) = order else { continue };
                    if order.concerns(&self.resource) {
                        return self.end_as(order.how).await;
                    }
                }
            }
        }
    }

    /// Sends what comes before the first change, and sets the cursor.
    async fn begin(&mut self, start: Start) -> Result<(), Status> {
        let (oldest, ends) = match start {
            Start::After(0) => {
                self.cursor = self.cluster.store.read().version;
                return Ok(());
            }
            Start::After(version) => {
                remembered(&self.cluster, &self.resource, version)?;
                self.cursor = version;
                return Ok(());
            }
            Start::State { oldest, ends } => (oldest, ends),
        };
        self.cluster.wait_for(oldest).await?;
        let objects: Vec<_> = {
            let state = self.cluster.store.read();
            self.cursor = state.version;
            self.epoch = state.epoch;
            let table = state.table(&self.resource.id());
            let namespace = self.selection.namespace();
            let objects =
                table.map_or_else(Vec::new, |table| table.at(state.version, namespace, ""));
            let selected = objects
                .into_iter()
                .filter(|object| self.selection.selects(object));
            selected.cloned().collect()
        };
        for object in objects {
            let frame = self.framing.object("ADDED", &object)?;
            if !self.send(frame).await {
                return Ok(());
            }
        }
        if ends && self.wants_bookmarks {
            let frame = self.framing.bookmark(self.cursor, true);
            self.send(frame).await;
        }
        Ok(())
    }

    /// Sends what happened since the cursor. False at the end of the watch.
    async fn pass_on(&mut self) -> bool {
        loop {
            self.changes.mark_unchanged();
            let (events, now) = {
                let state = self.cluster.store.read();
                if state.epoch != self.epoch
                    || self.cluster.registry.by_id(&self.resource.id()).is_none()
                {
                    return false;
                }
                let table = state.table(&self.resource.id());
                // Too slow: the real server ends such a watch without a word.
                if table.is_some_and(|table| !table.remembers(self.cursor)) {
                    return false;
                }
                let events = table.map_or_else(Vec::new, |table| table.since(self.cursor, BATCH));
                (events, state.version)
            };
            for event in &events {
                let Ok(frame) = self.framing.event(event, &self.selection) else {
                    return false;
                };
                if let Some(frame) = frame
                    && !self.send(frame).await
                {
                    return false;
                }
                self.cursor = event.version;
            }
            if events.is_empty() {
                self.cursor = self.cursor.max(now);
                return true;
            }
        }
    }

    async fn send(&self, frame: Vec<u8>) -> bool {
        self.sender.send(Ok(Bytes::from(frame))).await.is_ok()
    }

    async fn bookmark(&mut self) -> bool {
        if !self.cluster.faults.sends_bookmarks() {
            return true;
        }
        let frame = self.framing.bookmark(self.cursor, false);
        self.send(frame).await
    }

    /// Now and then, and shortly before the end.
    fn next_bookmark(&self, now: Instant) -> Option<Instant> {
        if !self.wants_bookmarks {
            return None;
        }
        let next = now + self.cluster.options.bookmarks;
        let last = self.end.checked_sub(BEFORE_END).filter(|last| *last > now);
        Some(last.map_or(next, |last| next.min(last)))
    }

    async fn end_as(self, how: How) {
        match how {
            How::Close => {}
            How::Expired => {
                let status = Status::expired("too old resource version: a fault was ordered");
                let _ = self.send(self.framing.error(&status)).await;
            }
            How::Error => {
                let _ = self
                    .send(self.framing.error(&Status::ordered(500, None)))
                    .await;
            }
            How::Cut => {
                let mut frame = self.framing.bookmark(self.cursor, false);
                frame.truncate(frame.len() / 2);
                let _ = self.send(frame).await;
                let _ = self.sender.send(Err(Broken)).await;
            }
            How::Abort => {
                let _ = self.sender.send(Err(Broken)).await;
            }
            How::Silence => self.sender.closed().await,
        }
    }
}
