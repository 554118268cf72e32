//! Which of several rules count, and who is named.

use std::time::{Duration, Instant};

use super::*;
use crate::policy::{DocumentKind, testing::workload};

const SYSTEM: &str = "istio-system";

/// `NAMESPACE/NAME`, in the order of their age, and the specification.
type Written<'a> = (&'a str, &'a str);

fn compile(documents: &[Written<'_>]) -> (ClientRules, Vec<String>) {
    let mut ignored = Vec::new();
    let read = |(age, (name, spec)): (i64, &Written<'_>)| {
        let (namespace, name) = name.split_once('/').unwrap();
        let document = DocumentRef::new(DocumentKind::DestinationRule, namespace, name);
        let spec = serde_json::from_str(spec).unwrap();
        DestinationRule::new(document, Some(age), spec).unwrap()
    };
    // Read in any order.
    let mut rules: Vec<_> = (0..).zip(documents).map(read).collect();
    rules.reverse();
    let rules = ClientRules::compile(SYSTEM, "cluster.local", rules, &mut ignored);
    (rules, ignored.iter().map(ToString::to_string).collect())
}

fn service(namespace: &str) -> Service {
    Service {
        name: crate::workload::ObjectName::new(namespace, "back"),
        host: format!("back.{namespace}.svc.cluster.local"),
        virtual_addresses: Vec::new(),
        ports: Vec::new(),
        outside: None,
    }
}

/// `MODE of NAME` for a client in `namespace` with `labels`.
fn told(rules: &ClientRules, client: (&str, &str), subset: Option<&str>, port: u16) -> String {
    let client = workload(client.0, client.1);
    match rules.of(&client, &service("shop"), port, subset) {
        Some(ruled) => format!("{} of {}", ruled.tls, ruled.document.name),
        None => "nothing".to_owned(),
    }
}

#[test]
fn rules_for_one_host_are_merged() {
    let (rules, ignored) = compile(&[
        (
            "shop/subsets",
            r#"{"host": "back", "subsets": [{"name": "v1", "labels": {"version": "1"}}]}"#,
        ),
        (
            "shop/disable",
            r#"{"host": "back.shop.svc.cluster.local", "trafficPolicy": {"tls": {"mode": "DISABLE"}}}"#,
        ),
        (
            "shop/late",
            r#"{"host": "back", "trafficPolicy": {"tls": {"mode": "ISTIO_MUTUAL"}}, "subsets": [
                {"name": "v1", "labels": {"version": "other"}},
                {"name": "v2", "labels": {"version": "2"}, "trafficPolicy": {"tls": {"mode": "ISTIO_MUTUAL"}}}]}"#,
        ),
    ]);
    let client = ("bank", "");
    assert_eq!(told(&rules, client, None, 80), "DISABLE of disable");
    assert_eq!(told(&rules, client, Some("v1"), 80), "DISABLE of disable");
    assert_eq!(told(&rules, client, Some("v2"), 80), "ISTIO_MUTUAL of late");
    let labels = rules.subset(&workload("bank", ""), &service("shop"), "v1");
    assert_eq!(labels.unwrap()["version"], "1");
    assert_eq!(
        ignored,
        [
            "DestinationRule/shop/late: spec.trafficPolicy has no effect: DestinationRule/shop/disable is older and \
             says the same of the same host",
            "DestinationRule/shop/late: the subset v1 has no effect: DestinationRule/shop/subsets is older and says \
             the same of the same host",
        ]
    );
}

