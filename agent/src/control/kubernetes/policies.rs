//! The policy documents of a cluster: in ConfigMaps, and as resources of Istio.
//!
//! While anything is wrong with the documents of a namespace, what they said last stays in force (`apart`). Pods and
//! services are another matter, and go on.

use std::{collections::BTreeMap, sync::Arc};

use serde_json::Value;

use super::{
    apart::{LastGood, Reading, Settled},
    feed::Feed,
    mirror::{Mirror, unnamed},
};
use crate::{
    control::{
        build::{Compiled, Settings},
        error::LoadErrors,
        objects::{Cache, Collector, Count},
        publisher::HeldBack,
    },
    workload::ObjectName,
};

/// What errors in ConfigMaps begin with: these say themselves of which they are.
const CONFIG_MAPS: &str = "Kubernetes";

/// Documents as the API has them.
#[derive(Debug, Default)]
pub(super) struct Policies {
    heard: BTreeMap<Feed, Mirror<Document>>,
    /// Since the last [`take`](Self::take).
    changed: bool,
}

/// One object, as JSON.
#[derive(Clone, Debug)]
struct Document {
    /// Kind, namespace and name.
    key: Arc<str>,
    /// For people.
    name: Arc<str>,
    /// The object's, where that is its documents' too.
    namespace: Option<Arc<str>>,
    text: Arc<str>,
}

unnamed! { Document }

/// What is to be compiled, and may be in another thread.
#[derive(Debug, Default)]
pub(super) struct Texts(Vec<Document>);

impl Policies {
    pub(super) fn begin(&mut self, feed: Feed) {
        self.heard.entry(feed).or_default().begin();
    }

    pub(super) fn put(&mut self, feed: Feed, mut object: Value) {
        trim(&mut object);
        let field = |key| object["metadata"][key].as_str().unwrap_or_default();
        let name = ObjectName::new(field("namespace"), field("name"));
        let text: Arc<str> = object.to_string().into();
        let mirror = self.heard.entry(feed).or_default();
        if mirror.get(&name).is_some_and(|known| known.text == text) {
            return mirror.keep(&name);
        }
        let key: Arc<str> = format!("{} {name}", feed.kind()).into();
        let (called, namespace) = match feed {
            Feed::ConfigMaps => (CONFIG_MAPS.into(), None),
            _ => (Arc::clone(&key), Some(Arc::clone(&name.namespace))),
        };
        let document = Document {
            key,
            name: called,
            namespace,
            text,
        };
        mirror.put(name, document);
        self.changed = true;
    }

    pub(super) fn remove(&mut self, feed: Feed, name: &ObjectName) {
        let mirror = self.heard.entry(feed).or_default();
        self.changed |= mirror.remove(name).is_some();
    }

    pub(super) fn end(&mut self, feed: Feed) {
        self.changed |= self.heard.entry(feed).or_default().end();
    }

    /// Returns whether something is known of a kind that the server says it doesn't have: that is no proof that it is
    /// gone, for the documents of a definition that is removed are removed first.
    pub(super) fn absent(&mut self, feed: Feed) -> bool {
        let mirror = self.heard.entry(feed).or_default();
        if mirror.is_empty() {
            self.changed |= mirror.end();
        }
        !mirror.is_empty()
    }

    pub(super) fn is_whole(&self, feed: Feed) -> bool {
        self.heard.get(&feed).is_some_and(Mirror::is_whole)
    }

    pub(super) fn is_changed(&self) -> bool {
        self.changed
    }

    /// Everything, if there is something new.
    pub(super) fn take(&mut self) -> Option<Texts> {
        std::mem::take(&mut self.changed).then(|| {
            let documents = self.heard.values().flat_map(Mirror::iter);
            let mut documents: Vec<_> = documents.collect();
            // So that of two with one name the same one is complained of.
            documents.sort_by_key(|(name, _)| *name);
            Texts(documents.into_iter().map(|(_, d)| d.clone()).collect())
        })
    }
}

/// Takes away what says nothing about policy, and is most of some objects.
fn trim(object: &mut Value) {
    let Some(fields) = object.as_object_mut() else {
        return;
    };
    fields.remove("status");
    if let Some(metadata) = fields.get_mut("metadata").and_then(Value::as_object_mut) {
        for unneeded in ["managedFields", "resourceVersion", "generation", "uid"] {
            metadata.remove(unneeded);
        }
        if let Some(annotations) = metadata
            .get_mut("annotations")
            .and_then(Value::as_object_mut)
        {
            annotations.remove("kubectl.kubernetes.io/last-applied-configuration");
        }
    }
}

/// What documents mean, and what else there is to say about them.
pub(super) struct Read {
    pub(super) compiled: Arc<Compiled>,
    pub(super) warnings: Vec<String>,
    pub(super) count: Count,
    /// Of documents that can't be used.
    pub(super) errors: Vec<String>,
    pub(super) held_back: Vec<HeldBack>,
    pub(super) last_good: LastGood,
}

impl Texts {
    /// What is in force from now on, given what was.
    pub(super) fn read(self, settings: &Settings, before: &LastGood, cache: &mut Cache) -> Read {
        let mut collector = Collector::with(std::mem::take(cache));
        let mut reading = Reading::new(&settings.root_namespace);
        for document in &self.0 {
            let Document {
                key, name, text, ..
            } = document;
            collector.api_object(key, name, text);
            let said = std::mem::take(&mut collector.objects);
            let errors = std::mem::take(&mut collector.errors);
            match &document.namespace {
                Some(namespace) => reading.of(namespace, key, said, errors),
                None => reading.shared(key, said, errors),
            }
        }
        *cache = collector.take_cache();
        let Settled {
            documents,
            warnings,
            count,
            errors,
            held_back,
            last_good,
        } = reading.settle(before);
        Read {
            compiled: Arc::new(Compiled::new(documents, settings)),
            warnings,
            count,
            errors: LoadErrors::new(errors).map_or_else(Vec::new, |errors| errors.texts()),
            held_back,
            last_good,
        }
    }
}
