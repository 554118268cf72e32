//! Roles and bindings, evaluated anew for every request. No aggregation.

use serde_json::Value;

use super::User;
use crate::{request::Target, server::Cluster, store::State};

const ROLES: &str = "roles.rbac.authorization.k8s.io";
const BINDINGS: &str = "rolebindings.rbac.authorization.k8s.io";
const CLUSTER_ROLES: &str = "clusterroles.rbac.authorization.k8s.io";
const CLUSTER_BINDINGS: &str = "clusterrolebindings.rbac.authorization.k8s.io";

/// What somebody wants to do.
#[derive(Clone, Debug, Default)]
pub struct Action {
    pub verb: String,
    pub group: String,
    /// `plural/subresource`.
    pub resource: String,
    pub name: String,
    pub namespace: String,
    /// For what is no resource.
    pub path: Option<String>,
}

impl Action {
    #[must_use]
    pub fn of(target: &Target) -> Self {
        Self {
            verb: target.verb.to_owned(),
            group: target.group.clone(),
            resource: target.resource(),
            name: target.name.clone(),
            namespace: target.namespace.clone(),
            path: (!target.is_resource).then(|| target.path.clone()),
        }
    }
}

/// Whether a binding gives the user a role with a rule for the action.
pub fn allows(cluster: &Cluster, user: &User, action: &Action) -> bool {
    if user.groups.iter().any(|group| group == "system:masters") {
        return true;
    }
    let state = cluster.store.read();
    let bound = |bindings: &str, namespace: &str| {
        let table = state.table(bindings);
        let objects = table.map_or_else(Vec::new, |table| table.at(state.version, namespace, ""));
        let bindings = objects.into_iter().filter_map(|object| object.value().ok());
        bindings
            .filter(|binding| is_for(binding, user))
            .any(|binding| {
                let rules = rules(&state, &binding["roleRef"], namespace);
                rules.iter().any(|rule| permits(rule, action))
            })
    };
    bound(CLUSTER_BINDINGS, "")
        || (action.path.is_none()
            && !action.namespace.is_empty()
            && bound(BINDINGS, &action.namespace))
}

fn is_for(binding: &Value, user: &User) -> bool {
    let namespace = binding["metadata"]["namespace"]
        .as_str()
        .unwrap_or_default();
    list(&binding["subjects"]).any(|subject| {
        let name = subject["name"].as_str().unwrap_or_default();
        match subject["kind"].as_str() {
            Some("User") => name == user.name,
            Some("Group") => user.groups.iter().any(|group| group == name),
            Some("ServiceAccount") => {
                let namespace = subject["namespace"].as_str().unwrap_or(namespace);
                user.name == format!("system:serviceaccount:{namespace}:{name}")
            }
            _ => false,
        }
    })
}

fn rules(state: &State, role: &Value, namespace: &str) -> Vec<Value> {
    let name = role["name"].as_str().unwrap_or_default();
    let found = if role["kind"] == "Role" {
        state.get(ROLES, &crate::store::key(namespace, name))
    } else {
        state.get(CLUSTER_ROLES, name)
    };
    let role = found.and_then(|role| role.value().ok()).unwrap_or_default();
    list(&role["rules"]).cloned().collect()
}

fn permits(rule: &Value, action: &Action) -> bool {
    let has =
        |key: &str, wanted: &str| list(&rule[key]).any(|given| given == "*" || given == wanted);
    if !has("verbs", &action.verb) {
        return false;
    }
    if let Some(path) = &action.path {
        return list(&rule["nonResourceURLs"])
            .filter_map(Value::as_str)
            .any(|given| {
                given
                    .strip_suffix('*')
                    .map_or(given == path, |prefix| path.starts_with(prefix))
            });
    }
    let sub = action
        .resource
        .split_once('/')
        .map(|(_, sub)| format!("*/{sub}"));
    let names = list(&rule["resourceNames"]).count();
    has("apiGroups", &action.group)
        && (has("resources", &action.resource) || sub.is_some_and(|sub| has("resources", &sub)))
        && (names == 0 || has("resourceNames", &action.name))
}

fn list(value: &Value) -> impl Iterator<Item = &Value> {
    value.as_array().into_iter().flatten()
}
