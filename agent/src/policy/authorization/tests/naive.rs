//! Istio's documentation once more, read from the document at every question; and documents at random.

use serde_json::{Value, json};

use super::{Attributes, Authorization, ROOT, domains, id, read};
use crate::{identity::SpiffeId, policy::testing::workload};

struct Case {
    /// With whether they are only tried.
    policies: Vec<(String, Value, bool)>,
    namespace: String,
    labels: String,
}

/// `tried`: as if the policies in dry run were in force.
fn decide(case: &Case, connection: &Attributes<'_>, tried: bool) -> bool {
    let applies = |(name, spec, dry_run): &&(String, Value, bool)| {
        let namespace = name.split('/').next().unwrap();
        let selector = spec["selector"]["matchLabels"]
            .as_object()
            .cloned()
            .unwrap_or_default();
        let own: Vec<_> = case.labels.split(',').collect();
        (tried || !dry_run)
            && (namespace == ROOT || namespace == case.namespace)
            && selector
                .iter()
                .all(|(k, v)| own.contains(&format!("{k}={}", v.as_str().unwrap()).as_str()))
    };
    let applying: Vec<_> = case.policies.iter().filter(applies).collect();
    let of = |action: &str| -> Vec<(&str, &Value)> {
        let is =
            |(_, spec, _): &&&(_, Value, _)| spec["action"].as_str().unwrap_or("ALLOW") == action;
        let found = applying.iter().filter(is);
        found.map(|(name, spec, _)| (name.as_str(), spec)).collect()
    };
    let matches = |(name, spec): &(&str, &Value)| rules(name, spec, connection);
    if of("DENY").iter().any(matches) {
        return false;
    }
    of("ALLOW").is_empty() || of("ALLOW").iter().any(matches)
}

fn list<'v>(value: &'v Value, key: &str) -> &'v [Value] {
    value[key].as_array().map_or(&[], Vec::as_slice)
}

fn rules(name: &str, spec: &Value, c: &Attributes<'_>) -> bool {
    let namespace = name.split('/').next().unwrap();
    list(spec, "rules").iter().any(|rule| {
        let from = list(rule, "from");
        let to = list(rule, "to");
        (from.is_empty() || from.iter().any(|f| fields(namespace, &f["source"], c)))
            && (to.is_empty() || to.iter().any(|t| fields(namespace, &t["operation"], c)))
            && list(rule, "when")
                .iter()
                .all(|w| condition(namespace, w, c))
    })
}

fn fields(namespace: &str, object: &Value, c: &Attributes<'_>) -> bool {
    object.as_object().unwrap().iter().all(|(key, values)| {
        let (negated, attribute) = match key.strip_prefix("not") {
            Some(rest) => (true, rest.to_lowercase()),
            None => (false, key.to_lowercase()),
        };
        let any = values
            .as_array()
            .unwrap()
            .iter()
            .any(|v| one(namespace, &attribute, v.as_str().unwrap(), c));
        any != negated
    })
}

fn condition(namespace: &str, when: &Value, c: &Attributes<'_>) -> bool {
    let attribute = match when["key"].as_str().unwrap() {
        "source.ip" => "ipblocks",
        "source.principal" => "principals",
        "source.namespace" => "namespaces",
        "destination.port" => "ports",
        "destination.ip" => "destination",
        "source.serviceAccount" => "serviceaccounts",
        "connection.sni" => "sni",
        other => panic!("{other}"),
    };
    let any = |key: &str| {
        list(when, key)
            .iter()
            .any(|v| one(namespace, attribute, v.as_str().unwrap(), c))
    };
    (list(when, "values").is_empty() || any("values")) && !any("notValues")
}

fn one(namespace: &str, attribute: &str, wanted: &str, c: &Attributes<'_>) -> bool {
    let principal = c
        .principal
        .map(|id| id.to_string()["spiffe://".len()..].to_owned());
    match attribute {
        "principals" => principal.is_some_and(|p| {
            let domains = ["mesh.example", "old.example"];
            let parts: Vec<_> = wanted.split('/').collect();
            let ours =
                parts.len() == 5 && (parts[0] == "cluster.local" || domains.contains(&parts[0]));
            if ours {
                domains
                    .iter()
                    .any(|d| like(&p, &format!("{d}/{}", parts[1..].join("/"))))
            } else {
                like(&p, wanted)
            }
        }),
        "namespaces" => principal.is_some_and(|p| like(p.split('/').nth(2).unwrap(), wanted)),
        "serviceaccounts" => principal.is_some_and(|p| {
            let parts: Vec<_> = p.split('/').collect();
            let full = match wanted.contains('/') {
                true => wanted.to_owned(),
                false => format!("{namespace}/{wanted}"),
            };
            full == format!("{}/{}", parts[2], parts[4])
        }),
        "ipblocks" => block(c.source, wanted),
        "destination" => block(c.destination, wanted),
        "sni" => c.sni.is_some_and(|sni| like(sni, wanted)),
        "ports" => c.port.to_string() == wanted,
        other => panic!("{other}"),
    }
}

