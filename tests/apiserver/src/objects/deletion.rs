//! Deletion: at once, after a grace, or when the last finalizer is gone.

use std::sync::Arc;

use jiff::Timestamp;
use serde_json::{Value, json};

use super::{Place, check_preconditions, controllers, kinds, now};
use crate::{
    server::Cluster,
    status::Status,
    store::{Change, Stored},
};

/// What a client says of a deletion.
#[derive(Clone, Debug, Default)]
pub struct Deletion {
    /// Seconds.
    pub grace: Option<u64>,
    pub uid: Option<String>,
    pub version: Option<String>,
}

/// What became of an object that was deleted.
pub enum Ended {
    Gone(Arc<Stored>),
    /// It has a deletion timestamp now.
    Leaving(Arc<Stored>),
}

/// # Errors
/// What the API answers.
pub fn delete(
    cluster: &Arc<Cluster>,
    place: Place<'_>,
    deletion: &Deletion,
) -> Result<Ended, Status> {
    let mut is_gone = false;
    let left = cluster
        .store
        .change(&place.resource.id(), &place.key(), |_, current| {
            let current = current.ok_or_else(|| place.not_found())?;
            let mut object = current.typed(place.resource, place.version)?;
            let named =
                json!({"metadata": {"uid": deletion.uid, "resourceVersion": deletion.version}});
            check_preconditions(place, &object, &named)?;
            let grace = kinds::grace(place.resource, &object, deletion.grace);
            let is_held = object["metadata"]["finalizers"]
                .as_array()
                .is_some_and(|held| !held.is_empty());
            let is_namespace = place.resource.id() == "namespaces";
            is_gone = grace == 0 && !is_held && !is_namespace;
            if place.is_dry_run {
                return Ok(Change::Keep);
            }
            if is_gone {
                return Ok(Change::Delete);
            }
            let before = object.clone();
            mark_leaving(&mut object, grace);
            if is_namespace {
                object["status"]["phase"] = json!("Terminating");
            }
            Ok(if before == object {
                Change::Keep
            } else {
                Change::Put(object)
            })
        })?;
    let left = left.ok_or_else(|| place.not_found())?;
    if is_gone && place.is_dry_run {
        return Ok(Ended::Gone(left));
    }
    if is_gone {
        controllers::gone(cluster, place.resource, &left)?;
        return Ok(Ended::Gone(left));
    }
    if !place.is_dry_run {
        controllers::leaving(cluster, place.resource, &left);
    }
    Ok(Ended::Leaving(left))
}

/// A second deletion can only shorten the grace.
fn mark_leaving(object: &mut Value, grace: u64) {
    let metadata = &mut object["metadata"];
    let was = metadata["deletionGracePeriodSeconds"].as_u64();
    if metadata["deletionTimestamp"].is_string() && was.is_some_and(|was| was <= grace) {
        return;
    }
    let at = Timestamp::now().as_second() + i64::try_from(grace).unwrap_or(0);
    let at = Timestamp::from_second(at).map_or_else(|_| now(), |at| at.to_string());
    metadata["deletionTimestamp"] = json!(at);
    metadata["deletionGracePeriodSeconds"] = json!(grace);
}
