//! What has been heard of a cluster.

mod claims;
mod wanted;

use std::{
    collections::{BTreeMap, HashSet},
    sync::Arc,
};

use self::claims::Claims;
use super::{
    feed::{Event, Feed, Object},
    mirror::{Mirror, unnamed},
    policies::Policies,
    shared::Shared,
};
use crate::{
    control::{
        error::Place,
        objects::{
            BadField, CGROUP, EndpointSliceFacts, FromObject, LocatedPod, NETNS, Objects, PodFacts,
            ServiceFacts, api,
        },
        yaml::FieldPath,
    },
    policy::Labels,
    workload::{ContainerPort, Node, ObjectName, PodTemplate, TelemetryNames},
};

/// Objects that make no sense are told of, at most so many.
const MAX_BAD: usize = 100;

/// Facts about a cluster's objects.
#[derive(Debug)]
pub(super) struct Cluster {
    node: Arc<str>,
    namespaces: Mirror<Arc<Labels>>,
    pods: Mirror<Arc<PodFacts>>,
    claims: Claims,
    services: Mirror<Arc<ServiceFacts>>,
    endpoint_slices: Mirror<Arc<EndpointSliceFacts>>,
    pub(super) policies: Policies,
    /// Objects of which nothing can be made, or nothing new, and why.
    bad: BTreeMap<(Feed, ObjectName), Complaint>,
    /// Kinds that can't be asked for.
    failing: BTreeMap<Feed, String>,
    shared: Pool,
    changed: bool,
    /// A pod of this node has been heard of.
    own_changed: bool,
    /// The same, and it is not as it was.
    own_news: bool,
}

unnamed! { Arc<Labels> Arc<EndpointSliceFacts> }

/// What is wrong with an object.
#[derive(Debug)]
struct Complaint {
    text: String,
    /// Since the last list began.
    fresh: bool,
}

/// What pods have in common.
#[derive(Debug, Default)]
struct Pool {
    texts: Shared<str>,
    labels: Shared<Labels>,
    ports: Shared<[ContainerPort]>,
    probes: Shared<[u16]>,
    telemetry: Shared<TelemetryNames>,
    templates: Shared<PodTemplate>,
    nodes: Shared<Node>,
}

impl Pool {
    fn share(&mut self, pod: &mut PodFacts) {
        self.texts.share(&mut Arc::make_mut(&mut pod.node).name);
        self.nodes.share(&mut pod.node);
        // Pods with labels of their own have the rest in common all the same.
        let template = Arc::make_mut(&mut pod.template);
        self.texts.share(&mut template.service_account);
        self.labels.share(&mut template.labels);
        self.ports.share(&mut template.container_ports);
        self.probes.share(&mut template.probe_ports);
        self.telemetry.share(&mut template.telemetry);
        self.templates.share(&mut pod.template);
    }
}

impl Cluster {
    /// Nothing yet, as the agent of a node sees it.
    pub(super) fn new(node: &str) -> Self {
        Self {
            node: node.into(),
            namespaces: Mirror::default(),
            pods: Mirror::default(),
            claims: Claims::default(),
            services: Mirror::default(),
            endpoint_slices: Mirror::default(),
            policies: Policies::default(),
            bad: BTreeMap::new(),
            failing: BTreeMap::new(),
            shared: Pool::default(),
            changed: false,
            own_changed: false,
            own_news: false,
        }
    }

    /// Takes in what was heard.
    pub(super) fn hear(&mut self, feed: Feed, event: Event) {
        if !matches!(event, Event::Failed(_) | Event::Absent | Event::Begin) {
            self.changed |= self.failing.remove(&feed).is_some();
        }
        match event {
            Event::Begin => self.begin(feed),
            Event::Put(object) => self.put(feed, object),
            Event::Remove(name) => self.remove(feed, &name),
            Event::End => self.end(feed),
            Event::Absent if self.policies.absent(feed) => {
                let held =
                    "the server doesn't have this kind any more: its last documents stay in force";
                self.fail(feed, held);
            }
            Event::Absent => self.changed |= self.failing.remove(&feed).is_some(),
            Event::Resumed => {}
            Event::Failed(error) => self.fail(feed, &error),
        }
    }

    fn fail(&mut self, feed: Feed, error: &str) {
        let error = format!("{}: {error}", feed.kind());
        let before = self.failing.insert(feed, error.clone());
        self.changed |= before != Some(error);
    }

