//! Creation, changes and deletion, from requests to `objects` and back.

use std::sync::Arc;

use hyper::{Response, StatusCode};
use serde_json::{Value, json};

use super::{Asked, Body, accept::Form, body, list, read};
use crate::{
    objects::{self, Deletion, Ended, Part, Place, patch::Patch},
    resources::Resource,
    server::Cluster,
    status::Status,
};

fn place<'a>(resource: &'a Resource, asked: &'a Asked) -> Place<'a> {
    Place {
        resource,
        version: &asked.target.version,
        namespace: asked.scope(resource),
        name: &asked.target.name,
        is_dry_run: asked.is_dry_run(),
    }
}

fn part(asked: &Asked) -> Part {
    match asked.target.subresource.as_str() {
        "status" => Part::Status,
        "finalize" => Part::Finalizers,
        _ => Part::Main,
    }
}

pub fn create(
    cluster: &Arc<Cluster>,
    resource: &Arc<Resource>,
    asked: &Asked,
) -> Result<Response<Body>, Status> {
    let form = read::form(asked)?;
    let mut place = place(resource, asked);
    place.name = "";
    let made = objects::create(cluster, place, asked.object()?)?;
    read::shown(StatusCode::CREATED, resource, asked, form, &made)
}

pub fn update(
    cluster: &Arc<Cluster>,
    resource: &Arc<Resource>,
    asked: &Asked,
) -> Result<Response<Body>, Status> {
    let form = read::form(asked)?;
    let object = asked.object()?;
    let place = place(resource, asked);
    place.check_identity(&object)?;
    let made = objects::change(cluster, place, part(asked), |_| Ok(object))?;
    read::shown(StatusCode::OK, resource, asked, form, &made)
}

pub fn patch(
    cluster: &Arc<Cluster>,
    resource: &Arc<Resource>,
    asked: &Asked,
) -> Result<Response<Body>, Status> {
    let form = read::form(asked)?;
    let patch = Patch::read(
        asked.header(hyper::header::CONTENT_TYPE),
        &asked.body,
        resource,
    )?;
    let place = place(resource, asked);
    let made = objects::change(cluster, place, part(asked), |mut object| {
        patch.apply(&mut object)?;
        place.check_identity(&object)?;
        Ok(object)
    })?;
    read::shown(StatusCode::OK, resource, asked, form, &made)
}

/// What the scheduler does: gives a pod a node, once.
pub fn bind(
    cluster: &Arc<Cluster>,
    resource: &Arc<Resource>,
    asked: &Asked,
) -> Result<Response<Body>, Status> {
    let binding = asked.object()?;
    let node = binding["target"]["name"].clone();
    let place = place(resource, asked);
    objects::change(cluster, place, Part::Binding, |mut pod| {
        if pod["spec"]["nodeName"].is_string() {
            let why = format!(
                "pod {} is already assigned to node {}",
                asked.target.name, pod["spec"]["nodeName"]
            );
            return Err(Status::conflict(
                "",
                "pods/binding",
                &asked.target.name,
                &why,
            ));
        }
        pod["spec"]["nodeName"] = node;
        Ok(pod)
    })?;
    Ok(body::json(StatusCode::CREATED, &success(&json!({}))))
}

pub fn delete(
    cluster: &Arc<Cluster>,
    resource: &Arc<Resource>,
    asked: &Asked,
) -> Result<Response<Body>, Status> {
    let form = read::form(asked)?;
    let deletion = deletion(asked)?;
    let ended = objects::delete(cluster, place(resource, asked), &deletion)?;
    let tells_object = matches!(
        resource.id().as_str(),
        "pods" | "services" | "namespaces" | "serviceaccounts"
    );
    match ended {
        Ended::Gone(object) if !tells_object => {
            let uid = object.metadata()?.remove("uid").unwrap_or_default();
            let details = json!({
                "name": object.name, "group": resource.group, "kind": resource.plural, "uid": uid,
            });
            Ok(body::json(StatusCode::OK, &success(&details)))
        }
        Ended::Gone(object) | Ended::Leaving(object) => {
            read::shown(StatusCode::OK, resource, asked, form, &object)
        }
    }
}

pub fn delete_collection(
    cluster: &Arc<Cluster>,
    resource: &Arc<Resource>,
    asked: &Asked,
) -> Result<Response<Body>, Status> {
    let selection = list::selected(resource, asked)?;
    let deletion = deletion(asked)?;
    let doomed: Vec<_> = {
        let state = cluster.store.read();
        let table = state.table(&resource.id());
        let objects = table.map_or_else(Vec::new, |table| {
            table.at(state.version, selection.namespace(), "")
        });
        objects
            .into_iter()
            .filter(|object| selection.selects(object))
            .cloned()
            .collect()
    };
    for object in &doomed {
        let place = Place {
            name: &object.name,
            namespace: &object.namespace,
            ..place(resource, asked)
        };
        match objects::delete(cluster, place, &deletion) {
            Err(status) if status.code != 404 => return Err(status),
            _ => {}
        }
    }
    let version = cluster.store.read().version;
    let metadata = json!({"resourceVersion": version.to_string()});
    let version = asked.target.version.clone();
    Ok(list::streamed(
        Arc::clone(resource),
        version,
        Form::Whole,
        &metadata,
        doomed,
    ))
}

fn deletion(asked: &Asked) -> Result<Deletion, Status> {
    let options = if asked.body.is_empty() {
        json!({})
    } else {
        asked.object()?
    };
    let text = |value: &Value| value.as_str().map(str::to_owned);
    let grace = asked.query.number("gracePeriodSeconds");
    Ok(Deletion {
        grace: options["gracePeriodSeconds"].as_u64().or(grace),
        uid: text(&options["preconditions"]["uid"]),
        version: text(&options["preconditions"]["resourceVersion"]),
    })
}

fn success(details: &Value) -> Value {
    json!({"kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Success", "details": details})
}