#[test]
fn rules_for_other_clients_stay_apart() {
    let rule = |clients: &str, mode: &str| {
        format!(r#"{{"host": "back", {clients} "trafficPolicy": {{"tls": {{"mode": "{mode}"}}}}}}"#)
    };
    let all = rule("", "DISABLE");
    let selected = rule(
        r#""workloadSelector": {"matchLabels": {"app": "a"}},"#,
        "ISTIO_MUTUAL",
    );
    let own = rule(r#""exportTo": ["."],"#, "SIMPLE");
    let named = rule(r#""exportTo": ["bank"],"#, "SIMPLE");
    let (rules, ignored) = compile(&[("shop/all", &all), ("shop/selected", &selected)]);
    assert!(ignored.is_empty());
    assert_eq!(
        told(&rules, ("shop", "app=a"), None, 80),
        "ISTIO_MUTUAL of selected"
    );
    assert_eq!(told(&rules, ("shop", "app=b"), None, 80), "DISABLE of all");
    assert_eq!(told(&rules, ("bank", "app=a"), None, 80), "DISABLE of all");
    let (rules, _) = compile(&[("shop/own", &own), ("shop/all", &all)]);
    assert_eq!(told(&rules, ("shop", ""), None, 80), "SIMPLE of own");
    assert_eq!(told(&rules, ("bank", ""), None, 80), "DISABLE of all");
    let (rules, _) = compile(&[("shop/named", &named)]);
    assert_eq!(told(&rules, ("bank", ""), None, 80), "SIMPLE of named");
    assert_eq!(told(&rules, ("test", ""), None, 80), "nothing");
    assert_eq!(told(&rules, ("shop", ""), None, 80), "nothing");
}

#[test]
fn the_clients_namespace_comes_first_and_in_it_the_most_specific_host() {
    let rule = |host: &str, mode: &str| {
        format!(r#"{{"host": "{host}", "trafficPolicy": {{"tls": {{"mode": "{mode}"}}}}}}"#)
    };
    let (whole, wide) = (
        rule("back", "DISABLE"),
        rule("*.svc.cluster.local", "SIMPLE"),
    );
    let (narrow, every) = (
        rule("*.shop.svc.cluster.local", "ISTIO_MUTUAL"),
        rule("*", "DISABLE"),
    );
    let documents = [
        ("istio-system/every", every.as_str()),
        ("bank/wide", &wide),
        ("bank/narrow", &narrow),
        ("shop/whole", &whole),
    ];
    let (rules, ignored) = compile(&documents);
    assert!(ignored.is_empty());
    assert_eq!(
        told(&rules, ("bank", ""), None, 80),
        "ISTIO_MUTUAL of narrow"
    );
    assert_eq!(told(&rules, ("test", ""), None, 80), "DISABLE of whole");
    assert_eq!(told(&rules, (SYSTEM, ""), None, 80), "DISABLE of whole");
    let (rules, _) = compile(&documents[..1]);
    assert_eq!(told(&rules, ("test", ""), None, 80), "DISABLE of every");
    assert_eq!(rules.about("anything.example").count(), 1);
}

#[test]
fn what_the_root_namespace_keeps_for_itself_is_its_own_clients_first() {
    let private = r#"{"host": "back.shop.svc.cluster.local", "exportTo": ["."],
                       "trafficPolicy": {"tls": {"mode": "DISABLE"}}}"#;
    let public = private.replace(r#""exportTo": ["."],"#, "");
    let own = r#"{"host": "back", "trafficPolicy": {"tls": {"mode": "ISTIO_MUTUAL"}}}"#;
    let to_shop = |root: &str, client| {
        let (rules, _) = compile(&[("istio-system/root", root), ("shop/own", own)]);
        told(&rules, (client, ""), None, 80)
    };
    assert_eq!(to_shop(private, SYSTEM), "DISABLE of root");
    assert_eq!(to_shop(private, "bank"), "ISTIO_MUTUAL of own");
    // pilot/pkg/model/push_context.go, `destinationRule`: before what is for all the service's own stands.
    assert_eq!(to_shop(&public, SYSTEM), "ISTIO_MUTUAL of own");
}

#[test]
fn settings_of_a_port_stand_for_all_that_is_said_above() {
    let (rules, _) = compile(&[(
        "shop/ports",
        r#"{"host": "back",
            "trafficPolicy": {"tls": {"mode": "ISTIO_MUTUAL"}, "portLevelSettings": [
                {"port": {"number": 81}, "tls": {"mode": "DISABLE"}}]},
            "subsets": [{"name": "s", "trafficPolicy": {"portLevelSettings": [
                {"port": {"number": 80}, "tls": {"mode": "DISABLE"}}]}}]}"#,
    )]);
    let client = ("bank", "");
    assert_eq!(told(&rules, client, None, 80), "ISTIO_MUTUAL of ports");
    assert_eq!(told(&rules, client, None, 81), "DISABLE of ports");
    assert_eq!(told(&rules, client, Some("s"), 80), "DISABLE of ports");
    assert_eq!(told(&rules, client, Some("s"), 81), "DISABLE of ports");
}

#[test]
fn many_rules_take_no_longer_each() {
    let names: Vec<_> = (0..10_000).map(|n| format!("shop/r{n}")).collect();
    let specs: Vec<_> = (0..10_000)
        .map(|n| {
            format!(r#"{{"host": "host{n}", "trafficPolicy": {{"tls": {{"mode": "DISABLE"}}}}}}"#)
        })
        .collect();
    let documents = names.iter().zip(&specs);
    let documents: Vec<_> = documents.map(|(n, s)| (n.as_str(), s.as_str())).collect();
    let began = Instant::now();
    let (rules, _) = compile(&documents);
    let found = (0..10_000).filter(|n| {
        let host = format!("host{n}.shop.svc.cluster.local");
        rules.about(&host).next().is_some()
    });
    assert_eq!(found.count(), 10_000);
    assert!(
        began.elapsed() < Duration::from_secs(4),
        "{:?}",
        began.elapsed()
    );
}
