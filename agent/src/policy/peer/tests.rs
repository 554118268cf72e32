//! Precedence of documents, by examples and against a second implementation that is simpler and slower.

use super::*;
use crate::{
    policy::{
        DocumentKind, Documents, Policy, Scope as PolicyScope, WorkloadSelector,
        testing::{labels, workload},
    },
    workload::Workload,
};

const ROOT: &str = "istio-system";

/// A document before anybody has asked whether it makes sense.
#[derive(Clone, Debug)]
struct Written {
    reference: DocumentRef,
    created: Option<i64>,
    spec: PeerAuthenticationSpec,
}

impl Written {
    fn read(self) -> Result<PeerAuthentication, Vec<String>> {
        let Self {
            reference,
            created,
            spec,
        } = self;
        let shown = reference.to_string();
        PeerAuthentication::new(reference, created, spec).map_err(|errors| {
            let error = |e: crate::policy::Invalid| format!("{shown}: {}: {}", e.field, e.reason);
            errors.into_iter().map(error).collect()
        })
    }
}

/// `NAMESPACE/NAME`, age, spec in YAML's flow style, which is JSON but for quotes.
fn document(name: &str, created: impl Into<Option<i64>>, spec: &str) -> Written {
    let (namespace, name) = name.split_once('/').unwrap();
    Written {
        reference: DocumentRef::new(DocumentKind::PeerAuthentication, namespace, name),
        created: created.into(),
        spec: serde_json::from_str(spec).unwrap(),
    }
}

fn mtls(mode: &str) -> String {
    format!(r#"{{"mtls": {{"mode": "{mode}"}}}}"#)
}

fn selected(own: &str, mode: &str, ports: &[(u16, &str)]) -> String {
    let (key, value) = own.split_once('=').unwrap();
    let ports: Vec<_> = ports
        .iter()
        .map(|(port, mode)| format!(r#""{port}": {{"mode": "{mode}"}}"#))
        .collect();
    let ports = match ports.as_slice() {
        [] => "null".to_owned(),
        ports => format!("{{{}}}", ports.join(", ")),
    };
    format!(
        r#"{{"selector": {{"matchLabels": {{"{key}": "{value}"}}}}, "mtls": {{"mode": "{mode}"}},
            "portLevelMtls": {ports}}}"#
    )
}

fn compile(documents: Vec<Written>) -> Policy {
    let read = documents.into_iter().map(|d| d.read().unwrap());
    let scope = PolicyScope {
        root_namespace: ROOT,
        cluster_domain: "cluster.local",
        trust_domains: &[],
    };
    let documents = Documents {
        peer_authentications: read.collect(),
        ..Documents::default()
    };
    Policy::compile(scope, documents)
}

fn errors(documents: Vec<Written>) -> Vec<String> {
    let errors = documents.into_iter().filter_map(|d| d.read().err());
    errors.flatten().collect()
}

/// Mode, and name of the document.
fn mode<'a>(policy: &'a Policy, workload: &Workload, port: u16) -> (Mode, Option<&'a str>) {
    let Effective { mode, document } = policy.mode(workload, port);
    (mode, document.map(|d| d.name.as_str()))
}

#[test]
fn permissive_when_nothing_is_said() {
    let policy = compile(Vec::new());
    let found = mode(&policy, &workload("shop", "app=web"), 80);
    assert_eq!(found, (Mode::Permissive, None));
}

#[test]
fn the_narrower_scope_wins() {
    let policy = compile(vec![
        document("istio-system/mesh", 1, &mtls("STRICT")),
        document("shop/namespace", 2, &mtls("PERMISSIVE")),
        document(
            "shop/web",
            3,
            &selected("app=web", "STRICT", &[(8080, "DISABLE")]),
        ),
    ]);
    let web = workload("shop", "app=web,tier=front");
    assert_eq!(mode(&policy, &web, 8080), (Mode::Disable, Some("web")));
    assert_eq!(mode(&policy, &web, 80), (Mode::Strict, Some("web")));
    assert_eq!(policy.port_modes(&web), [(8080, Mode::Disable)]);
    let database = workload("shop", "app=db");
    assert_eq!(
        mode(&policy, &database, 8080),
        (Mode::Permissive, Some("namespace"))
    );
    assert!(policy.port_modes(&database).is_empty());
    assert_eq!(
        mode(&policy, &workload("bank", "app=web"), 8080),
        (Mode::Strict, Some("mesh"))
    );
    assert_eq!(
        mode(&policy, &workload(ROOT, "app=web"), 80),
        (Mode::Strict, Some("mesh"))
    );
}