    fn begin(&mut self, feed: Feed) {
        let of_kind = self.bad.iter_mut().filter(|((of, _), _)| *of == feed);
        of_kind.for_each(|(_, complaint)| complaint.fresh = false);
        match feed {
            Feed::Namespaces => self.namespaces.begin(),
            Feed::Pods => self.pods.begin(),
            Feed::Services => self.services.begin(),
            Feed::EndpointSlices => self.endpoint_slices.begin(),
            Feed::ConfigMaps | Feed::Istio(_) => self.policies.begin(feed),
        }
    }

    fn end(&mut self, feed: Feed) {
        self.changed |= match feed {
            Feed::Namespaces => self.namespaces.end(),
            Feed::Pods => {
                self.claims.clear();
                self.pods.end()
            }
            Feed::Services => self.services.end(),
            Feed::EndpointSlices => self.endpoint_slices.end(),
            Feed::ConfigMaps | Feed::Istio(_) => return self.policies.end(feed),
        };
        self.bad
            .retain(|(of, _), complaint| *of != feed || complaint.fresh);
    }

    fn put(&mut self, feed: Feed, object: Object) {
        match object {
            Object::Namespace(namespace) => {
                let name = name_of(&namespace.metadata);
                let labels = namespace.metadata.labels.unwrap_or_default();
                self.changed |= self.namespaces.learn(name, labels);
            }
            Object::Pod(pod) => self.put_pod(*pod),
            Object::Service(service) => {
                let name = name_of(&service.metadata);
                if let Some(facts) = self.read::<ServiceFacts>(feed, &name, *service) {
                    self.changed |= self.services.learn(name, facts);
                }
            }
            Object::EndpointSlice(slice) => {
                let name = name_of(&slice.metadata);
                if let Some(facts) = self.read::<EndpointSliceFacts>(feed, &name, *slice) {
                    self.changed |= self.endpoint_slices.learn(name, facts);
                }
            }
            Object::Policy(object) => self.policies.put(feed, object),
        }
    }

    fn put_pod(&mut self, mut pod: api::Pod) {
        let mut name = name_of(&pod.metadata);
        self.shared.texts.share(&mut name.namespace);
        self.own_changed |=
            pod.spec.as_ref().and_then(|spec| spec.node_name.as_deref()) == Some(&*self.node);
        let uid = pod.metadata.uid.clone();
        let created = pod.metadata.creation_timestamp.map(|at| at.as_second());
        // Whoever may write a pod's annotations must not choose what the agent opens as root.
        pod.metadata
            .annotations
            .iter_mut()
            .for_each(without_sandbox);
        let Some(mut facts) = self.read::<PodFacts>(Feed::Pods, &name, pod) else {
            // What is known may be of another pod, which had the name before.
            if self.pods.get(&name).is_some_and(|known| {
                known.created != created
                    || known.uid().is_some() && known.uid().map(|uid| &**uid) != uid.as_deref()
            }) {
                self.pods.remove(&name);
            }
            return;
        };
        if facts.node.name != self.node {
            // Nobody asks for it, and there are many.
            facts.local = None;
        }
        self.shared.share(&mut facts);
        let addresses = facts.addresses.clone();
        let is_own = facts.node.name == self.node;
        if self.pods.learn(name, facts) {
            self.changed = true;
            self.own_news |= is_own;
            if let Some(round) = self.pods.read_again() {
                self.claims.take(&addresses, round);
            }
        }
    }

    /// `None`: the object makes no sense, and what is known of it stays.
    fn read<T: FromObject>(
        &mut self,
        feed: Feed,
        name: &ObjectName,
        object: T::Object,
    ) -> Option<T> {
        match T::from_object(name, object) {
            Ok(facts) => {
                self.good(feed, name);
                Some(facts)
            }
            Err(bad) => {
                self.bad(feed, name.clone(), &bad);
                None
            }
        }
    }

    fn remove(&mut self, feed: Feed, name: &ObjectName) {
        self.good(feed, name);
        self.changed |= match feed {
            Feed::Namespaces => self.namespaces.remove(name).is_some(),
            Feed::Pods => {
                let removed = self.pods.remove(name);
                self.own_news |= removed
                    .as_ref()
                    .is_some_and(|pod| pod.node.name == self.node);
                removed.is_some()
            }
            Feed::Services => self.services.remove(name).is_some(),
            Feed::EndpointSlices => self.endpoint_slices.remove(name).is_some(),
            Feed::ConfigMaps | Feed::Istio(_) => return self.policies.remove(feed, name),
        };
    }

