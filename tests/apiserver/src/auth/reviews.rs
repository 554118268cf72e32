//! Questions about users and tokens, which store nothing, and requests for tokens.

use hyper::{Response, StatusCode};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::{
    User,
    rbac::{self, Action},
    tokens::{self, Bound, Reference},
};
use crate::{
    api::{Asked, Body, json as json_response},
    server::Cluster,
    status::Status,
    store::{Stored, key},
};

/// A kind of question.
pub struct Review {
    pub group: &'static str,
    pub plural: &'static str,
    pub kind: &'static str,
}

const AUTHENTICATION: &str = "authentication.k8s.io";
const AUTHORIZATION: &str = "authorization.k8s.io";
/// Seconds: the shortest life of a token that may be asked for, and the usual one.
const SHORTEST: i64 = 600;
const USUAL: i64 = 3600;

pub const REVIEWS: [Review; 4] = [
    Review {
        group: AUTHENTICATION,
        plural: "tokenreviews",
        kind: "TokenReview",
    },
    Review {
        group: AUTHENTICATION,
        plural: "selfsubjectreviews",
        kind: "SelfSubjectReview",
    },
    Review {
        group: AUTHORIZATION,
        plural: "selfsubjectaccessreviews",
        kind: "SelfSubjectAccessReview",
    },
    Review {
        group: AUTHORIZATION,
        plural: "subjectaccessreviews",
        kind: "SubjectAccessReview",
    },
];

/// The answer, if the request is such a question.
///
/// # Errors
/// 400 for a body that can't be read, 405 for other methods.
pub fn review(cluster: &Cluster, asked: &Asked) -> Result<Option<Value>, Status> {
    let target = &asked.target;
    let is_asked =
        |review: &&Review| review.group == target.group && review.plural == target.plural;
    let Some(review) = REVIEWS.iter().find(is_asked) else {
        return Ok(None);
    };
    if target.version != "v1" {
        return Err(Status::no_such_path());
    }
    if target.verb != "create" {
        return Err(Status::method_not_allowed());
    }
    let mut document = asked.object()?;
    document["status"] = match review.plural {
        "tokenreviews" => token_status(cluster, &document["spec"]),
        "selfsubjectreviews" => json!({"userInfo": told(&asked.user)}),
        "selfsubjectaccessreviews" => access_status(cluster, &asked.user, &document["spec"]),
        _ => access_status(cluster, &subject(&document["spec"]), &document["spec"]),
    };
    document["apiVersion"] = json!(format!("{}/v1", review.group));
    document["kind"] = json!(review.kind);
    if !document["metadata"].is_object() {
        document["metadata"] = json!({"creationTimestamp": null});
    }
    Ok(Some(document))
}

fn texts(value: &Value) -> Vec<String> {
    let values = value.as_array().into_iter().flatten();
    values
        .filter_map(|value| value.as_str().map(str::to_owned))
        .collect()
}

fn told(user: &User) -> Value {
    json!({"username": user.name, "uid": user.uid, "groups": user.groups, "extra": user.extra})
}

fn token_status(cluster: &Cluster, spec: &Value) -> Value {
    let mut audiences = texts(&spec["audiences"]);
    if audiences.is_empty() {
        audiences.push(cluster.options.issuer.clone());
    }
    let token = spec["token"].as_str().unwrap_or_default();
    match tokens::verify(cluster, token, &audiences) {
        Ok(verified) => json!({
            "authenticated": true, "user": told(&verified.user.authenticated()), "audiences": verified.audiences,
        }),
        Err(error) => json!({"user": {}, "error": error}),
    }
}

fn subject(spec: &Value) -> User {
    User::new(
        spec["user"].as_str().unwrap_or_default().to_owned(),
        texts(&spec["groups"]),
    )
}

fn access_status(cluster: &Cluster, user: &User, spec: &Value) -> Value {
    let attributes = &spec["resourceAttributes"];
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    let action = if attributes.is_object() {
        let subresource = text(&attributes["subresource"]);
        let resource = text(&attributes["resource"]);
        Action {
            verb: text(&attributes["verb"]),
            group: text(&attributes["group"]),
            resource: if subresource.is_empty() {
                resource
            } else {
                format!("{resource}/{subresource}")
            },
            name: text(&attributes["name"]),
            namespace: text(&attributes["namespace"]),
            path: None,
        }
    } else {
        let attributes = &spec["nonResourceAttributes"];
        Action {
            verb: text(&attributes["verb"]),
            path: Some(text(&attributes["path"])),
            ..Action::default()
        }
    };
    json!({"allowed": rbac::allows(cluster, user, &action)})
}

