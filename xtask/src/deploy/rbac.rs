//! No right without a use: each that a role gives is one that the program needs, and each role is somebody's.

use std::{collections::BTreeSet, fs};

use anyhow::{Context, Result, ensure};
use serde_json::Value;

use super::{Rendered, list, text};
use crate::workspace;

/// Kinds of the agent's that have no API to be watched through (Istio removed it in 1.6).
const GONE: [&str; 2] = ["Policy", "MeshPolicy"];

const NAMESPACE: &str = "sealane-system";
const AGENT: &str = "sealane-system/sealane-agent";
const CA: &str = "sealane-system/sealane-ca";

/// One thing that somebody may do.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Right {
    /// NAMESPACE/NAME of a service account; of others kind and name.
    who: String,
    /// The namespace that it is limited to; `None`: the whole cluster.
    within: Option<String>,
    group: String,
    resource: String,
    /// The only object that it is for; `None`: all.
    object: Option<String>,
    verb: String,
}

impl Right {
    fn new(who: &str, (group, resource): (&str, &str), verb: &str) -> Self {
        let [who, group, resource, verb] = [who, group, resource, verb].map(str::to_owned);
        Self {
            who,
            within: None,
            group,
            resource,
            object: None,
            verb,
        }
    }

    fn within(mut self, namespace: &str) -> Self {
        self.within = Some(namespace.to_owned());
        self
    }

    fn only(mut self, object: &str) -> Self {
        self.object = Some(object.to_owned());
        self
    }
}

pub(super) fn findings(rendered: &Rendered) -> Result<Vec<String>> {
    let needed = needed()?;
    let mut findings = Vec::new();
    for name in ["base", "chart"] {
        let objects = rendered.of(name)?;
        let given = given(objects);
        let unused = given
            .difference(&needed)
            .map(|right| format!("{name}: nothing uses {right:?}"));
        let missing = needed
            .difference(&given)
            .map(|right| format!("{name}: {right:?} is missing"));
        findings.extend(unused.chain(missing));
        findings.extend(idle(objects).map(|role| format!("{name}: nobody has {role}")));
    }
    Ok(findings)
}

/// Agents watch the kinds that count, the CA where pods run (`Scope` of the agent's source); what else the CA does stands in
/// `ca serve` and `ca keep`.
fn needed() -> Result<BTreeSet<Right>> {
    const KINDS: &str = "agent/src/control/objects/kind.rs";
    let source = fs::read_to_string(workspace::root().join(KINDS)).context(KINDS)?;
    let kinds = kinds(&source);
    ensure!(kinds.len() > 5, "{KINDS}: no table of the kinds that count");
    let mut needed = BTreeSet::new();
    for (group, resource) in &kinds {
        for verb in ["list", "watch"] {
            let right = Right::new(AGENT, (group, resource), verb);
            // Policy is read from those beside the agents only.
            needed.insert(match resource.as_str() {
                "configmaps" => right.within(NAMESPACE),
                _ => right,
            });
            if ["namespaces", "pods"].contains(&resource.as_str()) {
                needed.insert(Right::new(CA, (group, resource), verb));
            }
        }
    }
    let reviews = ("authentication.k8s.io", "tokenreviews");
    needed.insert(Right::new(CA, reviews, "create"));
    for (resource, object) in [
        ("secrets", "sealane-ca"),
        ("configmaps", "sealane-ca-roots"),
    ] {
        for verb in ["get", "update"] {
            let right = Right::new(CA, ("", resource), verb);
            needed.insert(right.within(NAMESPACE).only(object));
        }
    }
    Ok(needed)
}

/// Group and resource of each kind in the table of kinds that count.
fn kinds(source: &str) -> Vec<(String, String)> {
    let table = source.split("const ENFORCED").nth(1).unwrap_or_default();
    let table = table.split("];").next().unwrap_or_default();
    let mut texts = table.split('"').skip(1).step_by(2);
    let mut kinds = Vec::new();
    while let (Some(kind), Some(version)) = (texts.next(), texts.next()) {
        if !GONE.contains(&kind) {
            let group = version.rsplit_once('/').map_or("", |(group, _)| group);
            kinds.push((group.to_owned(), plural(kind)));
        }
    }
    kinds
}

fn plural(kind: &str) -> String {
    let kind = kind.to_lowercase();
    match kind.strip_suffix('y') {
        Some(stem) if !stem.ends_with(['a', 'e', 'o', 'u']) => format!("{stem}ies"),
        _ => format!("{kind}s"),
    }
}

fn given(objects: &[Value]) -> BTreeSet<Right> {
    let mut given = BTreeSet::new();
    for binding in of_kinds(objects, &["RoleBinding", "ClusterRoleBinding"]) {
        let namespace = text(binding, "/metadata/namespace");
        let within = (text(binding, "/kind") == "RoleBinding").then_some(namespace);
        let rights = rules(objects, binding);
        for subject in list(binding, "/subjects") {
            let who = who(subject);
            given.extend(rights.iter().cloned().map(|right| Right {
                who: who.clone(),
                within: within.map(str::to_owned),
                ..right
            }));
        }
    }
    given
}

fn who(subject: &Value) -> String {
    let [kind, namespace, name] = ["/kind", "/namespace", "/name"].map(|f| text(subject, f));
    match kind {
        "ServiceAccount" => format!("{namespace}/{name}"),
        _ => format!("{kind} {name}"),
    }
}

