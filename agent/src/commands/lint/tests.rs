//! What lint says of documents that can be read.

use std::fs;

use clap::Parser;

use super::*;
use crate::cli::{Cli, Command, PolicyCommand};

fn linted(path: &Path) -> (String, bool) {
    let path = path.display().to_string();
    let cli = Cli::try_parse_from(["sealane", "policy", "lint", &path]).unwrap();
    let Command::Policy(PolicyCommand::Lint(args)) = cli.command else {
        panic!("another command");
    };
    let mut out = Vec::new();
    let code = lint(&args, &mut out).unwrap();
    let text = String::from_utf8(out).unwrap();
    (text.replace(&path, "DIR"), code == ExitCode::SUCCESS)
}

#[test]
fn what_is_probably_not_meant_is_told() {
    let dir = tempfile::tempdir().unwrap();
    let (text, good) = linted(dir.path());
    assert!(
        text.starts_with("error: DIR: no documents") && !good,
        "{text}"
    );
    fs::create_dir(dir.path().join("more")).unwrap();
    fs::create_dir(dir.path().join(".git")).unwrap();
    let policy = "apiVersion: security.istio.io/v1\nkind: AuthorizationPolicy\nmetadata: {name: p, namespace: shop}\n\
                  spec:\n  selector: {matchLabels: {app: a}}\n  rules:\n  - from:\n    - source:\n        \
                  principals: [spiffe://cluster.local/ns/shop/sa/a, \"cluster.local/ns/${NS}/sa/a\"]\n";
    fs::write(dir.path().join("policy.yaml"), policy).unwrap();
    let rule = "apiVersion: networking.istio.io/v1\nkind: DestinationRule\nmetadata: {name: r, namespace: shop}\n\
                spec: {host: nobody, trafficPolicy: {tls: {mode: DISABLE}}}\n";
    fs::write(dir.path().join("rule.yaml"), rule).unwrap();
    let alone = "warning: AuthorizationPolicy/shop/p: the principal \"spiffe://cluster.local/ns/shop/sa/a\" matches nobody: principals are written without `spiffe://`\n\
                 warning: AuthorizationPolicy/shop/p: the principal \"cluster.local/ns/${NS}/sa/a\" matches nobody: no identity has such characters; is it a placeholder?\n";
    let unread = "warning: DIR/more: directories within are not read\n";
    assert_eq!(
        linted(dir.path()),
        (
            format!("{alone}{unread}2 documents, no errors, 3 warnings\n"),
            true
        )
    );
    let pod = "{apiVersion: v1, kind: Pod, metadata: {name: p, namespace: shop}, status: {podIP: 10.0.0.1}}\n";
    fs::write(dir.path().join("pod.yaml"), pod).unwrap();
    let host = "warning: DestinationRule/shop/r is for nobody.shop.svc.cluster.local, which no service and no ServiceEntry has\n";
    let selector =
        "warning: AuthorizationPolicy/shop/p: its selector matches no pod of the namespace shop\n";
    assert_eq!(
        linted(dir.path()).0,
        format!("{alone}{host}{selector}{unread}3 documents, no errors, 5 warnings\n")
    );
}

/// Pods and services that are known.
const MESH: &str = "
apiVersion: v1
kind: List
items:
- apiVersion: v1
  kind: Pod
  metadata: {name: web-1, namespace: shop, labels: {app: web, version: v1}}
  spec: {containers: [{name: c, ports: [{containerPort: 8080}]}]}
  status: {podIP: 10.0.0.1}
- apiVersion: v1
  kind: Pod
  metadata: {name: bare, namespace: shop, labels: {app: bare}}
  status: {podIP: 10.0.0.2}
- apiVersion: v1
  kind: Service
  metadata: {name: web, namespace: shop}
  spec: {clusterIP: 10.96.0.1, selector: {app: web}, ports: [{port: 80, targetPort: 8081}]}
";

fn warnings(mesh: &str, documents: &str) -> Vec<String> {
    let dir = tempfile::tempdir().unwrap();
    fs::write(dir.path().join("mesh.yaml"), format!("{mesh}\n")).unwrap();
    fs::write(dir.path().join("p.yaml"), documents).unwrap();
    let (text, good) = linted(dir.path());
    assert!(good, "{text}");
    let warnings = text.lines().filter_map(|l| l.strip_prefix("warning: "));
    warnings.map(str::to_owned).collect()
}

fn policy(kind: &str, spec: &str) -> String {
    let group = match kind {
        "PeerAuthentication" | "AuthorizationPolicy" => "security",
        _ => "networking",
    };
    format!(
        "apiVersion: {group}.istio.io/v1\nkind: {kind}\nmetadata: {{name: p, namespace: shop}}\nspec: {spec}\n---\n"
    )
}

