//! What policies say of connections: by examples from Istio's documentation, and against a second implementation
//! that is simpler and slower.

use serde_json::{Value, json};

use super::*;
use crate::{
    identity::{SpiffeId, TrustDomain},
    policy::{DocumentKind, DocumentRef, testing::workload},
    workload::Workload,
};

mod naive;

const ROOT: &str = "istio-system";

fn read(name: &str, dry_run: bool, spec: Value) -> Result<AuthorizationPolicy, Vec<String>> {
    let (namespace, name) = name.split_once('/').unwrap();
    let document = DocumentRef::new(DocumentKind::AuthorizationPolicy, namespace, name);
    let spec: AuthorizationPolicySpec =
        serde_json::from_value(spec).map_err(|error| vec![error.to_string()])?;
    AuthorizationPolicy::new(document, dry_run, spec).map_err(|errors| {
        let shown = |e: crate::policy::Invalid| format!("{}: {}", e.field, e.reason);
        errors.into_iter().map(shown).collect()
    })
}

fn compile(policies: &[(&str, Value)]) -> Authorization {
    let read = |(name, spec): &(&str, Value)| read(name, false, spec.clone()).unwrap().into();
    Authorization::compile(ROOT, &domains(), policies.iter().map(read).collect())
}

/// The mesh's own, and one that it had.
fn domains() -> Vec<TrustDomain> {
    let names = ["mesh.example", "old.example"];
    names.map(|name| name.parse().unwrap()).to_vec()
}

fn id(text: &str) -> SpiffeId {
    format!("spiffe://{text}").parse().unwrap()
}

fn from<'a>(principal: Option<&'a SpiffeId>) -> Attributes<'a> {
    Attributes {
        principal,
        source: "10.0.0.9".parse().unwrap(),
        destination: "10.0.0.1".parse().unwrap(),
        port: 8080,
        sni: None,
    }
}

fn allows(policies: &[(&str, Value)], server: &Workload, connection: &Attributes<'_>) -> bool {
    compile(policies)
        .decide(server, connection)
        .enforced
        .is_allowed()
}

fn rule(rule: &Value) -> Value {
    json!({"rules": [rule]})
}

fn source(source: &Value) -> Value {
    rule(&json!({"from": [{"source": source}]}))
}

#[test]
fn without_policies_everything_is_allowed() {
    assert!(allows(&[], &workload("shop", "app=web"), &from(None)));
}

#[test]
fn an_allow_policy_without_rules_allows_nothing_and_one_empty_rule_everything() {
    let web = workload("shop", "app=web");
    for nothing in [
        json!({}),
        json!({"rules": []}),
        json!({"action": "ALLOW", "rules": null}),
    ] {
        assert!(!allows(&[("shop/nothing", nothing)], &web, &from(None)));
    }
    assert!(allows(
        &[("shop/all", json!({"rules": [{}]}))],
        &web,
        &from(None)
    ));
    let deny_all = json!({"action": "DENY", "rules": [{}]});
    assert!(!allows(&[("shop/deny-all", deny_all)], &web, &from(None)));
}

#[test]
fn deny_wins_over_allow_and_one_allow_of_several_is_enough() {
    let web = workload("shop", "app=web");
    let sleep = id("mesh.example/ns/shop/sa/sleep");
    let front = id("mesh.example/ns/shop/sa/front");
    let allow = |account: &str| {
        source(&json!({"principals": [format!("mesh.example/ns/shop/sa/{account}")]}))
    };
    let both = [("shop/a", allow("sleep")), ("shop/b", allow("front"))];
    assert!(allows(&both, &web, &from(Some(&sleep))));
    assert!(allows(&both, &web, &from(Some(&front))));
    let mut deny = allow("sleep");
    deny["action"] = json!("DENY");
    let with_deny = [both[0].clone(), both[1].clone(), ("istio-system/d", deny)];
    assert!(!allows(&with_deny, &web, &from(Some(&sleep))));
    assert!(allows(&with_deny, &web, &from(Some(&front))));
}

#[test]
fn scope_is_the_namespace_the_selector_or_the_mesh() {
    let selected = json!({"selector": {"matchLabels": {"app": "web"}}});
    for (policy, spec, labels, reached) in [
        ("shop/x", json!({}), "app=web", true),
        ("bank/x", json!({}), "app=web", false),
        ("istio-system/x", json!({}), "app=web", true),
        ("shop/x", selected.clone(), "app=web,tier=1", true),
        ("shop/x", selected.clone(), "app=db", false),
        // Unlike with PeerAuthentication, selectors of the root namespace count in every namespace.
        ("istio-system/x", selected.clone(), "app=web", true),
        ("istio-system/x", selected, "app=db", false),
    ] {
        let allowed = allows(&[(policy, spec)], &workload("shop", labels), &from(None));
        assert_eq!(allowed, !reached, "{policy} {labels}");
    }
}

/// The specification that a line of a table begins with, and the rest of the line.
fn written(line: &str) -> (Value, &str) {
    let (kind, text) = line.split_once(' ').unwrap();
    let mut stream = serde_json::Deserializer::from_str(text).into_iter::<Value>();
    let value = stream.next().unwrap().unwrap();
    let rest = text[stream.byte_offset()..].trim();
    let spec = match kind {
        "spec" => value,
        "rule" => rule(&value),
        "source" => source(&value),
        "to" => rule(&json!({"to": [{"operation": value}]})),
        "when" => rule(&json!({"when": [value]})),
        other => panic!("{other}"),
    };
    (spec, rest)
}

fn table(text: &str) -> impl Iterator<Item = &str> {
    text.lines().filter(|line| !line.starts_with('#'))
}

#[test]
fn attributes() {
    let web = workload("shop", "app=web");
    let sleep = id("mesh.example/ns/default/sa/sleep");
    for line in table(include_str!("tests/attributes.txt")) {
        let (spec, rest) = written(line);
        let (client, expected) = rest.split_once(' ').unwrap();
        let connection = Attributes {
            sni: (client == "named").then_some("web.example"),
            ..from((client != "plain").then_some(&sleep))
        };
        let allowed = allows(&[("shop/x", spec)], &web, &connection);
        assert_eq!(allowed, expected == "yes", "{line}");
    }
}

#[test]
fn what_makes_no_sense_is_refused_with_field_and_reason() {
    for line in table(include_str!("tests/refused.txt")) {
        let (spec, expected) = written(line);
        let expected = expected.strip_prefix("=> ").unwrap();
        let errors = read("shop/x", false, spec).unwrap_err();
        assert!(
            errors.iter().any(|e| e.starts_with(expected)),
            "{line}: {errors:?}"
        );
    }
}