#[test]
fn unset_means_the_wider_scope_at_every_level() {
    let policy = compile(vec![
        document("istio-system/mesh", 1, &mtls("STRICT")),
        document("shop/namespace", 1, &mtls("UNSET")),
        document(
            "shop/web",
            1,
            &selected("app=web", "UNSET", &[(1, "UNSET"), (2, "DISABLE")]),
        ),
        document(
            "shop/db",
            1,
            &selected("app=db", "PERMISSIVE", &[(1, "UNSET")]),
        ),
        document("bank/empty", 1, "{}"),
    ]);
    let web = workload("shop", "app=web");
    assert_eq!(mode(&policy, &web, 1), (Mode::Strict, Some("mesh")));
    assert_eq!(mode(&policy, &web, 2), (Mode::Disable, Some("web")));
    assert_eq!(mode(&policy, &web, 3), (Mode::Strict, Some("mesh")));
    assert_eq!(policy.port_modes(&web), [(2, Mode::Disable)]);
    let database = workload("shop", "app=db");
    assert_eq!(mode(&policy, &database, 1), (Mode::Permissive, Some("db")));
    assert_eq!(
        mode(&policy, &workload("bank", ""), 1),
        (Mode::Strict, Some("mesh"))
    );
    let unset = compile(vec![document("istio-system/mesh", 1, &mtls("UNSET"))]);
    assert_eq!(mode(&unset, &web, 1), (Mode::Permissive, None));
}

#[test]
fn the_oldest_of_a_scope_wins_whole() {
    let policy = compile(vec![
        document("shop/b-young", 20, &mtls("DISABLE")),
        document("shop/c-old", 10, &mtls("STRICT")),
        document("shop/a-ageless", None, &mtls("PERMISSIVE")),
        document(
            "shop/w2",
            7,
            &selected("app=web", "DISABLE", &[(80, "PERMISSIVE")]),
        ),
        document("shop/w1", 6, &selected("tier=x", "UNSET", &[])),
    ]);
    assert_eq!(
        mode(&policy, &workload("shop", ""), 80),
        (Mode::Strict, Some("c-old"))
    );
    // UNSET of the winner is the namespace's mode, not the younger document's.
    let both = workload("shop", "app=web,tier=x");
    assert_eq!(mode(&policy, &both, 80), (Mode::Strict, Some("c-old")));
    let ignored: Vec<_> = policy.ignored().iter().map(ToString::to_string).collect();
    assert_eq!(
        ignored,
        [
            "PeerAuthentication/shop/b-young has no effect: PeerAuthentication/shop/c-old is older \
             and has the same scope",
            "PeerAuthentication/shop/a-ageless has no effect: PeerAuthentication/shop/c-old is older \
             and has the same scope",
        ]
    );
}

#[test]
fn ties_go_by_name() {
    for created in [None, Some(5)] {
        let policy = compile(vec![
            document("shop/b", created, &mtls("DISABLE")),
            document("shop/a", created, &mtls("STRICT")),
        ]);
        let found = mode(&policy, &workload("shop", ""), 80);
        assert_eq!(found, (Mode::Strict, Some("a")));
    }
}

#[test]
fn selectors_in_the_root_namespace_select_nothing() {
    let spec = selected("app=web", "DISABLE", &[(80, "DISABLE")]);
    let policy = compile(vec![
        document("istio-system/web", 1, &spec),
        document("istio-system/mesh", 2, &mtls("STRICT")),
    ]);
    for namespace in ["shop", ROOT] {
        let found = mode(&policy, &workload(namespace, "app=web"), 80);
        assert_eq!(found, (Mode::Strict, Some("mesh")));
    }
    assert!(matches!(
        policy.ignored(),
        [Ignored::SelectorInRoot { document }] if document.name == "web"
    ));
}