    /// An object makes no sense: what is known of it stays.
    fn bad(&mut self, feed: Feed, name: ObjectName, bad: &[BadField]) {
        let texts = bad
            .iter()
            .map(|bad| format!("{}: {}", bad.field, bad.problem));
        let text = texts.collect::<Vec<_>>().join("; ");
        let text = format!("{} {name}: {text}", feed.kind());
        match feed {
            Feed::Pods => self.pods.keep(&name),
            Feed::Services => self.services.keep(&name),
            Feed::EndpointSlices => self.endpoint_slices.keep(&name),
            Feed::Namespaces | Feed::ConfigMaps | Feed::Istio(_) => {}
        }
        self.bad
            .insert((feed, name), Complaint { text, fresh: true });
        self.changed = true;
    }

    fn good(&mut self, feed: Feed, name: &ObjectName) {
        // Nearly always empty.
        if !self.bad.is_empty() {
            self.changed |= self.bad.remove(&(feed, name.clone())).is_some();
        }
    }

    /// Whether it has been heard to the end once.
    pub(super) fn is_whole(&self, feed: Feed) -> bool {
        match feed {
            Feed::Namespaces => self.namespaces.is_whole(),
            Feed::Pods => self.pods.is_whole(),
            Feed::Services => self.services.is_whole(),
            Feed::EndpointSlices => self.endpoint_slices.is_whole(),
            Feed::ConfigMaps | Feed::Istio(_) => self.policies.is_whole(feed),
        }
    }

    /// Whether there is something new since this was asked the last time.
    pub(super) fn take_changed(&mut self) -> bool {
        std::mem::take(&mut self.changed)
    }

    /// Whether a pod of this node has been heard of since this was asked the last time.
    pub(super) fn take_own_changed(&mut self) -> bool {
        std::mem::take(&mut self.own_changed)
    }

    /// Whether a pod of this node is another since this was asked the last time.
    pub(super) fn take_own_news(&mut self) -> bool {
        std::mem::take(&mut self.own_news)
    }

    /// Kinds that can't be asked for.
    pub(super) fn failing(&self) -> usize {
        self.failing.len()
    }

    /// What is wrong, for people: first what is about [kinds that can't be asked for](Self::failing).
    pub(super) fn errors(&self) -> Vec<String> {
        let mut errors: Vec<_> = self.failing.values().cloned().collect();
        let texts = self.bad.values().map(|complaint| complaint.text.clone());
        errors.extend(texts.take(MAX_BAD));
        if self.bad.len() > MAX_BAD {
            errors.push(format!("and {} more", self.bad.len() - MAX_BAD));
        }
        errors
    }

    /// Pods of this node.
    pub(super) fn own_pods(&self) -> impl Iterator<Item = &Arc<PodFacts>> {
        self.pods.values().filter(|pod| pod.node.name == self.node)
    }

    pub(super) fn pod_count(&self) -> usize {
        self.pods.len()
    }

    /// Everything but policy, to be related. `own` has what is known better of the pods of this node.
    pub(super) fn objects(&self, mut own: BTreeMap<ObjectName, Arc<PodFacts>>) -> Objects {
        let place = Place {
            file: "Kubernetes".into(),
            line: 0,
            document: 0,
            value: None,
        };
        let site = Arc::new((place, FieldPath::default()));
        let known: HashSet<&str> = self.namespaces.iter().map(|(n, _)| &*n.name).collect();
        // Of a pod whose namespace has not been heard of yet nobody can tell whether it is in the mesh.
        let pods = self.pods.rounds();
        let pods = pods.filter(|(pod, _)| known.contains(&*pod.name.namespace));
        let pods = pods.map(|(facts, round)| {
            let facts = own.remove(&facts.name).unwrap_or_else(|| Arc::clone(facts));
            LocatedPod {
                site: Arc::clone(&site),
                facts: self.claims.give_way(facts, round),
            }
        });
        let pods = pods.collect();
        let namespaces = self.namespaces.iter();
        Objects {
            namespaces: namespaces
                .map(|(name, labels)| (name.name.to_string(), Labels::clone(labels)))
                .collect(),
            pods,
            services: self.services.values().cloned().collect(),
            endpoint_slices: self.endpoint_slices.values().cloned().collect(),
            ..Objects::default()
        }
    }
}

fn without_sandbox(annotations: &mut BTreeMap<String, String>) {
    annotations.retain(|key, _| ![NETNS, CGROUP].contains(&key.as_str()));
}

fn name_of(metadata: &api::ObjectMeta) -> ObjectName {
    let text = |field: &Option<String>| field.clone().unwrap_or_default();
    ObjectName::new(&text(&metadata.namespace), &text(&metadata.name))
}

#[cfg(test)]
mod tests;
