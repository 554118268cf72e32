//! Who asks, and what they may. Source: "Authenticating" and "Using RBAC Authorization" of the Kubernetes
//! documentation.

mod bootstrap;
mod rbac;
mod reviews;
mod tokens;

use std::collections::BTreeMap;

use hyper::{header, http::request::Parts};

use crate::{request::Target, server::Cluster, status::Status};

pub use bootstrap::bootstrap;
pub use reviews::{REVIEWS, TokenFor, review, token, token_request};
pub use tokens::Tokens;

/// Who asks.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct User {
    pub name: String,
    pub uid: String,
    pub groups: Vec<String>,
    pub extra: BTreeMap<String, Vec<String>>,
}

impl User {
    #[must_use]
    pub fn new(name: String, groups: Vec<String>) -> Self {
        Self {
            name,
            groups,
            ..Self::default()
        }
    }

    fn anonymous() -> Self {
        Self::new(
            "system:anonymous".into(),
            vec!["system:unauthenticated".into()],
        )
    }

    fn authenticated(mut self) -> Self {
        let group = "system:authenticated";
        if !self.groups.iter().any(|known| known == group) {
            self.groups.push(group.into());
        }
        self
    }
}

/// The user of a request: by the connection's certificate, by a bearer token, or nobody in particular.
///
/// # Errors
/// 401 for a token that nobody knows, and for nobody when they aren't let in.
pub fn authenticate(
    cluster: &Cluster,
    certified: Option<User>,
    parts: &Parts,
) -> Result<User, Status> {
    if let Some(user) = certified {
        return Ok(user.authenticated());
    }
    let given = parts
        .headers
        .get(header::AUTHORIZATION)
        .and_then(|value| value.to_str().ok());
    let Some(token) = given.and_then(|given| given.strip_prefix("Bearer ")) else {
        let is_let_in = cluster.options.anonymous && given.is_none();
        return if is_let_in {
            Ok(User::anonymous())
        } else {
            Err(Status::unauthorized())
        };
    };
    let mut known = cluster.options.tokens.iter();
    if let Some((_, user)) = known.find(|(known, _)| known == token) {
        return Ok(user.clone().authenticated());
    }
    let audiences = [cluster.options.issuer.clone()];
    let verified =
        tokens::verify(cluster, token, &audiences).map_err(|_| Status::unauthorized())?;
    Ok(verified.user.authenticated())
}

/// The user that `Impersonate-User` and `Impersonate-Group` name, if there are any and `user` may.
///
/// # Errors
/// 403 when they may not.
pub fn impersonated(cluster: &Cluster, user: User, parts: &Parts) -> Result<User, Status> {
    let named = |header: &str| -> Vec<String> {
        let values = parts.headers.get_all(header).iter();
        values
            .filter_map(|value| value.to_str().ok().map(str::to_owned))
            .collect()
    };
    let Some(name) = named("impersonate-user").pop() else {
        return Ok(user);
    };
    let groups = named("impersonate-group");
    let wanted =
        std::iter::once(("users", &name)).chain(groups.iter().map(|group| ("groups", group)));
    for (plural, name) in wanted {
        let target = Target {
            verb: "impersonate",
            is_resource: true,
            plural: plural.to_owned(),
            name: name.clone(),
            ..Target::default()
        };
        authorize(cluster, &user, &target)?;
    }
    Ok(User::new(name, groups).authenticated())
}

/// # Errors
/// 403 when no rule allows it.
pub fn authorize(cluster: &Cluster, user: &User, target: &Target) -> Result<(), Status> {
    let action = rbac::Action::of(target);
    if rbac::allows(cluster, user, &action) {
        return Ok(());
    }
    Err(Status::forbidden(
        &target.group,
        &target.plural,
        &target.name,
        refusal(user, target),
    ))
}

fn refusal(user: &User, target: &Target) -> String {
    let (user, verb) = (&user.name, target.verb);
    if !target.is_resource {
        return format!(
            "forbidden: User \"{user}\" cannot {verb} path \"{}\"",
            target.path
        );
    }
    let resource = target.resource();
    let what = crate::status::qualified(&target.group, &target.plural);
    let named = if target.name.is_empty() {
        String::new()
    } else {
        format!(" \"{}\"", target.name)
    };
    let scope = if target.namespace.is_empty() {
        "at the cluster scope".to_owned()
    } else {
        format!("in the namespace \"{}\"", target.namespace)
    };
    let group = &target.group;
    format!(
        "{what}{named} is forbidden: User \"{user}\" cannot {verb} resource \"{resource}\" in API group \"{group}\" {scope}"
    )
}
