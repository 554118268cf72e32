//! The life of objects: creation, changes and deletion under the rules that all resources share. What single resources
//! add is in `objects/kinds`. Knows no HTTP.

mod controllers;
mod deletion;
mod generated;
mod kinds;
pub mod merge;
pub mod patch;

use std::sync::Arc;

use serde_json::{Map, Value, json};

pub use deletion::{Deletion, Ended, delete};
pub use generated::{now, uid};

use crate::{
    resources::Resource,
    server::Cluster,
    status::Status,
    store::{Change, State, Stored, key},
};

/// Which object is meant, and in which version it is spoken of.
#[derive(Clone, Copy)]
pub struct Place<'a> {
    pub resource: &'a Resource,
    pub version: &'a str,
    pub namespace: &'a str,
    /// Empty for one that is to be created.
    pub name: &'a str,
    pub is_dry_run: bool,
}

/// What part of an object a change is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Part {
    Main,
    Status,
    /// A namespace's `spec.finalizers`.
    Finalizers,
    /// A pod's node.
    Binding,
}

impl Place<'_> {
    /// Whether an object is of this type and, where they are given, has this name and namespace.
    ///
    /// # Errors
    /// 400.
    pub fn check_identity(&self, object: &Value) -> Result<(), Status> {
        let api_version = self.resource.api_version(self.version);
        let told = |pointer: &str| {
            object
                .pointer(pointer)
                .and_then(Value::as_str)
                .unwrap_or_default()
        };
        let (kind, theirs) = (told("/kind"), told("/apiVersion"));
        if !theirs.is_empty() && theirs != api_version {
            let message = format!(
                "the API version in the data ({theirs}) does not match the expected API version ({api_version})"
            );
            return Err(Status::bad_request(message));
        }
        if !kind.is_empty() && kind != self.resource.kind {
            let message = format!(
                "{kind} in the data does not match the expected kind {}",
                self.resource.kind
            );
            return Err(Status::bad_request(message));
        }
        let namespace = told("/metadata/namespace");
        if !namespace.is_empty() && namespace != self.namespace {
            let message = "the namespace of the provided object does not match the namespace sent on the request";
            return Err(Status::bad_request(message));
        }
        let name = told("/metadata/name");
        if !self.name.is_empty() && !name.is_empty() && name != self.name {
            let message = format!(
                "the name of the object ({name}) does not match the name on the URL ({})",
                self.name
            );
            return Err(Status::bad_request(message));
        }
        Ok(())
    }

    fn key(&self) -> String {
        key(self.namespace, self.name)
    }

    fn not_found(&self) -> Status {
        Status::not_found(&self.resource.group, &self.resource.plural, self.name)
    }

    fn invalid(&self, name: &str, errors: &[(String, String)]) -> Status {
        Status::invalid(&self.resource.group, &self.resource.kind, name, errors)
    }
}

/// # Errors
/// What the API answers.
pub fn create(
    cluster: &Arc<Cluster>,
    place: Place<'_>,
    object: Value,
) -> Result<Arc<Stored>, Status> {
    place.check_identity(&object)?;
    let object = prepared(cluster, place, object)?;
    let name = object["metadata"]["name"]
        .as_str()
        .unwrap_or_default()
        .to_owned();
    let id = place.resource.id();
    let at = key(place.namespace, &name);
    if place.is_dry_run {
        let state = cluster.store.read();
        admit(&state, place, &name)?;
        return Ok(Arc::new(Stored::new(object, 0)?));
    }
    let made = cluster.store.change(&id, &at, |state, current| {
        if current.is_some() {
            return Err(Status::already_exists(
                &place.resource.group,
                &place.resource.plural,
                &name,
            ));
        }
        admit(state, place, &name)?;
        Ok(Change::Put(object))
    })?;
    let made = made.ok_or_else(|| Status::internal("nothing was stored"))?;
    controllers::created(cluster, place.resource, &made)?;
    Ok(made)
}