/// What the role of a binding allows, nobody in particular. Of a role that is not among the objects: anything.
fn rules(objects: &[Value], binding: &Value) -> Vec<Right> {
    let kinds = [text(binding, "/roleRef/kind")];
    let name = text(binding, "/roleRef/name");
    let namespace = text(binding, "/metadata/namespace");
    let mut roles = of_kinds(objects, &kinds).filter(|role| {
        let is_near = kinds != ["Role"] || text(role, "/metadata/namespace") == namespace;
        is_near && text(role, "/metadata/name") == name
    });
    match roles.next() {
        Some(role) => list(role, "/rules").iter().flat_map(rights).collect(),
        None => vec![Right::new("", ("", name), "whatever that role allows")],
    }
}

fn rights(rule: &Value) -> Vec<Right> {
    let texts = |field: &str| {
        let values = list(rule, field).iter().filter_map(Value::as_str);
        values.collect::<Vec<_>>()
    };
    let (groups, verbs) = (texts("/apiGroups"), texts("/verbs"));
    let objects = texts("/resourceNames");
    let mut resources = Vec::new();
    for group in &groups {
        resources.extend(texts("/resources").into_iter().map(|r| (*group, r)));
    }
    resources.extend(texts("/nonResourceURLs").into_iter().map(|url| ("", url)));
    let mut rights = Vec::new();
    for resource in resources {
        for verb in &verbs {
            let right = Right::new("", resource, verb);
            match objects.as_slice() {
                [] => rights.push(right),
                objects => rights.extend(objects.iter().map(|o| right.clone().only(o))),
            }
        }
    }
    rights
}

/// Roles that no account has, and accounts that no pod runs as.
fn idle(objects: &[Value]) -> impl Iterator<Item = String> {
    let bound: BTreeSet<_> = of_kinds(objects, &["RoleBinding", "ClusterRoleBinding"])
        .map(|binding| {
            (
                text(binding, "/roleRef/kind"),
                text(binding, "/roleRef/name"),
            )
        })
        .collect();
    let running: BTreeSet<_> = of_kinds(objects, &["DaemonSet", "Deployment"])
        .map(|owner| {
            (
                "ServiceAccount",
                text(owner, "/spec/template/spec/serviceAccountName"),
            )
        })
        .collect();
    of_kinds(objects, &["Role", "ClusterRole", "ServiceAccount"])
        .map(|object| (text(object, "/kind"), text(object, "/metadata/name")))
        .filter(move |thing| !bound.contains(thing) && !running.contains(thing))
        .map(|(kind, name)| format!("{kind} {name}"))
}

fn of_kinds<'o>(objects: &'o [Value], kinds: &'o [&str]) -> impl Iterator<Item = &'o Value> {
    objects
        .iter()
        .filter(move |object| kinds.contains(&text(object, "/kind")))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn kinds_become_resources() {
        let source = r#"const ENFORCED: [(&str, &str); 3] = [
            ("ServiceEntry", "networking.istio.io/v1"), ("Policy", "authentication.istio.io/v1alpha1"),
            ("Gateway", "v1"),
        ]; const OTHER: &str = "x";"#;
        let pair = |group: &str, resource: &str| (group.to_owned(), resource.to_owned());
        assert_eq!(
            kinds(source),
            [
                pair("networking.istio.io", "serviceentries"),
                pair("", "gateways")
            ]
        );
    }

    fn binding(kind: &str, role: &str) -> Value {
        json!({"kind": format!("{kind}Binding"), "roleRef": {"kind": kind, "name": role},
            "metadata": {"namespace": "n"},
            "subjects": [{"kind": "ServiceAccount", "name": "a", "namespace": "n"}]})
    }

    fn role(kind: &str, rule: &Value) -> Value {
        json!({"kind": kind, "metadata": {"name": "r", "namespace": "n"}, "rules": [rule]})
    }

    #[test]
    fn rights_are_given_by_bindings_and_idle_roles_are_found() {
        let rule = json!({"apiGroups": [""], "resources": ["pods"], "verbs": ["list", "watch"]});
        let role = role("Role", &rule);
        let objects = [role.clone(), binding("Role", "r")];
        let right = |verb| Right::new("n/a", ("", "pods"), verb).within("n");
        let found: Vec<_> = given(&objects).into_iter().collect();
        assert_eq!(found, [right("list"), right("watch")]);
        assert_eq!(idle(&objects).count(), 0);
        assert_eq!(idle(&[role]).collect::<Vec<_>>(), ["Role r"]);
    }

    #[test]
    fn a_right_to_more_is_another_right() {
        let mut rule = json!({"apiGroups": [""], "resources": ["secrets"], "verbs": ["get"]});
        let all = Right::new("n/a", ("", "secrets"), "get");
        let own = |rule: &Value, kind| given(&[role(kind, rule), binding(kind, "r")]);
        let everywhere = own(&rule, "ClusterRole");
        assert_eq!(everywhere, BTreeSet::from([all.clone()]));
        rule["resourceNames"] = json!(["key"]);
        let one = own(&rule, "Role");
        assert_eq!(one, BTreeSet::from([all.within("n").only("key")]));
        // Somebody else's binding, and roles that are not ours.
        let mut other = binding("Role", "r");
        other["subjects"][0]["namespace"] = json!("m");
        let whose = given(&[role("Role", &rule), other]);
        assert!(whose.iter().all(|right| right.who == "m/a"));
        let foreign = given(&[binding("ClusterRole", "cluster-admin")]);
        assert_eq!(foreign.first().unwrap().resource, "cluster-admin");
    }
}
