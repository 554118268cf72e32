//! One object.

use hyper::{Response, StatusCode, header};

use super::{Asked, Body, accept::Form, body, list};
use crate::{
    resources::Resource,
    server::Cluster,
    status::Status,
    store::{Stored, key},
};

pub async fn get(
    cluster: &Cluster,
    resource: &Resource,
    asked: &Asked,
) -> Result<Response<Body>, Status> {
    let form = form(asked)?;
    let oldest = list::resource_version(asked.query.text("resourceVersion"))?;
    cluster.wait_for(oldest).await?;
    let name = &asked.target.name;
    let found = {
        let state = cluster.store.read();
        state
            .get(&resource.id(), &key(asked.scope(resource), name))
            .cloned()
    };
    let found = found.ok_or_else(|| Status::not_found(&resource.group, &resource.plural, name))?;
    shown(StatusCode::OK, resource, asked, form, &found)
}

pub fn form(asked: &Asked) -> Result<Form, Status> {
    Form::accepted(
        asked.header(header::ACCEPT),
        asked.query.text("includeObject"),
    )
}

/// A response with one object.
pub fn shown(
    code: StatusCode,
    resource: &Resource,
    asked: &Asked,
    form: Form,
    object: &Stored,
) -> Result<Response<Body>, Status> {
    let mut out = Vec::with_capacity(object.size() + 128);
    form.write(&mut out, resource, &asked.target.version, object)?;
    out.push(b'\n');
    Ok(body::bytes(code, "application/json", out))
}
