//! Keeps the store in step with a cluster.

use std::{collections::BTreeMap, path::PathBuf, sync::Arc, time::Duration};

use kube::Client;
use tokio::{
    sync::{mpsc, watch},
    task::{JoinSet, block_in_place, spawn_blocking},
    time::{Instant, sleep_until},
};
use tokio_util::sync::CancellationToken;

use super::{
    awaited::Awaited,
    cluster::Cluster,
    feed::{Event, Feed, Scope},
    follow::Follower,
    policies::{Read, Texts},
    sandbox::Sandboxes,
};
use crate::{
    control::{
        build::{Settings, relate},
        error::LoadErrors,
        names::Names,
        objects::{Cache, PodFacts},
        publisher::{Loaded, Publisher, SourceStatus},
    },
    offload::sys,
    store::Writer,
    workload::ObjectName,
};

/// Events that wait for being taken in: when there are more, the API server's answers wait.
const BACKLOG: usize = 128;

/// What follows at once is put into force together.
const DEBOUNCE: Duration = Duration::from_millis(5);

/// Making snapshots takes at most one part in so many of the time, whatever the cluster does; and whatever this node's
/// pods do.
const SHARE: u32 = 5;
const OWN_SHARE: u32 = 2;

/// Pods of a cluster whose tables are large.
const LARGE: usize = 10_000;

/// How often the sandboxes of pods are looked for that start, for so long; then less often.
const STARTING: Duration = Duration::from_millis(50);
const STARTING_FOR: Duration = Duration::from_secs(60);
const WAITING: Duration = Duration::from_secs(1);
/// How often it is looked whether they are still where they were.
const SETTLED: Duration = Duration::from_secs(5);

/// Of the cluster, as seen from one node.
#[derive(Clone, Debug)]
pub struct ClusterSettings {
    /// Whose pods are looked for; empty: nobody's.
    pub node: String,
    /// Directory of the cgroup v2 hierarchy with the pods of this node; none: they are not looked for.
    pub cgroup_root: Option<PathBuf>,
    pub scope: Scope,
    /// Where the ConfigMaps with policy are.
    pub policy_namespace: String,
}

/// Feeds the store from the API server.
pub struct KubernetesSource {
    client: Client,
    policy_namespace: String,
    state: State,
    asking: Names,
}

struct State {
    settings: Settings,
    scope: Scope,
    cluster: Cluster,
    sandboxes: Option<Sandboxes>,
    /// Of documents.
    cache: Cache,
    /// What the documents say; each namespace's, when they last made sense.
    policy: Option<Read>,
    /// Why they could not be read at all.
    policy_error: Option<String>,
    publisher: Publisher,
    /// There is something new to put into force, from then on.
    due: Option<Instant>,
    /// Not before; what is new of this node's pods or of policy, not before the other.
    rested: Instant,
    rested_for_own: Instant,
    /// When sandboxes are looked for, and when they were.
    look: Instant,
    looked: Instant,
    awaited: Awaited,
}

impl KubernetesSource {
    /// A source that has asked nothing yet.
    #[must_use]
    pub fn new(
        client: Client,
        cluster: ClusterSettings,
        settings: Settings,
        writer: Writer,
    ) -> (Self, watch::Receiver<SourceStatus>) {
        let (publisher, status, asking) = Publisher::new(writer);
        let now = Instant::now();
        let source = Self {
            client,
            policy_namespace: cluster.policy_namespace,
            state: State {
                settings,
                scope: cluster.scope,
                cluster: Cluster::new(&cluster.node),
                sandboxes: cluster.cgroup_root.map(Sandboxes::new),
                cache: Cache::default(),
                policy: None,
                policy_error: None,
                publisher,
                due: None,
                rested: now,
                rested_for_own: now,
                look: now,
                looked: now,
                awaited: Awaited::default(),
            },
            asking,
        };
        (source, status)
    }