#[test]
fn ports_that_nobody_has_are_told() {
    let ports = |selector: &str, ports: &str| {
        let spec = format!(
            "{{selector: {selector}, rules: [{{to: [{{operation: {{ports: {ports}}}}}]}}]}}"
        );
        warnings(MESH, &policy("AuthorizationPolicy", &spec))
    };
    let web = "{matchLabels: {app: web}}";
    let nobody = "AuthorizationPolicy/shop/p names port";
    let found = ports(web, "[\"80\", \"8080\", \"8081\"]");
    assert_eq!(found.len(), 1, "{found:?}");
    assert!(found[0].starts_with(&format!("{nobody} 80, which no container")));
    assert!(found[0].ends_with(
        ". It is a port of service shop/web, whose pods have it as 8081: that is what policies name"
    ));
    // Where one of the pods declares nothing, nothing is known.
    for selector in ["{matchLabels: {app: bare}}", "{}"] {
        let found = ports(selector, "[\"9999\"]");
        assert!(!found.iter().any(|w| w.starts_with(nobody)), "{found:?}");
    }
    let modes = "{selector: {matchLabels: {app: web}}, portLevelMtls: {80: {mode: DISABLE}, 8080: {mode: STRICT}}}";
    let found = warnings(MESH, &policy("PeerAuthentication", modes));
    assert_eq!(found.len(), 1, "{found:?}");
    assert!(found[0].starts_with("PeerAuthentication/shop/p names port 80,"));
    let rule = "{host: web, trafficPolicy: {portLevelSettings: [{port: {number: 8081}, tls: {mode: DISABLE}}]}}";
    assert_eq!(
        warnings(MESH, &policy("DestinationRule", rule)),
        [
            "DestinationRule/shop/p names port 8081 of web.shop.svc.cluster.local, which has 80: it is the service's \
             ports that are named here"
        ]
    );
}

#[test]
fn subsets_that_nobody_is_part_of_are_told() {
    let route = |subset: &str| {
        let to = format!("{{destination: {{host: web, subset: {subset}}}}}");
        policy(
            "VirtualService",
            &format!("{{hosts: [web], http: [{{route: [{to}]}}]}}"),
        )
    };
    let rule = "{host: web, subsets: [{name: v1, labels: {version: v1}}, {name: v2, labels: {version: v2}}]}";
    let rule = policy("DestinationRule", rule);
    let undefined = "VirtualService/shop/p leads to subset v3 of web.shop.svc.cluster.local, which no DestinationRule \
                     defines: connections that it matches are refused";
    let empty = "VirtualService/shop/p leads to subset v2 of web.shop.svc.cluster.local, and no ready pod of that \
                 service has the labels which DestinationRule/shop/p asks for: connections that it matches are refused";
    for (mesh, documents, expected) in [
        (MESH, route("v1") + &rule, None),
        (MESH, route("v2") + &rule, Some(empty)),
        (MESH, route("v3") + &rule, Some(undefined)),
        (MESH, route("v3"), Some(undefined)),
        ("", route("v3") + &rule, Some(undefined)),
        // The rule may be elsewhere.
        ("", route("v3"), None),
    ] {
        let expected: Vec<_> = expected.into_iter().collect();
        assert_eq!(warnings(mesh, &documents), expected, "{documents}");
    }
}

#[test]
fn fields_with_nothing_behind_them_are_told() {
    for (kind, spec, expected) in [
        (
            "PeerAuthentication",
            "{selector: null, mtls: {mode: STRICT}}",
            "spec.selector: nothing is written here: the document is for all",
        ),
        (
            "PeerAuthentication",
            "{selector: {matchLabels: null}, mtls: {mode: STRICT}}",
            "spec.selector.matchLabels: nothing is written here: the document is for all",
        ),
        (
            "AuthorizationPolicy",
            "{selector: {}, rules: [{}]}",
            "spec.selector: nothing is written here: the document is for all",
        ),
        (
            "PeerAuthentication",
            "{mtls: {}}",
            "spec.mtls: nothing is written here: without a mode it is that of the wider scope",
        ),
        (
            "PeerAuthentication",
            "",
            "spec: nothing is written here: without a mode",
        ),
        (
            "AuthorizationPolicy",
            "",
            "spec: nothing is written here: an ALLOW policy without rules allows nobody",
        ),
        (
            "AuthorizationPolicy",
            "{rules: null}",
            "spec.rules: nothing is written here: an ALLOW policy without rules allows nobody",
        ),
        (
            "AuthorizationPolicy",
            "{rules: [{from: [{source: {principals: null, namespaces: [shop]}}]}]}",
            "spec.rules[0].from[0].source.principals: nothing is written here: it counts as if",
        ),
        (
            "AuthorizationPolicy",
            "{rules: [{from: [{source: {principals: [], namespaces: [shop]}}]}]}",
            "spec.rules[0].from[0].source.principals: nothing is written here: an empty list asks for nothing",
        ),
    ] {
        let found = warnings("", &policy(kind, spec));
        assert_eq!(found.len(), 1, "{spec}: {found:?}");
        let expected = format!("p.yaml:4: document 1: {expected}");
        assert!(found[0].starts_with(&expected), "{spec}: {found:?}");
    }
    for (kind, spec) in [
        ("AuthorizationPolicy", "{}"),
        ("AuthorizationPolicy", "{rules: [{}]}"),
        ("AuthorizationPolicy", "{rules: []}"),
    ] {
        assert!(warnings("", &policy(kind, spec)).is_empty(), "{spec}");
    }
}

