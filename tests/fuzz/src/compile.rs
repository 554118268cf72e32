//! Policies -> what they say of connections: the same in every order of the documents, and nothing gets past a
//! document that denies all.

#![no_main]

mod generate;

use libfuzzer_sys::{arbitrary::Unstructured, fuzz_target};
use sealane::{
    identity::SpiffeId,
    policy::{Attributes, Decision, Outcome, Verdict},
    store::Snapshot,
};
use sealane_fuzz::{read, settings};
use serde_json::{Value, json};

const CLIENTS: [&str; 5] = [
    "spiffe://mesh.example/ns/shop/sa/a",
    "spiffe://mesh.example/ns/bank/sa/b",
    "spiffe://old.example/ns/shop/sa/b",
    "spiffe://cluster.local/ns/shop/sa/a",
    "spiffe://other.example/ns/shop/sa/a",
];
const SOURCES: [&str; 3] = ["10.0.0.9", "10.0.1.7", "fd00::1"];
const PORTS: [u16; 3] = [80, 8080, 443];

fuzz_target!(|data: &[u8]| {
    let mut random = Unstructured::new(data);
    let Ok(policies) = generate::policies(&mut random) else {
        return;
    };
    let Some(before) = compile(&policies) else {
        return;
    };
    let decisions = decide(&before);
    let reversed: Vec<_> = policies.iter().rev().cloned().collect();
    let other_order = compile(&reversed).expect("the same documents");
    assert_eq!(decisions, decide(&other_order), "{policies:?}");

    let deny = json!({"action": "DENY", "rules": [{}]});
    let deny = generate::document("istio-system", "deny-all", &deny);
    let denying = compile(&[policies.clone(), vec![deny]].concat()).expect("one more document");
    let denied = decide(&denying);
    let refused = |said: &Said| said.verdict != Verdict::Allow;
    assert!(denied.iter().all(refused), "{denied:?}");

    let none: Vec<_> = policies.into_iter().filter(generate::allows).collect();
    let only_allow = compile(&none).expect("fewer documents");
    for (with, without) in decisions.iter().zip(decide(&only_allow)) {
        let widened = !refused(with) && refused(&without);
        assert!(!widened, "a DENY document allows: {with:?}, {without:?}");
    }
});

/// `None`: something is wrong with a document.
fn compile(policies: &[Value]) -> Option<Snapshot> {
    let documents = generate::pods().into_iter().chain(policies.iter().cloned());
    let texts: Vec<_> = documents.map(|document| document.to_string()).collect();
    let loaded = read(&texts, &settings()).ok()?;
    Some(loaded.mesh.into_snapshot())
}

/// What policy says of a connection.
#[derive(Debug, PartialEq, Eq)]
struct Said {
    verdict: Verdict,
    by: Option<(String, usize)>,
    dry_run: Option<Option<(String, usize)>>,
}

impl From<Decision<'_>> for Said {
    fn from(decision: Decision<'_>) -> Self {
        let by = |outcome: Outcome<'_>| match outcome {
            Outcome::Allowed(by) | Outcome::Denied(by) => Some((by.document.name.clone(), by.rule)),
            Outcome::Unrestricted | Outcome::NotAllowed => None,
        };
        Self {
            verdict: decision.verdict,
            by: by(decision.authorization),
            dry_run: decision.dry_run.map(by),
        }
    }
}

/// For many connections.
fn decide(snapshot: &Snapshot) -> Vec<Said> {
    let clients = CLIENTS.map(|id| Some(id.parse::<SpiffeId>().expect("a SPIFFE ID")));
    let mut servers: Vec<_> = snapshot.workloads().collect();
    servers.sort_by(|a, b| a.name.cmp(&b.name));
    assert!(!servers.is_empty());
    let mut decisions = Vec::new();
    for server in servers {
        for client in clients.iter().chain([&None]) {
            for (source, port) in SOURCES.iter().zip(PORTS) {
                let connection = Attributes {
                    principal: client.as_ref(),
                    source: source.parse().expect("an address"),
                    destination: server.addresses[0],
                    port,
                    sni: (port == 443).then_some("web.example"),
                };
                let decision = snapshot.policy.evaluate(server, &connection);
                let allowed = decision.authorization.is_allowed();
                assert!(allowed || decision.verdict != Verdict::Allow);
                if let Some(Outcome::Unrestricted) = decision.dry_run {
                    assert_eq!(decision.authorization, Outcome::Unrestricted);
                }
                decisions.push(decision.into());
            }
        }
    }
    decisions
}