    /// Follows the cluster until `stop`.
    pub async fn run(mut self, stop: CancellationToken) {
        let (heard, mut events) = mpsc::channel(BACKLOG);
        let follower = Follower {
            client: self.client,
            policy_namespace: self.policy_namespace,
            heard,
        };
        let mut tasks = JoinSet::new();
        tasks.spawn(self.asking.run());
        for feed in self.state.scope.feeds() {
            tasks.spawn(follower.clone().run(feed));
        }
        drop(follower);
        let _: Option<()> = stop
            .run_until_cancelled(self.state.follow(&mut events))
            .await;
        tasks.abort_all();
    }
}

impl State {
    async fn follow(&mut self, events: &mut mpsc::Receiver<(Feed, Event)>) {
        loop {
            let due = self.due.unwrap_or_else(far);
            tokio::select! {
                heard = events.recv() => {
                    let Some(heard) = heard else { return };
                    self.hear(heard);
                    for _ in 0..BACKLOG {
                        let Ok(heard) = events.try_recv() else { break };
                        self.hear(heard);
                    }
                    self.consider();
                }
                () = self.publisher.addresses_changed() => self.publisher.readdress(),
                () = sleep_until(due), if self.due.is_some() => self.put_into_force().await,
                () = sleep_until(self.look), if self.sandboxes.is_some() => self.look().await,
            }
        }
    }

    fn hear(&mut self, (feed, event): (Feed, Event)) {
        self.cluster.hear(feed, event);
    }

    /// Whether what was heard changes anything.
    fn consider(&mut self) {
        let policy = self.cluster.policies.is_changed();
        if self.cluster.take_changed() || policy {
            let rested = if self.cluster.take_own_news() || policy {
                self.rested_for_own
            } else {
                self.rested
            };
            let soon = (Instant::now() + DEBOUNCE).max(rested);
            self.due = Some(self.due.map_or(soon, |due| due.min(soon)));
        }
        if self.cluster.take_own_changed() {
            // It may be about to start.
            self.look = self.look.min(self.looked + STARTING);
        }
    }

    async fn put_into_force(&mut self) {
        self.due = None;
        let begun = Instant::now();
        self.make_room();
        let addresses = self.publisher.addresses();
        let settings = Settings {
            addresses: Arc::clone(&addresses),
            finds_pods: true,
            ..self.settings.clone()
        };
        let mut unheard = self.scope.feeds();
        unheard.retain(|feed| !self.cluster.is_whole(*feed));
        if unheard.is_empty() {
            self.read_policy(&settings).await;
        }
        let mut errors = self.cluster.errors();
        let of_policy = self.policy.iter().flat_map(|policy| &policy.errors);
        errors.extend(of_policy.chain(&self.policy_error).cloned());
        if !unheard.is_empty() {
            let kinds: Vec<_> = unheard.iter().map(|feed| feed.kind()).collect();
            errors.push(format!("not heard of yet: {}", kinds.join(", ")));
        }
        self.publisher.doubt(self.cluster.failing());
        match &self.policy {
            Some(policy) if unheard.is_empty() => match self.related(policy, settings).await {
                Ok(loaded) => {
                    let of_mesh = loaded.held_back.iter().any(|held| held.mesh_wide);
                    let confined = !of_mesh && self.policy_error.is_none();
                    block_in_place(|| {
                        self.publisher.accept(loaded, addresses, errors, confined);
                    });
                }
                Err(more) => {
                    errors.extend(more);
                    self.publisher.refuse(errors);
                }
            },
            _ => self.publisher.refuse(errors),
        }
        self.make_room();
        let (now, took) = (Instant::now(), begun.elapsed());
        self.rested = now + (SHARE - 1) * took;
        self.rested_for_own = now + (OWN_SHARE - 1) * took;
    }

    fn make_room(&self) {
        if self.cluster.pod_count() >= LARGE {
            block_in_place(sys::make_room);
        }
    }