#[test]
fn an_empty_selector_is_none() {
    for selector in [
        "null",
        "{}",
        r#"{"matchLabels": {}}"#,
        r#"{"matchLabels": null}"#,
    ] {
        let spec = format!(r#"{{"selector": {selector}, "mtls": {{"mode": "STRICT"}}}}"#);
        let policy = compile(vec![document("shop/all", 1, &spec)]);
        assert_eq!(mode(&policy, &workload("shop", "a=b"), 1).0, Mode::Strict);
        let ports = format!(
            r#"{{"selector": {selector}, "portLevelMtls": {{"80": {{"mode": "STRICT"}}}}}}"#
        );
        assert_eq!(errors(vec![document("shop/all", 1, &ports)]).len(), 1);
    }
}

#[test]
fn senseless_documents_are_all_named() {
    let mut many = Vec::new();
    for port in 1..=33 {
        many.push((port, "STRICT"));
    }
    let spec = |port: &str| {
        format!(
            r#"{{"selector": {{"matchLabels": {{"a": "b"}}}}, "portLevelMtls": {{"{port}": {{}}}}}}"#
        )
    };
    let mut documents: Vec<_> = ["0", "65536", "080", "+80", "http", "-1", ""]
        .iter()
        .enumerate()
        .map(|(index, port)| document(&format!("shop/port{index}"), 1, &spec(port)))
        .collect();
    documents.push(document("shop/many", 1, &selected("a=b", "STRICT", &many)));
    documents.push(document("shop/star", 1, &selected("a=*", "STRICT", &[])));
    documents.push(document("shop/nameless", 1, &selected("=x", "STRICT", &[])));
    let found = errors(documents);
    assert_eq!(found.len(), 10, "{found:#?}");
    assert!(found[0].contains("shop/port0: spec.portLevelMtls.0: \"0\" is not a port number"));
    assert!(found[7].contains("PeerAuthentication/shop/many: spec.portLevelMtls: 33 ports"));
}

#[test]
fn misspelt_fields_and_modes_are_refused() {
    for spec in [
        r#"{"mTLS": {"mode": "STRICT"}}"#,
        r#"{"mtls": {"mod": "STRICT"}}"#,
        r#"{"mtls": {"mode": "strict"}}"#,
        r#"{"mtls": {"mode": 3}}"#,
        r#"{"mtls": "STRICT"}"#,
        r#"{"selector": {"app": "web"}}"#,
        r#"{"selector": {"matchLabels": {"a": 1}}}"#,
        r#"{"portLevelMtls": {"80": "STRICT"}}"#,
        r#"{"portLevelMtls": {"80": null}}"#,
        r#"{"portLevelMtls": [80]}"#,
    ] {
        assert!(
            serde_json::from_str::<PeerAuthenticationSpec>(spec).is_err(),
            "{spec}"
        );
    }
}

/// Straight from Istio's reference: collect what applies, take the oldest of each scope, override.
fn naive_mode(documents: &[Written], workload: &Workload, port: u16) -> Mode {
    let oldest = |applies: &dyn Fn(&Written, bool) -> bool| {
        let mut found: Option<&Written> = None;
        for document in documents {
            let selector = document.spec.selector.as_ref();
            let everything = selector.is_none_or(|s| s.match_labels.is_empty());
            let age = |d: &Written| (d.created.unwrap_or(i64::MAX), d.reference.name.clone());
            if applies(document, everything) && found.is_none_or(|best| age(document) < age(best)) {
                found = Some(document);
            }
        }
        found
    };
    let namespace = workload.namespace();
    let mesh = oldest(&|d, everything| everything && d.reference.namespace == ROOT);
    let namespaced = oldest(&|d, everything| {
        everything && d.reference.namespace == namespace && namespace != ROOT
    });
    let own = oldest(&|d, everything| {
        let selector = d.spec.selector.clone().unwrap_or_default();
        let matches = |(k, v): (&String, &String)| workload.labels.get(k) == Some(v);
        !everything
            && d.reference.namespace == namespace
            && namespace != ROOT
            && selector.match_labels.iter().all(matches)
    });
    let mut mode = Mode::Permissive;
    for document in [mesh, namespaced, own].into_iter().flatten() {
        if let Some(said) = document.spec.mtls.and_then(|m| m.mode.explicit()) {
            mode = said;
        }
    }
    let ports = own.and_then(|d| d.spec.port_level_mtls.as_ref());
    let said = ports.and_then(|ports| ports.get(&port.to_string())?.mode.explicit());
    said.unwrap_or(mode)
}

fn random_document(random: &mut fastrand::Rng, index: usize) -> Written {
    let mode = |random: &mut fastrand::Rng| MutualTls {
        mode: [
            WrittenMode::Unset,
            WrittenMode::Disable,
            WrittenMode::Permissive,
            WrittenMode::Strict,
        ][random.usize(..4)],
    };
    let own = ["", "app=a", "app=b", "tier=x", "app=a,tier=x"][random.usize(..5)];
    let ports = if own.is_empty() { 0 } else { random.usize(..4) };
    let namespace = [ROOT, "shop", "bank"][random.usize(..3)];
    let name = format!("{}{index}", random.alphabetic());
    Written {
        reference: DocumentRef::new(DocumentKind::PeerAuthentication, namespace, &name),
        created: random.bool().then(|| random.i64(..4)),
        spec: PeerAuthenticationSpec {
            selector: (random.bool() || !own.is_empty()).then(|| WorkloadSelector {
                match_labels: labels(own),
            }),
            mtls: random.bool().then(|| mode(random)),
            port_level_mtls: (ports > 0).then(|| {
                (0..ports)
                    .map(|_| (random.u16(80..84).to_string(), mode(random)))
                    .collect()
            }),
        },
    }
}

#[test]
fn agrees_with_the_naive_reading_of_random_documents() {
    let mut random = fastrand::Rng::with_seed(42);
    for _ in 0..3_000 {
        let count = random.usize(..10);
        let documents: Vec<_> = (0..count)
            .map(|index| random_document(&mut random, index))
            .collect();
        let policy = compile(documents.clone());
        for namespace in [ROOT, "shop", "bank", "other"] {
            for own in ["", "app=a", "app=b,tier=x", "app=a,tier=x,more=y"] {
                let workload = workload(namespace, own);
                for port in 79..85 {
                    let expected = naive_mode(&documents, &workload, port);
                    assert_eq!(
                        policy.mode(&workload, port).mode,
                        expected,
                        "{documents:#?}"
                    );
                    let ports = policy.port_modes(&workload);
                    let of_port = ports
                        .iter()
                        .find(|(p, _)| *p == port)
                        .map(|(_, mode)| *mode);
                    let through_list = of_port.unwrap_or(policy.workload_mode(&workload).mode);
                    assert_eq!(
                        through_list, expected,
                        "the kernel's view of {documents:#?}"
                    );
                }
            }
        }
    }
}
