//! Lists and watches one kind for as long as the agent runs
//! (<https://kubernetes.io/docs/reference/using-api/api-concepts/#efficient-detection-of-changes>).

use std::{pin::pin, time::Duration};

use futures_util::StreamExt as _;
use kube::{
    Api, Client,
    api::ListParams,
    core::ApiResource,
    runtime::{WatchStreamExt as _, watcher},
};
use tokio::{
    sync::mpsc,
    time::{Instant, sleep, timeout},
};

use super::{
    feed::{Event, Feed, Object, served},
    slim::{Slim, Trimmed, Whole},
};

/// Seconds that a watch lasts.
pub(super) const WATCH: u32 = 120;

/// How often it is asked whether a kind is there now.
const ABSENT: Duration = Duration::from_secs(30);

/// After an error without another one: longer than the library waits before it tries again. A watch that goes on where it
/// was says nothing of that, and kinds of which there is seldom news would be told to fail for hours.
const QUIET: Duration = Duration::from_secs(45);

/// Before a server that refused is asked again: twice as long each time, up to 32 times.
const AGAIN: Duration = Duration::from_secs(1);
const DOUBLINGS: u32 = 5;

/// Where events go. What nobody takes is waited with.
pub(super) type Heard = mpsc::Sender<(Feed, Event)>;

/// Whom to ask, and for what.
#[derive(Clone)]
pub(super) struct Follower {
    pub(super) client: Client,
    /// Where the ConfigMaps with policy are.
    pub(super) policy_namespace: String,
    pub(super) heard: Heard,
}

/// The receiver has gone: there is nobody to tell.
struct Gone;

impl Follower {
    /// Follows one kind until nobody listens.
    pub(super) async fn run(self, feed: Feed) {
        let mut failures = 0;
        loop {
            let begun = Instant::now();
            let followed = match feed {
                Feed::Namespaces => self.built_in(feed, Object::Namespace).await,
                Feed::Pods => self.built_in(feed, Object::Pod).await,
                Feed::Services => self.built_in(feed, Object::Service).await,
                Feed::EndpointSlices => self.built_in(feed, Object::EndpointSlice).await,
                Feed::ConfigMaps => self.policy(feed, feed.resource()).await,
                Feed::Istio(istio) => match served(&self.client, &istio.resources()).await {
                    Ok(Some(resource)) => self.policy(feed, resource).await,
                    Ok(None) => self.absent(feed).await,
                    Err(error) => self.failed(feed, text(&error)).await,
                },
            };
            if followed.is_err() {
                return;
            }
            failures = if begun.elapsed() > ABSENT {
                0
            } else {
                DOUBLINGS.min(failures + 1)
            };
            // Not all agents of a cluster at the same moment.
            let again = AGAIN * 2_u32.pow(failures) / 2;
            sleep(again.mul_f64(1.0 + fastrand::f64())).await;
        }
    }

    async fn built_in<T: Trimmed>(
        &self,
        feed: Feed,
        object: impl Fn(Box<T>) -> Object,
    ) -> Result<(), Gone> {
        let object = |read| object(Box::new(read));
        self.follow(feed, &feed.resource(), object).await
    }

    async fn policy(&self, feed: Feed, resource: ApiResource) -> Result<(), Gone> {
        let object = |Whole(mut object): Whole| {
            // Not said of the items of lists.
            if let Some(fields) = object.as_object_mut() {
                fields.insert("apiVersion".to_owned(), resource.api_version.clone().into());
                fields.insert("kind".to_owned(), resource.kind.clone().into());
            }
            Object::Policy(object)
        };
        self.follow(feed, &resource, object).await
    }

    /// Returns when the watch has to be begun anew, from a list.
    async fn follow<T: Trimmed>(
        &self,
        feed: Feed,
        resource: &ApiResource,
        object: impl Fn(T) -> Object,
    ) -> Result<(), Gone> {
        let client = self.client.clone();
        let api: Api<Slim<T>> = match feed {
            Feed::ConfigMaps => Api::namespaced_with(client, &self.policy_namespace, resource),
            _ => Api::all_with(client, resource),
        };
        let mut events = pin!(watcher(api.clone(), feed.selection()).default_backoff());
        let mut failed = false;
        loop {
            let patience = if failed { QUIET } else { Duration::MAX };
            let Ok(next) = timeout(patience, events.next()).await else {
                failed = !answers(&api).await;
                if !failed {
                    self.tell(feed, Event::Resumed).await?;
                }
                continue;
            };
            let Some(event) = next else { return Ok(()) };
            failed = event.is_err();
            let event = match event {
                Ok(watcher::Event::Init) => Event::Begin,
                Ok(watcher::Event::InitApply(slim) | watcher::Event::Apply(slim)) => {
                    Event::Put(object(slim.object))
                }
                Ok(watcher::Event::InitDone) => Event::End,
                Ok(watcher::Event::Delete(slim)) => Event::Remove(slim.name()),
                Err(error) if !feed.is_built_in() && is_absent(&error) => {
                    return self.absent(feed).await;
                }
                Err(error) => {
                    let afresh = needs_list(&error);
                    self.failed(feed, text(&error)).await?;
                    if afresh {
                        return Ok(());
                    }
                    continue;
                }
            };
            self.tell(feed, event).await?;
        }
    }

    async fn absent(&self, feed: Feed) -> Result<(), Gone> {
        self.tell(feed, Event::Absent).await?;
        sleep(ABSENT).await;
        Ok(())
    }

    async fn failed(&self, feed: Feed, error: String) -> Result<(), Gone> {
        self.tell(feed, Event::Failed(error)).await
    }

    async fn tell(&self, feed: Feed, event: Event) -> Result<(), Gone> {
        self.heard.send((feed, event)).await.map_err(|_| Gone)
    }
}

async fn answers<T: Trimmed>(api: &Api<Slim<T>>) -> bool {
    let asked = timeout(QUIET, api.list(&ListParams::default().limit(1))).await;
    matches!(asked, Ok(Ok(_)))
}

/// An error and what caused it, for the library's own texts leave that out.
fn text(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        let cause_text = cause.to_string();
        if !text.contains(&cause_text) {
            text = format!("{text}: {cause_text}");
        }
        source = cause.source();
    }
    text
}

fn is_absent(error: &watcher::Error) -> bool {
    matches!(status_of(error), Some(status) if status.is_not_found())
}

/// Whether a watch can't go on from where it was: its version is too old (410), or the server does not know it yet or
/// any more, as after a restore of its data. The library goes on asking for the same version then.
fn needs_list(error: &watcher::Error) -> bool {
    // What could not be read is missed for good.
    if let watcher::Error::WatchFailed(kube::Error::SerdeError(_)) = error {
        return true;
    }
    let watcher::Error::WatchStartFailed(_) = error else {
        return false;
    };
    status_of(error).is_some_and(|status| {
        let causes = status.details.iter().flat_map(|details| &details.causes);
        let mut causes = causes.map(|cause| cause.reason.as_str());
        status.code == 410 || causes.any(|reason| reason == "ResourceVersionTooLarge")
    })
}

fn status_of(error: &watcher::Error) -> Option<&kube::core::Status> {
    match error {
        watcher::Error::InitialListFailed(kube::Error::Api(status))
        | watcher::Error::WatchStartFailed(kube::Error::Api(status))
        | watcher::Error::WatchFailed(kube::Error::Api(status))
        | watcher::Error::WatchError(status) => Some(status),
        _ => None,
    }
}