#[test]
fn principals_that_nobody_has_are_told() {
    for (principal, expected) in [
        ("cluster.local/ns/shop/sa/web", ""),
        ("*/ns/shop/sa/web", ""),
        ("cluster.local/ns/*", ""),
        ("clu*", ""),
        (
            "other.example/ns/shop/sa/web",
            "the trust domain is cluster.local, and other.example is no other name of it",
        ),
        (
            "other.example/ns/shop/*",
            "the trust domain is cluster.local, and other.example",
        ),
        (
            "web",
            "an identity is TRUST-DOMAIN/ns/NAMESPACE/sa/SERVICE-ACCOUNT",
        ),
        ("cluster.local/shop/web", "an identity is"),
    ] {
        let spec =
            format!("{{rules: [{{from: [{{source: {{principals: [\"{principal}\"]}}}}]}}]}}");
        let found = warnings("", &policy("AuthorizationPolicy", &spec));
        assert_eq!(
            found.is_empty(),
            expected.is_empty(),
            "{principal}: {found:?}"
        );
        let whole = format!(
            "AuthorizationPolicy/shop/p: the principal {principal:?} matches nobody: {expected}"
        );
        assert!(found.iter().all(|w| w.starts_with(&whole)), "{found:?}");
    }
}

#[test]
fn clients_that_nobody_is_are_told() {
    let dir = tempfile::tempdir().unwrap();
    let policy = "apiVersion: security.istio.io/v1\nkind: AuthorizationPolicy\nmetadata: {name: p, namespace: shop}\n\
                  spec:\n  rules:\n  - from:\n    - source: {principals: [cluster.local/ns/shop/sa/a, cluster.local/ns/shop/sa/wbe, other.example/ns/x/sa/y]}\n    \
                  - source: {namespaces: [shop, frnt, \"sh*\"]}\n    - source: {serviceAccounts: [a, front/b]}\n    - source: {ipBlocks: [\"::ffff:10.1.0.0/112\", 10.0.0.0/8]}\n";
    fs::write(dir.path().join("policy.yaml"), policy).unwrap();
    let absent = || {
        let (text, _) = linted(dir.path());
        let lines = text.lines().filter_map(|line| line.split_once(" names "));
        lines.map(|(_, what)| what.to_owned()).collect::<Vec<_>>()
    };
    let mapped = "::ffff:10.1.0.0/112: no client has such an address, write it as IPv4";
    assert_eq!(absent(), [mapped]);
    let pod = "{apiVersion: v1, kind: Pod, metadata: {name: p, namespace: shop}, spec: {serviceAccountName: a}, status: {podIP: 10.0.0.1}}\n";
    fs::write(dir.path().join("pod.yaml"), pod).unwrap();
    assert_eq!(
        absent(),
        [
            mapped,
            "the namespace \"frnt\", in which no pod is now",
            "the principal \"cluster.local/ns/shop/sa/wbe\", which no pod has now",
            "the service account front/b, which no pod has now",
        ]
    );
}

#[test]
fn what_changes_nothing_is_told() {
    let rule = "{host: web, trafficPolicy: {loadBalancer: {simple: RANDOM}, outlierDetection: {}}}";
    let found = warnings(MESH, &policy("DestinationRule", rule)).join("\n");
    assert!(found.contains("p.yaml:4: "), "{found}");
    let fields =
        "spec.trafficPolicy.loadBalancer, spec.trafficPolicy.outlierDetection: without effect";
    assert!(found.contains(fields), "{found}");
    let routes = "{hosts: [web], http: [{match: [{uri: {prefix: /}}], timeout: 1s, route: [{destination: {host: web}}]}]}";
    let found = warnings(MESH, &policy("VirtualService", routes)).join("\n");
    assert!(
        found.contains("spec.http[0].timeout: without effect"),
        "{found}"
    );
    assert!(
        found.contains("spec.http[0].match[0].uri: needs HTTP"),
        "{found}"
    );
    let target = "{targetRefs: [{group: gateway.networking.k8s.io, kind: Gateway, name: edge}]}";
    let found = warnings(MESH, &policy("AuthorizationPolicy", target)).join("\n");
    assert!(
        found.contains("spec.targetRefs: the policy is left out"),
        "{found}"
    );
}
