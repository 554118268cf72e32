//! Which documents are in force while some can't be used: each namespace stands for itself.
//!
//! Whoever may write documents of one namespace must not be able to stop the policy of all others. What is wrong keeps
//! the documents of its own namespace as they last made sense. Where they never did since this agent was started nobody
//! knows what they ask for: the namespace is closed (`Documents::closed`), and with the root namespace the mesh.
//! An object of which nothing bears on what is encrypted or who may connect is left out alone.
//!
//! What was empty when the documents were first read is known to be so.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use crate::{
    control::{
        error::LoadError,
        objects::{Count, Objects},
        publisher::HeldBack,
    },
    policy::Documents,
};

/// Name of a namespace.
type Name = Arc<str>;

/// What one namespace's documents say.
#[derive(Clone, Debug, Default)]
struct Part {
    documents: Documents,
    warnings: Vec<String>,
    /// Where they are from, other than from objects of the namespace.
    shared: BTreeSet<Arc<str>>,
}

/// Everything that the documents say now.
#[derive(Debug)]
pub(super) struct Reading<'r> {
    /// Whose documents are for the whole mesh.
    root: &'r str,
    parts: BTreeMap<Name, Part>,
    wrong: Vec<Wrong>,
    count: Count,
}

#[derive(Debug)]
struct Wrong {
    /// `None`: it can't be told.
    namespace: Option<Name>,
    /// The object that it was read from.
    key: Arc<str>,
    error: LoadError,
}

/// What the documents of each namespace said when they last made sense.
#[derive(Clone, Debug, Default)]
pub(super) struct LastGood {
    parts: BTreeMap<Name, Arc<Part>>,
    /// Namespaces whose documents have never made sense; `None`: nothing has been read yet.
    never: Option<BTreeSet<Name>>,
}

/// What is to be in force.
#[derive(Debug, Default)]
pub(super) struct Settled {
    pub(super) documents: Documents,
    pub(super) warnings: Vec<String>,
    pub(super) count: Count,
    pub(super) errors: Vec<LoadError>,
    pub(super) held_back: Vec<HeldBack>,
    pub(super) last_good: LastGood,
}

impl<'r> Reading<'r> {
    pub(super) fn new(root: &'r str) -> Self {
        Self {
            root,
            parts: BTreeMap::new(),
            wrong: Vec::new(),
            count: Count::default(),
        }
    }

    /// Adds an object of the namespace that its documents are for.
    pub(super) fn of(
        &mut self,
        namespace: &Name,
        key: &Arc<str>,
        said: Objects,
        errors: Vec<LoadError>,
    ) {
        self.add_count(said.count);
        let (errors, left_out) = vital(errors);
        let part = self.parts.entry(Arc::clone(namespace)).or_default();
        part.documents.append(&said.documents);
        part.warnings.extend(said.warnings);
        part.warnings.extend(left_out);
        self.wrong.extend(errors.into_iter().map(|error| Wrong {
            namespace: Some(Arc::clone(namespace)),
            key: Arc::clone(key),
            error,
        }));
    }

    /// Adds an object whose documents say themselves of which namespaces they are.
    pub(super) fn shared(&mut self, key: &Arc<str>, said: Objects, errors: Vec<LoadError>) {
        self.add_count(said.count);
        for (namespace, documents) in said.documents.apart() {
            let part = self.part(&namespace);
            part.documents.append(&documents);
            part.shared.insert(Arc::clone(key));
        }
        let (errors, left_out) = vital(errors);
        let warnings = &mut self.part("").warnings;
        warnings.extend(said.warnings);
        warnings.extend(left_out);
        self.wrong.extend(errors.into_iter().map(|error| Wrong {
            // What is wrong with the object itself is about all that is in it.
            namespace: error.namespace.clone().filter(|_| error.is_in_value()),
            key: Arc::clone(key),
            error,
        }));
    }

    /// What belongs to no namespace is the root's.
    fn part(&mut self, namespace: &str) -> &mut Part {
        let name = or_root(namespace, self.root);
        self.parts.entry(name.into()).or_default()
    }

    fn add_count(&mut self, count: Count) {
        self.count.files += count.files;
        self.count.documents += count.documents;
        self.count.skipped += count.skipped;
    }

    /// What is in force, given what was.
    pub(super) fn settle(mut self, before: &LastGood) -> Settled {
        let bad = self.bad(before);
        let mut settled = Settled {
            count: self.count,
            ..Settled::default()
        };
        for (namespace, error) in &bad {
            let present = self.parts.remove(namespace).unwrap_or_default();
            let last = before.of(namespace);
            settled.held_back.push(HeldBack {
                namespace: namespace.to_string(),
                mesh_wide: **namespace == *self.root,
                closed: last.is_none(),
                error: error.to_string(),
            });
            match last {
                Some(last) => {
                    settled.put(&last);
                    let parts = &mut settled.last_good.parts;
                    parts.insert(Arc::clone(namespace), last);
                }
                None => {
                    let documents = present.documents.closed(namespace);
                    let closed = Part {
                        documents,
                        ..present
                    };
                    settled.put(&closed);
                    let never = &mut settled.last_good.never;
                    never.get_or_insert_default().insert(Arc::clone(namespace));
                }
            }
        }
        settled.last_good.never.get_or_insert_default();
        for (namespace, part) in self.parts {
            settled.put(&part);
            let parts = &mut settled.last_good.parts;
            parts.insert(namespace, Arc::new(part));
        }
        settled.errors = self.wrong.into_iter().map(|wrong| wrong.error).collect();
        settled
    }

    /// Namespaces with something wrong, each with one of its errors.
    fn bad(&self, before: &LastGood) -> BTreeMap<Name, LoadError> {
        let mut bad = BTreeMap::new();
        for wrong in &self.wrong {
            let mut add = |namespace: &str| {
                let name = or_root(namespace, self.root).into();
                bad.entry(name).or_insert_with(|| wrong.error.clone());
            };
            if let Some(namespace) = &wrong.namespace {
                add(namespace);
                continue;
            }
            // It may have been about any namespace of which the object has spoken, or about the mesh.
            add(self.root);
            let last = before.parts.iter().map(|(name, part)| (name, &**part));
            let spoken = last.chain(&self.parts);
            let spoken = spoken.filter(|(_, part)| part.shared.contains(&wrong.key));
            spoken.for_each(|(name, _)| add(name));
        }
        bad
    }
}

impl LastGood {
    /// `None`: it has never been known.
    fn of(&self, namespace: &str) -> Option<Arc<Part>> {
        let known = self.parts.get(namespace).cloned();
        known.or_else(|| {
            let never = self.never.as_ref()?;
            (!never.contains(namespace)).then(Arc::default)
        })
    }
}

impl Settled {
    fn put(&mut self, part: &Part) {
        self.documents.append(&part.documents);
        self.warnings.extend_from_slice(&part.warnings);
    }
}

/// Errors for which a namespace is held back, and what is said of the other ones: only their objects don't count.
fn vital(errors: Vec<LoadError>) -> (Vec<LoadError>, impl Iterator<Item = String>) {
    let (vital, others): (Vec<_>, Vec<_>) = errors.into_iter().partition(|error| error.is_vital);
    let left_out = others.into_iter().map(|error| {
        format!("{error}: this object is left out, which bears on no encryption; the others of its namespace count")
    });
    (vital, left_out)
}

fn or_root<'n>(namespace: &'n str, root: &'n str) -> &'n str {
    match namespace {
        "" => root,
        named => named,
    }
}

#[cfg(test)]
mod tests;