fn prepared(cluster: &Cluster, place: Place<'_>, mut object: Value) -> Result<Value, Status> {
    if object.get("metadata").is_none_or(Value::is_null) {
        object["metadata"] = json!({});
    }
    let Some(metadata) = object["metadata"].as_object_mut() else {
        return Err(Status::bad_request("metadata is not an object"));
    };
    let given = metadata
        .get("resourceVersion")
        .and_then(Value::as_str)
        .unwrap_or_default();
    if !given.is_empty() {
        return Err(Status::bad_request(
            "resourceVersion should not be set on objects to be created",
        ));
    }
    let name = name(place, metadata)?;
    metadata.insert("name".into(), json!(name));
    if place.resource.is_namespaced {
        metadata.insert("namespace".into(), json!(place.namespace));
    }
    for not_theirs in [
        "deletionTimestamp",
        "deletionGracePeriodSeconds",
        "selfLink",
        "managedFields",
    ] {
        metadata.remove(not_theirs);
    }
    metadata.insert("uid".into(), json!(uid()));
    metadata.insert("creationTimestamp".into(), json!(now()));
    metadata.remove("generation");
    if place.resource.has_generation() {
        metadata.insert("generation".into(), json!(1));
    }
    kinds::default(cluster, place.resource, &mut object);
    kinds::settle(place.resource, &mut object);
    let errors = kinds::wrong(place.resource, &object);
    if !errors.is_empty() {
        return Err(place.invalid(&name, &errors));
    }
    Ok(object)
}

/// The name that an object asks for.
fn name(place: Place<'_>, metadata: &Map<String, Value>) -> Result<String, Status> {
    let text = |key: &str| {
        metadata
            .get(key)
            .and_then(Value::as_str)
            .unwrap_or_default()
            .to_owned()
    };
    let (mut name, generated) = (text("name"), text("generateName"));
    if name.is_empty() && !generated.is_empty() {
        name = generated + &generated::suffix();
    }
    check_name(place, &name)?;
    Ok(name)
}

fn check_name(place: Place<'_>, name: &str) -> Result<(), Status> {
    let wrong = |what: &str| {
        let errors = [("metadata.name".to_owned(), what.to_owned())];
        Err(place.invalid(name, &errors))
    };
    if name.is_empty() {
        return wrong("Required value: name or generateName is required");
    }
    let rbac = place.resource.group == "rbac.authorization.k8s.io";
    let is_letter = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || "-.".contains(c);
    let is_subdomain = name.len() <= 253
        && name.chars().all(is_letter)
        && name.starts_with(|c: char| c.is_ascii_alphanumeric())
        && name.ends_with(|c: char| c.is_ascii_alphanumeric());
    if !is_subdomain && !rbac {
        return wrong(&format!(
            "Invalid value: \"{name}\": a lowercase RFC 1123 subdomain must consist of lower case alphanumeric characters, '-' or '.', and must start and end with an alphanumeric character"
        ));
    }
    Ok(())
}

/// Namespaced objects need a namespace that stays.
fn admit(state: &State, place: Place<'_>, name: &str) -> Result<(), Status> {
    if !place.resource.is_namespaced {
        return Ok(());
    }
    let namespace = state.get("namespaces", place.namespace);
    let namespace =
        namespace.ok_or_else(|| Status::not_found("", "namespaces", place.namespace))?;
    if namespace.field("status.phase") == "Terminating" {
        let Resource { group, plural, .. } = place.resource;
        return Err(Status::terminating(group, plural, name, place.namespace));
    }
    Ok(())
}

/// Replaces an object by what `edit` makes of it.
///
/// # Errors
/// What the API answers.
pub fn change(
    cluster: &Arc<Cluster>,
    place: Place<'_>,
    part: Part,
    edit: impl FnOnce(Value) -> Result<Value, Status>,
) -> Result<Arc<Stored>, Status> {
    let mut dry = None;
    let changed = cluster
        .store
        .change(&place.resource.id(), &place.key(), |_, current| {
            let current = current.ok_or_else(|| place.not_found())?;
            let before = current.typed(place.resource, place.version)?;
            let edited = edit(before.clone())?;
            check_preconditions(place, &before, &edited)?;
            let mut after = kept(place.resource, part, &before, edited);
            kinds::settle(place.resource, &mut after);
            let mut errors = kinds::wrong(place.resource, &after);
            if part == Part::Main {
                errors.extend(kinds::wrong_change(place.resource, &before, &after));
            }
            if !errors.is_empty() {
                return Err(place.invalid(place.name, &errors));
            }
            if place.is_dry_run {
                dry = Some(Stored::new(after, current.version)?);
                return Ok(Change::Keep);
            }
            Ok(decided(&before, after))
        })?;
    if let Some(dry) = dry {
        return Ok(Arc::new(dry));
    }
    let changed = changed.ok_or_else(|| place.not_found())?;
    controllers::changed(cluster, place.resource, &changed)?;
    Ok(changed)
}

