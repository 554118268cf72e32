//! Istio's documentation once more, read from the document at every question; and documents at random.

use serde_json::{Value, json};

use super::{Attributes, ROOT, compile, id};
use crate::{identity::SpiffeId, policy::testing::workload};

struct Case {
    policies: Vec<(String, Value)>,
    namespace: String,
    labels: String,
}

fn decide(case: &Case, connection: &Attributes<'_>) -> bool {
    let applies = |(name, spec): &&(String, Value)| {
        let namespace = name.split('/').next().unwrap();
        let selector = spec["selector"]["matchLabels"]
            .as_object()
            .cloned()
            .unwrap_or_default();
        let own: Vec<_> = case.labels.split(',').collect();
        (namespace == ROOT || namespace == case.namespace)
            && selector
                .iter()
                .all(|(k, v)| own.contains(&format!("{k}={}", v.as_str().unwrap()).as_str()))
    };
    let applying: Vec<_> = case.policies.iter().filter(applies).collect();
    let of = |action: &str| -> Vec<&Value> {
        let is =
            |(_, spec): &&&(String, Value)| spec["action"].as_str().unwrap_or("ALLOW") == action;
        applying.iter().filter(is).map(|(_, spec)| spec).collect()
    };
    let matches = |spec: &&Value| rules(spec, connection);
    if of("DENY").iter().any(matches) {
        return false;
    }
    of("ALLOW").is_empty() || of("ALLOW").iter().any(matches)
}

fn list<'v>(value: &'v Value, key: &str) -> &'v [Value] {
    value[key].as_array().map_or(&[], Vec::as_slice)
}

fn rules(spec: &Value, c: &Attributes<'_>) -> bool {
    list(spec, "rules").iter().any(|rule| {
        let from = list(rule, "from");
        let to = list(rule, "to");
        (from.is_empty() || from.iter().any(|f| fields(&f["source"], c)))
            && (to.is_empty() || to.iter().any(|t| fields(&t["operation"], c)))
            && list(rule, "when").iter().all(|w| condition(w, c))
    })
}

fn fields(object: &Value, c: &Attributes<'_>) -> bool {
    object.as_object().unwrap().iter().all(|(key, values)| {
        let (negated, attribute) = match key.strip_prefix("not") {
            Some(rest) => (true, rest.to_lowercase()),
            None => (false, key.to_lowercase()),
        };
        let any = values
            .as_array()
            .unwrap()
            .iter()
            .any(|v| one(&attribute, v.as_str().unwrap(), c));
        any != negated
    })
}

fn condition(when: &Value, c: &Attributes<'_>) -> bool {
    let attribute = match when["key"].as_str().unwrap() {
        "source.ip" => "ipblocks",
        "source.principal" => "principals",
        "source.namespace" => "namespaces",
        "destination.port" => "ports",
        other => panic!("{other}"),
    };
    let any = |key: &str| {
        list(when, key)
            .iter()
            .any(|v| one(attribute, v.as_str().unwrap(), c))
    };
    (list(when, "values").is_empty() || any("values")) && !any("notValues")
}

fn one(attribute: &str, wanted: &str, c: &Attributes<'_>) -> bool {
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
        "ipblocks" => match wanted.split_once('/') {
            None => c.source.to_string() == wanted,
            Some((network, "24")) => {
                let prefix = |text: &str| text.rsplit_once('.').map(|(p, _)| p.to_owned());
                prefix(network) == prefix(&c.source.to_string())
            }
            Some(_) => panic!("{wanted}"),
        },
        "ports" => c.port.to_string() == wanted,
        other => panic!("{other}"),
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
    ];
    const NAMESPACES: &[&str] = &["shop", "bank", "sh*", "*nk", "*"];
    const BLOCKS: &[&str] = &["10.0.0.9", "10.0.0.0/24", "10.0.1.0/24"];
    const PORTS: &[&str] = &["80", "8080", "443"];
    let sources = [
        ("principals", PRINCIPALS),
        ("notPrincipals", PRINCIPALS),
        ("namespaces", NAMESPACES),
        ("notNamespaces", NAMESPACES),
        ("ipBlocks", BLOCKS),
        ("notIpBlocks", BLOCKS),
    ];
    let operations = [("ports", PORTS), ("notPorts", PORTS)];
    let keys = [
        ("source.ip", BLOCKS),
        ("source.principal", PRINCIPALS),
        ("source.namespace", NAMESPACES),
        ("destination.port", PORTS),
    ];
    let rules: Vec<_> = (0..random.usize(1..3))
        .map(|_| {
            let mut rule = json!({});
            if random.bool() {
                let from: Vec<_> = (0..random.usize(1..3))
                    .map(|_| json!({"source": random_fields(random, &sources)}))
                    .collect();
                rule["from"] = json!(from);
            }
            if random.bool() {
                let to: Vec<_> = (0..random.usize(1..3))
                    .map(|_| json!({"operation": random_fields(random, &operations)}))
                    .collect();
                rule["to"] = json!(to);
            }
            if random.u8(..3) == 0 {
                let (key, values) = *random.choice(&keys).unwrap();
                let mut when = random_fields(random, &[("values", values), ("notValues", values)]);
                when["key"] = json!(key);
                rule["when"] = json!([when]);
            }
            rule
        })
        .collect();
    let mut spec = json!({"rules": rules});
    if random.u8(..3) == 0 {
        spec["action"] = json!("DENY");
    }
    if random.bool() {
        let label = random.choice(["web", "db"]).unwrap();
        spec["selector"] = json!({"matchLabels": {"app": label}});
    }
    spec
}

fn random_case(random: &mut fastrand::Rng) -> Case {
    let mut policy = |number: usize| {
        let namespace = random.choice(["shop", "bank", ROOT]).unwrap();
        (format!("{namespace}/{number}"), random_spec(random))
    };
    let policies = (0..3).map(&mut policy).collect::<Vec<_>>();
    let some = random.usize(..=policies.len());
    let labels = ["app=web,tier=1", "app=db", "tier=1"];
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
    let sources = ["10.0.0.9", "10.0.1.7", "10.0.0.1"];
    Attributes {
        principal: random.choice(principals).unwrap().as_ref(),
        source: random.choice(sources).unwrap().parse().unwrap(),
        destination: "10.0.0.1".parse().unwrap(),
        port: random.choice([80, 8080, 9000]).unwrap(),
        sni: None,
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
        let named = case.policies.iter().map(|(n, s)| (n.as_str(), s.clone()));
        let compiled = compile(&named.collect::<Vec<_>>());
        let server = workload(&case.namespace, &case.labels);
        for _ in 0..4 {
            let connection = random_connection(&mut random, &principals);
            let allowed = compiled.decide(&server, &connection).enforced.is_allowed();
            let expected = decide(&case, &connection);
            assert_eq!(allowed, expected, "{connection:?} {:?}", case.policies);
            verdicts[usize::from(allowed)] += 1;
        }
    }
    assert!(verdicts.iter().all(|count| *count > 10_000), "{verdicts:?}");
}
