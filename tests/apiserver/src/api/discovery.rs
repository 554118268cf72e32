//! What the server says of itself: groups, versions, resources, health and the keys of its tokens.

use hyper::{Response, StatusCode};
use serde_json::{Value, json};

use super::{Asked, Body, body, openapi};
use crate::{auth, resources::Resource, server::Cluster, status::Status};

/// Whose discovery documents the answers resemble.
const MINOR: &str = "34";

pub fn answer(cluster: &Cluster, asked: &Asked) -> Result<Response<Body>, Status> {
    if asked.target.verb != "get" && !asked.is_head() {
        return Err(Status::method_not_allowed());
    }
    let path = asked.target.path.trim_end_matches('/');
    let parts: Vec<&str> = path.split('/').skip(1).collect();
    let document = match parts.as_slice() {
        ["healthz" | "readyz" | "livez", ..] => {
            return Ok(body::bytes(
                StatusCode::OK,
                "text/plain; charset=utf-8",
                "ok",
            ));
        }
        ["version"] => version(),
        ["api"] => json!({
            "kind": "APIVersions", "versions": ["v1"],
            "serverAddressByClientCIDRs": [{"clientCIDR": "0.0.0.0/0", "serverAddress": asked.header(hyper::header::HOST)}],
        }),
        ["apis"] => groups(cluster),
        ["api", "v1"] => resources(cluster, "", "v1").ok_or_else(Status::no_such_path)?,
        ["apis", group] => group_document(cluster, group).ok_or_else(Status::no_such_path)?,
        ["apis", group, version] => {
            resources(cluster, group, version).ok_or_else(Status::no_such_path)?
        }
        ["openapi", "v3", rest @ ..] => {
            openapi::document(cluster, rest).ok_or_else(Status::no_such_path)?
        }
        ["openid", "v1", "jwks"] => cluster.tokens.keys()?,
        [".well-known", "openid-configuration"] => cluster.tokens.configuration(),
        [] | [""] => {
            json!({"paths": ["/api", "/api/v1", "/apis", "/healthz", "/readyz", "/version"]})
        }
        _ => return Err(Status::no_such_path()),
    };
    Ok(body::json(StatusCode::OK, &document))
}

fn version() -> Value {
    json!({
        "major": "1", "minor": MINOR, "gitVersion": format!("v1.{MINOR}.0+sealane"), "gitCommit": "",
        "gitTreeState": "clean", "buildDate": "1970-01-01T00:00:00Z", "goVersion": "", "compiler": "rustc",
        "platform": "linux/amd64",
    })
}

/// Groups beside the core one: what is stored and what is only asked.
fn group_versions(cluster: &Cluster) -> Vec<(String, Vec<String>)> {
    let mut groups: Vec<(String, Vec<String>)> = Vec::new();
    let stored = cluster.registry.all();
    let stored = stored
        .iter()
        .map(|resource| (resource.group.clone(), resource.versions.clone()));
    let reviews = auth::REVIEWS
        .iter()
        .map(|review| (review.group.to_owned(), vec!["v1".to_owned()]));
    for (group, versions) in stored.chain(reviews).filter(|(group, _)| !group.is_empty()) {
        match groups.iter_mut().find(|(known, _)| *known == group) {
            Some((_, known)) => {
                for version in versions {
                    if !known.contains(&version) {
                        known.push(version);
                    }
                }
            }
            None => groups.push((group, versions)),
        }
    }
    groups
}

fn described(group: &str, versions: &[String]) -> Value {
    let versions: Vec<Value> = versions
        .iter()
        .map(|version| json!({"groupVersion": format!("{group}/{version}"), "version": version}))
        .collect();
    json!({"name": group, "versions": versions, "preferredVersion": versions.first()})
}

fn groups(cluster: &Cluster) -> Value {
    let groups: Vec<Value> = group_versions(cluster)
        .iter()
        .map(|(group, versions)| described(group, versions))
        .collect();
    json!({"kind": "APIGroupList", "apiVersion": "v1", "groups": groups})
}

fn group_document(cluster: &Cluster, group: &str) -> Option<Value> {
    let groups = group_versions(cluster);
    let (group, versions) = groups.iter().find(|(name, _)| name == group)?;
    let mut document = described(group, versions);
    document["kind"] = json!("APIGroup");
    document["apiVersion"] = json!("v1");
    Some(document)
}

fn resources(cluster: &Cluster, group: &str, version: &str) -> Option<Value> {
    let stored = cluster.registry.all();
    let served = |resource: &&std::sync::Arc<Resource>| {
        resource.group == group && resource.versions.iter().any(|served| served == version)
    };
    let mut listed: Vec<Value> = stored
        .iter()
        .filter(served)
        .flat_map(|resource| entries(resource))
        .collect();
    if version == "v1" {
        let reviews = auth::REVIEWS.iter().filter(|review| review.group == group);
        listed.extend(reviews.map(|review| {
            json!({"name": review.plural, "singularName": "", "namespaced": false, "kind": review.kind, "verbs": ["create"]})
        }));
    }
    if listed.is_empty() {
        return None;
    }
    let group_version = if group.is_empty() {
        version.to_owned()
    } else {
        format!("{group}/{version}")
    };
    Some(
        json!({"kind": "APIResourceList", "apiVersion": "v1", "groupVersion": group_version, "resources": listed}),
    )
}

fn entries(resource: &Resource) -> Vec<Value> {
    let (plural, kind) = (&resource.plural, &resource.kind);
    let namespaced = resource.is_namespaced;
    let mut entries = vec![json!({
        "name": plural, "singularName": resource.singular, "namespaced": namespaced, "kind": kind,
        "verbs": ["create", "delete", "deletecollection", "get", "list", "patch", "update", "watch"],
        "shortNames": resource.short_names, "categories": resource.categories,
    })];
    let mut subresource = |name: &str, kind: &str, verbs: &[&str]| {
        let name = format!("{plural}/{name}");
        entries.push(json!({"name": name, "singularName": "", "namespaced": namespaced, "kind": kind, "verbs": verbs}));
    };
    if resource.has_status {
        subresource("status", kind, &["get", "patch", "update"]);
    }
    match resource.id().as_str() {
        "serviceaccounts" => subresource("token", "TokenRequest", &["create"]),
        "pods" => subresource("binding", "Binding", &["create"]),
        "namespaces" => subresource("finalize", "Namespace", &["update"]),
        _ => {}
    }
    entries
}