fn block(address: std::net::IpAddr, wanted: &str) -> bool {
    let prefix = |text: &str| text.rsplit_once('.').map(|(p, _)| p.to_owned());
    match wanted.split_once('/') {
        None => address.to_string() == wanted,
        Some(("0.0.0.0", "0")) => address.is_ipv4(),
        Some(("fd00::", "16")) => address.to_string().starts_with("fd00:"),
        Some((network, "24")) => prefix(network) == prefix(&address.to_string()),
        Some(_) => panic!("{wanted}"),
    }
}

fn like(text: &str, wanted: &str) -> bool {
    if wanted == "*" {
        !text.is_empty()
    } else if let Some(end) = wanted.strip_prefix('*') {
        text.ends_with(end)
    } else if let Some(start) = wanted.strip_suffix('*') {
        text.starts_with(start)
    } else {
        text == wanted
    }
}

fn some<'a>(random: &mut fastrand::Rng, of: &[&'a str]) -> Vec<&'a str> {
    (0..random.usize(1..3))
        .map(|_| *random.choice(of).unwrap())
        .collect()
}

fn random_fields(random: &mut fastrand::Rng, of: &[(&str, &[&str])]) -> Value {
    let mut object = serde_json::Map::new();
    while object.is_empty() {
        for (key, values) in of {
            if random.u8(..3) == 0 {
                object.insert((*key).to_owned(), json!(some(random, values)));
            }
        }
    }
    Value::Object(object)
}

fn random_spec(random: &mut fastrand::Rng) -> Value {
    const PRINCIPALS: &[&str] = &[
        "mesh.example/ns/shop/sa/a",
        "cluster.local/ns/shop/sa/b",
        "old.example/ns/bank/sa/*",
        "*/sa/a",
        "*",
        "other.example/ns/shop/sa/a",
        "mesh.example/*",
        "*/ns/shop/sa/a",
        "*example/ns/other/sa/b",
        "cluster.local/ns/shop/sa/*",
        "old.example/ns/sh*",
    ];
    const ACCOUNTS: &[&str] = &["a", "b", "shop/a", "bank/b", "test/a"];
    const NAMES: &[&str] = &["back.example", "*.example", "back*", "*", "other.example"];
    const NAMESPACES: &[&str] = &["shop", "bank", "sh*", "*nk", "*"];
    const BLOCKS: &[&str] = &[
        "10.0.0.9",
        "10.0.0.0/24",
        "10.0.1.0/24",
        "0.0.0.0/0",
        "fd00::/16",
        "fd00::9",
    ];
    const PORTS: &[&str] = &["80", "8080", "443"];
    let sources = [
        ("principals", PRINCIPALS),
        ("notPrincipals", PRINCIPALS),
        ("namespaces", NAMESPACES),
        ("notNamespaces", NAMESPACES),
        ("ipBlocks", BLOCKS),
        ("notIpBlocks", BLOCKS),
    ];
    let accounts = [
        ("serviceAccounts", ACCOUNTS),
        ("notServiceAccounts", ACCOUNTS),
        ("ipBlocks", BLOCKS),
        ("notIpBlocks", BLOCKS),
    ];
    let operations = [("ports", PORTS), ("notPorts", PORTS)];
    let keys = [
        ("source.ip", BLOCKS),
        ("source.principal", PRINCIPALS),
        ("source.namespace", NAMESPACES),
        ("destination.port", PORTS),
        ("destination.ip", BLOCKS),
        ("source.serviceAccount", ACCOUNTS),
        ("connection.sni", NAMES),
    ];
    let rules: Vec<_> = (0..random.usize(1..3))
        .map(|_| {
            let mut rule = json!({});
            if random.bool() {
                let from: Vec<_> = (0..random.usize(1..3))
                    .map(|_| match random.u8(..4) {
                        0 => json!({"source": random_fields(random, &accounts)}),
                        _ => json!({"source": random_fields(random, &sources)}),
                    })
                    .collect();
                rule["from"] = json!(from);
            }
            if random.bool() {
                let to: Vec<_> = (0..random.usize(1..3))
                    .map(|_| json!({"operation": random_fields(random, &operations)}))
                    .collect();
                rule["to"] = json!(to);
            }
            let mut when = Vec::new();
            while random.u8(..3) == 0 {
                let (key, values) = *random.choice(&keys).unwrap();
                let mut one = random_fields(random, &[("values", values), ("notValues", values)]);
                one["key"] = json!(key);
                when.push(one);
            }
            if !when.is_empty() {
                rule["when"] = json!(when);
            }
            rule
        })
        .collect();
    let mut spec = json!({"rules": rules});
    match random.u8(..9) {
        0..3 => spec["action"] = json!("DENY"),
        3 => spec["action"] = json!("AUDIT"),
        4 => spec["rules"] = json!(null),
        _ => {}
    }
    let mut labels = serde_json::Map::new();
    for (key, values) in [("app", ["web", "db"]), ("tier", ["1", "2"])] {
        if random.u8(..3) == 0 {
            labels.insert(key.to_owned(), json!(random.choice(values).unwrap()));
        }
    }
    if !labels.is_empty() {
        spec["selector"] = json!({"matchLabels": labels});
    }
    spec
}

