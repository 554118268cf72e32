//! No right without a use: each that a role gives is one that the program needs, and each role is somebody's.

use std::{collections::BTreeSet, fs};

use anyhow::{Context, Result, ensure};
use serde_json::Value;

use super::{Rendered, list, text};
use crate::workspace;

/// Kinds of the agent's that have no API to be watched through (Istio removed it in 1.6).
const GONE: [&str; 2] = ["Policy", "MeshPolicy"];

/// Account, group, resource, verb.
type Right = (String, String, String, String);

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

/// Both watch the kinds that count, by the same source; what else the CA does stands in `ca serve` and `ca keep`.
fn needed() -> Result<BTreeSet<Right>> {
    const KINDS: &str = "agent/src/control/objects/kind.rs";
    let source = fs::read_to_string(workspace::root().join(KINDS)).context(KINDS)?;
    let kinds = kinds(&source);
    ensure!(kinds.len() > 5, "{KINDS}: no table of the kinds that count");
    let right = |account: &str, group: &str, resource: &str, verb: &str| -> Right {
        [account, group, resource, verb].map(str::to_owned).into()
    };
    let mut needed = BTreeSet::new();
    for (group, resource) in &kinds {
        for (account, verb) in [
            ("sealane-agent", "list"),
            ("sealane-agent", "watch"),
            ("sealane-ca", "list"),
            ("sealane-ca", "watch"),
        ] {
            needed.insert(right(account, group, resource, verb));
        }
    }
    for (group, resource, verb) in [
        ("authentication.k8s.io", "tokenreviews", "create"),
        ("", "secrets", "get"),
        ("", "secrets", "update"),
        ("", "configmaps", "get"),
        ("", "configmaps", "update"),
    ] {
        needed.insert(right("sealane-ca", group, resource, verb));
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
        let kind = [text(binding, "/roleRef/kind")];
        let name = text(binding, "/roleRef/name");
        let named = |role: &&Value| text(role, "/metadata/name") == name;
        let roles = of_kinds(objects, &kind).filter(named);
        for rule in roles.flat_map(|role| list(role, "/rules")) {
            for subject in list(binding, "/subjects") {
                given.extend(rights(text(subject, "/name"), rule));
            }
        }
    }
    given
}

fn rights(account: &str, rule: &Value) -> Vec<Right> {
    let texts = |field: &str| {
        let values = list(rule, field).iter().filter_map(Value::as_str);
        values.map(str::to_owned).collect::<Vec<_>>()
    };
    let (groups, resources, verbs) = (texts("/apiGroups"), texts("/resources"), texts("/verbs"));
    let mut rights = Vec::new();
    for group in &groups {
        for resource in &resources {
            let right = |verb: &String| {
                (
                    account.to_owned(),
                    group.clone(),
                    resource.clone(),
                    verb.clone(),
                )
            };
            rights.extend(verbs.iter().map(right));
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

    #[test]
    fn rights_are_given_by_bindings_and_idle_roles_are_found() {
        let role = json!({"kind": "Role", "metadata": {"name": "r"}, "rules": [
            {"apiGroups": [""], "resources": ["pods"], "verbs": ["list", "watch"]}]});
        let binding = json!({"kind": "RoleBinding", "roleRef": {"kind": "Role", "name": "r"},
            "subjects": [{"name": "a"}]});
        let objects = [role.clone(), binding];
        let verbs: Vec<_> = given(&objects)
            .into_iter()
            .map(|right| (right.0, right.3))
            .collect();
        let pair = |account: &str, verb: &str| (account.to_owned(), verb.to_owned());
        assert_eq!(verbs, [pair("a", "list"), pair("a", "watch")]);
        assert_eq!(idle(&objects).count(), 0);
        assert_eq!(idle(&[role]).collect::<Vec<_>>(), ["Role r"]);
    }
}
