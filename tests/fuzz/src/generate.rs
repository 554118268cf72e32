//! Policies from bytes: mostly good ones, so that what comes after reading them is reached.

use libfuzzer_sys::arbitrary::{Result, Unstructured};
use serde_json::{Map, Value, json};

const NAMESPACES: [&str; 3] = ["shop", "bank", "istio-system"];
const PRINCIPALS: &[&str] = &[
    "mesh.example/ns/shop/sa/a",
    "cluster.local/ns/shop/sa/b",
    "old.example/ns/bank/sa/*",
    "mesh.example/ns/shop/*",
    "*/ns/shop/sa/a",
    "*/sa/a",
    "*ns/bank/sa/b",
    "*",
    "mesh.example/*",
    "mesh.example/ns/shop/sa/a/b",
    "mesh.example/ns/sh*",
    "/",
];
const NAMES: &[&str] = &["shop", "bank", "sh*", "*nk", "*"];
const ACCOUNTS: &[&str] = &["a", "shop/a", "bank/b"];
const BLOCKS: &[&str] = &["10.0.0.9", "10.0.0.0/24", "fd00::/8", "0.0.0.0/0"];
const PORTS: &[&str] = &["80", "8080", "443"];
const HOSTS: &[&str] = &["web.example", "*.example", "*"];

/// What a field may hold.
type Field = (&'static str, &'static [&'static str]);

const SOURCES: &[Field] = &[
    ("principals", PRINCIPALS),
    ("notPrincipals", PRINCIPALS),
    ("namespaces", NAMES),
    ("notNamespaces", NAMES),
    ("ipBlocks", BLOCKS),
    ("notIpBlocks", BLOCKS),
];
const LABELS: &[Field] = &[("app", &["web", "db"]), ("tier", &["1", "2"])];
const ACCOUNT: &[Field] = &[
    ("serviceAccounts", ACCOUNTS),
    ("notServiceAccounts", ACCOUNTS),
];
const OPERATIONS: &[Field] = &[("ports", PORTS), ("notPorts", PORTS)];
const CONDITIONS: &[Field] = &[
    ("source.ip", BLOCKS),
    ("destination.ip", BLOCKS),
    ("source.principal", PRINCIPALS),
    ("source.namespace", NAMES),
    ("source.serviceAccount", ACCOUNTS),
    ("destination.port", PORTS),
    ("connection.sni", HOSTS),
];

/// Two servers in each namespace but the root's.
pub fn pods() -> Vec<Value> {
    let pod = |number: usize, namespace: &str, labels: &Value| {
        json!({
            "apiVersion": "v1",
            "kind": "Pod",
            "metadata": {"name": format!("pod-{number}"), "namespace": namespace, "labels": labels},
            "spec": {"nodeName": "a", "containers": [{"name": "main"}]},
            "status": {"phase": "Running", "podIP": format!("10.0.0.{}", number + 1)},
        })
    };
    vec![
        pod(0, "shop", &json!({"app": "web", "tier": "1", "zone": "x"})),
        pod(1, "shop", &json!({"app": "db"})),
        pod(2, "bank", &json!({"app": "web", "tier": "2"})),
        pod(3, "bank", &json!({})),
    ]
}

/// Up to six documents, one kind of them.
pub fn policies(random: &mut Unstructured<'_>) -> Result<Vec<Value>> {
    let count = random.int_in_range(1..=6)?;
    let policy = |number| {
        let namespace = *random.choose(&NAMESPACES)?;
        let spec = spec(random)?;
        let mut policy = document(namespace, &format!("policy-{number}"), &spec);
        if random.ratio(1, 6)? {
            policy["metadata"]["annotations"] = json!({"istio.io/dry-run": "true"});
        }
        Ok(policy)
    };
    (0..count).map(policy).collect()
}

/// An `AuthorizationPolicy`.
pub fn document(namespace: &str, name: &str, spec: &Value) -> Value {
    json!({
        "apiVersion": "security.istio.io/v1",
        "kind": "AuthorizationPolicy",
        "metadata": {"name": name, "namespace": namespace},
        "spec": spec,
    })
}

/// Whether a document is one that allows.
pub fn allows(document: &Value) -> bool {
    document["spec"]["action"] != "DENY"
}

fn spec(random: &mut Unstructured<'_>) -> Result<Value> {
    let rules = (0..random.int_in_range(0..=3)?).map(|_| rule(random));
    let mut spec = json!({"rules": rules.collect::<Result<Vec<_>>>()?});
    if random.ratio(1, 3)? {
        spec["action"] = json!("DENY");
    }
    if random.ratio(1, 2)? {
        let mut labels = Map::new();
        for (key, values) in LABELS {
            if random.arbitrary()? {
                labels.insert((*key).to_owned(), json!(random.choose(values)?));
            }
        }
        spec["selector"] = json!({"matchLabels": labels});
    }
    Ok(spec)
}

fn rule(random: &mut Unstructured<'_>) -> Result<Value> {
    let mut rule = json!({});
    if random.arbitrary()? {
        let from = (0..random.int_in_range(1..=2)?).map(|_| {
            let known = match random.ratio(1, 4)? {
                true => ACCOUNT,
                false => SOURCES,
            };
            Ok(json!({"source": fields(random, known)?}))
        });
        rule["from"] = json!(from.collect::<Result<Vec<_>>>()?);
    }
    if random.arbitrary()? {
        let to = (0..random.int_in_range(1..=2)?)
            .map(|_| Ok(json!({"operation": fields(random, OPERATIONS)?})));
        rule["to"] = json!(to.collect::<Result<Vec<_>>>()?);
    }
    if random.ratio(1, 3)? {
        let (key, values) = *random.choose(CONDITIONS)?;
        let mut when = fields(random, &[("values", values), ("notValues", values)])?;
        when["key"] = json!(key);
        rule["when"] = json!([when]);
    }
    Ok(rule)
}

/// At least one of them.
fn fields(random: &mut Unstructured<'_>, known: &[Field]) -> Result<Value> {
    let sure = random.choose_index(known.len())?;
    let mut object = Map::new();
    for (index, (key, values)) in known.iter().enumerate() {
        if index == sure || random.ratio(1, 4)? {
            let some = (0..random.int_in_range(1..=2)?).map(|_| random.choose(values));
            object.insert((*key).to_owned(), json!(some.collect::<Result<Vec<_>>>()?));
        }
    }
    Ok(Value::Object(object))
}