fn check_preconditions(place: Place<'_>, before: &Value, edited: &Value) -> Result<(), Status> {
    let given = |object: &Value, key: &str| {
        object["metadata"][key]
            .as_str()
            .unwrap_or_default()
            .to_owned()
    };
    let Resource { group, plural, .. } = place.resource;
    let version = given(edited, "resourceVersion");
    if !version.is_empty() && version != given(before, "resourceVersion") {
        return Err(Status::modified(group, plural, place.name));
    }
    let (uid, real) = (given(edited, "uid"), given(before, "uid"));
    if !uid.is_empty() && uid != real {
        let why =
            format!("Precondition failed: UID in precondition: {uid}, UID in object meta: {real}");
        return Err(Status::conflict(group, plural, place.name, &why));
    }
    Ok(())
}

/// What was edited, without what that part of an object can't change.
fn kept(resource: &Resource, part: Part, before: &Value, mut after: Value) -> Value {
    let keep = |after: &mut Value, key: &str| match before.get(key) {
        Some(value) => after[key] = value.clone(),
        None => {
            after.as_object_mut().map(|members| members.remove(key));
        }
    };
    match part {
        Part::Status | Part::Finalizers => keep(
            &mut after,
            if part == Part::Status {
                "spec"
            } else {
                "status"
            },
        ),
        Part::Main | Part::Binding if resource.has_status => keep(&mut after, "status"),
        Part::Main | Part::Binding => {}
    }
    if part == Part::Main && resource.id() == "namespaces" {
        keep(&mut after, "spec");
    }
    for key in ["apiVersion", "kind"] {
        keep(&mut after, key);
    }
    keep_metadata(before, &mut after);
    let is_counted =
        resource.has_generation() && part != Part::Status && spec_differs(before, &after);
    if is_counted {
        let generation = before["metadata"]["generation"].as_u64().unwrap_or(0);
        after["metadata"]["generation"] = json!(generation + 1);
    }
    after
}

/// What of metadata only the server writes.
fn keep_metadata(before: &Value, after: &mut Value) {
    let fixed = [
        "uid",
        "creationTimestamp",
        "deletionTimestamp",
        "deletionGracePeriodSeconds",
        "generation",
        "resourceVersion",
        "name",
        "namespace",
    ];
    for key in fixed {
        match before["metadata"].get(key) {
            Some(value) => after["metadata"][key] = value.clone(),
            None => {
                after["metadata"]
                    .as_object_mut()
                    .map(|members| members.remove(key));
            }
        }
    }
    if let Some(metadata) = after["metadata"].as_object_mut() {
        metadata.remove("managedFields");
        metadata.retain(|_, value| !value.is_null());
    }
}

/// Whether anything beside metadata and status differs.
fn spec_differs(before: &Value, after: &Value) -> bool {
    let of = |object: &Value| {
        let mut members = object.as_object().cloned().unwrap_or_default();
        members.remove("metadata");
        members.remove("status");
        members
    };
    of(before) != of(after)
}

fn decided(before: &Value, after: Value) -> Change {
    let metadata = &after["metadata"];
    let is_held = metadata["finalizers"]
        .as_array()
        .is_some_and(|held| !held.is_empty());
    let has_grace = metadata["deletionGracePeriodSeconds"].as_u64().unwrap_or(0) > 0;
    let is_namespace = after["kind"] == "Namespace" && after["spec"]["finalizers"][0].is_string();
    if metadata["deletionTimestamp"].is_string() && !is_held && !has_grace && !is_namespace {
        return Change::Delete;
    }
    if *before == after {
        Change::Keep
    } else {
        Change::Put(after)
    }
}