    /// What was heard, as a mesh.
    async fn related(&self, policy: &Read, settings: Settings) -> Result<Loaded, Vec<String>> {
        let objects = block_in_place(|| self.cluster.objects(self.own()));
        let (compiled, previous) = (Arc::clone(&policy.compiled), self.publisher.current());
        let (mut warnings, count) = (policy.warnings.clone(), policy.count);
        let held_back = policy.held_back.clone();
        let relating = spawn_blocking(move || {
            let mesh = relate(objects, &compiled, &previous, &settings, &mut warnings);
            mesh.map(|mesh| Loaded {
                mesh,
                warnings,
                files: 0,
                documents: count.documents,
                skipped: count.skipped,
                held_back,
            })
        });
        match relating.await {
            Ok(related) => related
                .map_err(|errors| LoadErrors::new(errors).map_or_else(Vec::new, |e| e.texts())),
            Err(error) => Err(vec![format!("relating objects failed: {error}")]),
        }
    }

    async fn read_policy(&mut self, settings: &Settings) {
        let texts = match self.cluster.policies.take() {
            Some(texts) => texts,
            // There may be nothing to hear of it.
            None if self.policy.is_none() => Texts::default(),
            None => return,
        };
        let (settings, mut cache) = (settings.clone(), std::mem::take(&mut self.cache));
        let before = self.policy.as_ref().map(|read| read.last_good.clone());
        let before = before.unwrap_or_default();
        let reading = spawn_blocking(move || (texts.read(&settings, &before, &mut cache), cache));
        match reading.await {
            Ok((read, cache)) => {
                self.cache = cache;
                self.policy = Some(read);
                self.policy_error = None;
            }
            Err(error) => self.policy_error = Some(format!("reading policy failed: {error}")),
        }
    }

    /// The pods of this node, with what was found out here.
    fn own(&self) -> BTreeMap<ObjectName, Arc<PodFacts>> {
        let Some(sandboxes) = &self.sandboxes else {
            return BTreeMap::new();
        };
        let better = |pod: &Arc<PodFacts>| {
            let uid = pod.uid()?;
            if sandboxes.is_gone(uid) {
                let finished = true;
                return Some(PodFacts {
                    finished,
                    ..PodFacts::clone(pod)
                });
            }
            let found = sandboxes.get(uid)?;
            let mut pod = PodFacts::clone(pod);
            let local = pod.local.get_or_insert_default();
            local.sandbox = Some(Arc::new(found.sandbox.clone()));
            if pod.addresses.is_empty() && !pod.host_network {
                let is_gone =
                    |other: &PodFacts| other.uid().is_some_and(|uid| sandboxes.is_gone(uid));
                pod.addresses = self.cluster.unclaimed(&pod, &found.addresses, is_gone);
            }
            Some(pod)
        };
        let own = self.cluster.own_pods();
        own.filter_map(|pod| Some((pod.name.clone(), Arc::new(better(pod)?))))
            .collect()
    }

    /// Looks for the sandboxes of this node's pods.
    async fn look(&mut self) {
        let Some(mut sandboxes) = self.sandboxes.take() else {
            return;
        };
        let wanted = self.cluster.wanted();
        let root = sandboxes.root().to_owned();
        let looking = spawn_blocking(move || {
            let changed = sandboxes.look(&wanted);
            let changed = changed.unwrap_or_else(|error| {
                tracing::warn!(%error, "the pods' cgroups can't be read: what is known of them stays");
                false
            });
            (sandboxes, changed)
        });
        let (sandboxes, changed) = match looking.await {
            Ok(looked) => looked,
            Err(error) => {
                tracing::error!(%error, "looking for the pods of this node failed");
                (Sandboxes::new(root), false)
            }
        };
        let now = Instant::now();
        if changed {
            // Whatever else happens in the cluster.
            self.due = Some(now);
        }
        self.awaited.update(sandboxes.missing(), now);
        let not_found = self.awaited.not_found(self.cluster.own_pods(), now);
        self.publisher.miss(not_found);
        self.sandboxes = Some(sandboxes);
        self.looked = now;
        self.look = now
            + match self.awaited.latest() {
                None => SETTLED,
                Some(since) if now - since < STARTING_FOR => STARTING,
                Some(_) => WAITING,
            };
    }
}

/// For a timer that isn't set.
fn far() -> Instant {
    Instant::now() + Duration::from_secs(3600)
}