/// `serviceaccounts/NAME/token`.
///
/// # Errors
/// 404 for an account or a pod that isn't there, 409 for another pod's uid, 422 for a life that is too short.
pub fn token_request(cluster: &Cluster, asked: &Asked) -> Result<Response<Body>, Status> {
    let (namespace, name) = (&asked.target.namespace, &asked.target.name);
    let mut document = asked.object()?;
    let spec = &document["spec"];
    let seconds = spec["expirationSeconds"].as_i64().unwrap_or(USUAL);
    if seconds < SHORTEST {
        let why =
            format!("Invalid value: {seconds}: may not specify a duration less than 10 minutes");
        let errors = [("spec.expirationSeconds".to_owned(), why)];
        return Err(Status::invalid(AUTHENTICATION, "TokenRequest", "", &errors));
    }
    let mut audiences = texts(&spec["audiences"]);
    if audiences.is_empty() {
        audiences.push(cluster.options.issuer.clone());
    }
    let mut bound = Bound {
        namespace: namespace.clone(),
        serviceaccount: reference(&*find(cluster, "serviceaccounts", namespace, name)?)?,
        ..Bound::default()
    };
    if spec["boundObjectRef"]["kind"] == "Pod" {
        bind(cluster, &spec["boundObjectRef"], name, &mut bound)?;
    }
    let (token, end) = cluster.tokens.sign(bound, audiences.clone(), seconds)?;
    document["spec"]["audiences"] = json!(audiences);
    document["spec"]["expirationSeconds"] = json!(seconds);
    document["status"] = json!({"token": token, "expirationTimestamp": end.to_string()});
    document["apiVersion"] = json!("authentication.k8s.io/v1");
    document["kind"] = json!("TokenRequest");
    document["metadata"] =
        json!({"name": name, "namespace": namespace, "creationTimestamp": crate::objects::now()});
    Ok(json_response(StatusCode::CREATED, &document))
}

/// Whose token a test wants.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct TokenFor {
    pub namespace: String,
    pub account: String,
    /// That it is bound to.
    pub pod: String,
    pub audience: String,
    /// As few as one likes.
    pub seconds: i64,
}

/// What [`token_request`] would give, of any life.
///
/// # Errors
/// 404 for an account or a pod that isn't there.
pub fn token(cluster: &Cluster, wanted: &TokenFor) -> Result<String, Status> {
    let (namespace, account) = (&wanted.namespace, &wanted.account);
    let mut bound = Bound {
        namespace: namespace.clone(),
        serviceaccount: reference(&*find(cluster, "serviceaccounts", namespace, account)?)?,
        ..Bound::default()
    };
    bind(cluster, &json!({"name": wanted.pod}), account, &mut bound)?;
    let audiences = vec![wanted.audience.clone()];
    Ok(cluster.tokens.sign(bound, audiences, wanted.seconds)?.0)
}

fn bind(cluster: &Cluster, wanted: &Value, account: &str, bound: &mut Bound) -> Result<(), Status> {
    let name = wanted["name"].as_str().unwrap_or_default();
    let pod = find(cluster, "pods", &bound.namespace, name)?;
    let value = pod.value()?;
    let refused =
        |why: &str| Status::bad_request(format!("cannot bind token to Pod \"{name}\": {why}"));
    if value["spec"]["serviceAccountName"] != account {
        return Err(refused(&format!(
            "pod runs under different service account {}",
            value["spec"]["serviceAccountName"]
        )));
    }
    let reference = reference(&pod)?;
    if wanted["uid"]
        .as_str()
        .is_some_and(|uid| !uid.is_empty() && uid != reference.uid)
    {
        let why = format!(
            "the UID in the bound object reference ({}) does not match the UID in record",
            wanted["uid"]
        );
        return Err(Status::conflict("", "pods", name, &why));
    }
    if let Some(node) = value["spec"]["nodeName"].as_str() {
        let uid = find(cluster, "nodes", "", node).and_then(|node| self::reference(&node));
        let uid = uid.map(|node| node.uid).unwrap_or_default();
        bound.node = Some(Reference {
            name: node.to_owned(),
            uid,
        });
    }
    bound.pod = Some(reference);
    Ok(())
}

fn find(
    cluster: &Cluster,
    id: &str,
    namespace: &str,
    name: &str,
) -> Result<std::sync::Arc<Stored>, Status> {
    let state = cluster.store.read();
    let found = state.get(id, &key(namespace, name)).cloned();
    found.ok_or_else(|| Status::not_found("", id, name))
}

fn reference(object: &Stored) -> Result<Reference, Status> {
    let metadata = object.metadata()?;
    let uid = metadata
        .get("uid")
        .and_then(Value::as_str)
        .unwrap_or_default();
    Ok(Reference {
        name: object.name.to_string(),
        uid: uid.to_owned(),
    })
}