fn random_case(random: &mut fastrand::Rng) -> Case {
    let mut policy = |number: usize| {
        let namespace = random.choice(["shop", "bank", ROOT]).unwrap();
        let dry_run = random.u8(..5) == 0;
        (
            format!("{namespace}/{number}"),
            random_spec(random),
            dry_run,
        )
    };
    let policies = (0..3).map(&mut policy).collect::<Vec<_>>();
    let some = random.usize(..=policies.len());
    let labels = ["app=web,tier=1", "app=db,tier=2", "app=db", "tier=1"];
    Case {
        policies: policies[..some].to_vec(),
        namespace: random.choice(["shop", "bank"]).unwrap().to_owned(),
        labels: random.choice(labels).unwrap().to_owned(),
    }
}

fn random_connection<'a>(
    random: &mut fastrand::Rng,
    principals: &'a [Option<SpiffeId>],
) -> Attributes<'a> {
    let sources = ["10.0.0.9", "10.0.1.7", "10.0.0.1", "fd00::9"];
    let destinations = ["10.0.0.1", "10.0.1.1", "fd00::1"];
    let names = [None, Some("back.example"), Some("other.example"), Some("")];
    Attributes {
        principal: random.choice(principals).unwrap().as_ref(),
        source: random.choice(sources).unwrap().parse().unwrap(),
        destination: random.choice(destinations).unwrap().parse().unwrap(),
        port: random.choice([80, 8080, 9000]).unwrap(),
        sni: random.choice(names).unwrap(),
    }
}

#[test]
fn a_simpler_implementation_agrees() {
    let mut random = fastrand::Rng::with_seed(4);
    let principals = [
        Some(id("mesh.example/ns/shop/sa/a")),
        Some(id("mesh.example/ns/bank/sa/b")),
        Some(id("old.example/ns/shop/sa/b")),
        Some(id("other.example/ns/shop/sa/a")),
        None,
    ];
    let mut verdicts = [0, 0];
    for _ in 0..20_000 {
        let case = random_case(&mut random);
        let policies = case
            .policies
            .iter()
            .map(|(name, spec, dry_run)| read(name, *dry_run, spec.clone()).unwrap().into());
        let compiled = Authorization::compile(ROOT, &domains(), policies.collect());
        let server = workload(&case.namespace, &case.labels);
        for _ in 0..4 {
            let connection = random_connection(&mut random, &principals);
            let decided = compiled.decide(&server, &connection);
            let allowed = decided.enforced.is_allowed();
            let expected = decide(&case, &connection, false);
            assert_eq!(allowed, expected, "{connection:?} {:?}", case.policies);
            let tried = decided
                .dry_run
                .map_or(allowed, |dry_run| dry_run.is_allowed());
            let expected = decide(&case, &connection, true);
            assert_eq!(tried, expected, "{connection:?} {:?}", case.policies);
            verdicts[usize::from(allowed)] += 1;
        }
    }
    assert!(verdicts.iter().all(|count| *count > 10_000), "{verdicts:?}");
}
