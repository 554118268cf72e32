//! What of an established connection a change leaves, and what not.

use std::collections::HashMap;

use rustls::CipherSuite;

use super::*;
use crate::{
    config::MeshConfig,
    control::{Settings, load_texts},
};

const MESH: &str = r#"
apiVersion: v1
kind: Namespace
metadata: {name: shop, labels: {istio-injection: enabled}}
---
apiVersion: v1
kind: Pod
metadata: {name: edge, namespace: edge, labels: {app: edge}}
spec: {serviceAccountName: edge, nodeName: a, containers: [{name: c}]}
status: {phase: Running, podIP: 10.0.0.9, podIPs: [{ip: 10.0.0.9}], conditions: [{type: Ready, status: "True"}]}
"#;
const GATEWAY: &str = r#"
apiVersion: networking.istio.io/v1
kind: Gateway
metadata: {name: edge, namespace: edge}
spec:
  selector: {app: edge}
  servers:
  - {port: {number: 80, name: http, protocol: HTTP}, hosts: ["*"]}
  - {port: {number: 443, name: tls, protocol: TLS}, hosts: ["*"], tls: {mode: PASSTHROUGH}}
  - {port: {number: 8443, name: https, protocol: HTTPS}, hosts: ["*"], tls: {mode: SIMPLE, credentialName: c}}
"#;

fn service(name: &str, last: u8, ready: bool) -> String {
    format!(
        r#"
apiVersion: v1
kind: Pod
metadata: {{name: {name}, namespace: shop, labels: {{app: {name}}}}}
spec: {{serviceAccountName: {name}, nodeName: a, containers: [{{name: c}}]}}
status: {{phase: Running, podIP: 10.0.0.{last}, podIPs: [{{ip: 10.0.0.{last}}}], conditions: [{{type: Ready, status: "{}"}}]}}
---
apiVersion: v1
kind: Service
metadata: {{name: {name}, namespace: shop}}
spec: {{clusterIP: 10.1.0.{last}, clusterIPs: [10.1.0.{last}], selector: {{app: {name}}}, ports: [{{port: 80}}]}}
"#,
        if ready { "True" } else { "False" }
    )
}

fn route(name: &str, host: &str, list: &str, to: &str) -> String {
    format!(
        r#"
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {{name: {name}, namespace: edge}}
spec:
  hosts: ["{host}"]
  gateways: [edge]
  {list}route: [{{destination: {{host: {to}.shop.svc.cluster.local}}}}]}}]
"#
    )
}

const PASSED: &str = "tls: [{match: [{sniHosts: [a.example]}], ";

fn settings() -> Settings {
    Settings::from(MeshConfig {
        trust_domain: "cluster.local".parse().unwrap(),
        trust_domain_aliases: Vec::new(),
        cluster_domain: "cluster.local".to_owned(),
        root_namespace: "istio-system".to_owned(),
    })
}

fn entrance(documents: &[&str]) -> Entrance {
    let services = [service("web", 1, true), service("other", 2, true)];
    entrance_to(&services, documents)
}

fn entrance_to(services: &[String], documents: &[&str]) -> Entrance {
    let mut all = vec![MESH];
    all.extend(services.iter().map(String::as_str));
    all.extend(documents);
    let loaded = load_texts(&[("x.yaml", &all.join("\n---\n"))], &settings());
    let snapshot = Arc::new(loaded.map(|l| l.mesh.into_snapshot()).unwrap());
    let own = snapshot.workload(&ObjectName::new("edge", "edge")).unwrap();
    Entrance {
        own: Arc::clone(own),
        snapshot,
        terminations: HashMap::new(),
        revoked: Arc::default(),
    }
}

fn admitted(entrance: &Entrance, port: u16, name: Option<&str>) -> Admission {
    let asked = Asked {
        port,
        name: name.map(Into::into),
        address: "10.0.0.9".parse().unwrap(),
    };
    let way = entrance.way(&asked).unwrap().unwrap();
    let shown = matches!(way.work, Work::Terminate(_)).then(|| {
        Arc::new(Shown {
            agreed: Agreed {
                version: ProtocolVersion::TLSv1_2,
                suite: CipherSuite::TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256,
            },
            chain: None,
        })
    });
    let endpoint = way.candidates[0];
    Admission::new(&asked, &way, shown.as_ref(), endpoint, entrance)
}

#[test]
fn routes_and_servers() {
    let web = route("a", "a.example", PASSED, "web");
    let other = route("a", "a.example", PASSED, "other");
    let more = route("b", "b.example", "http: [{", "other");
    let before = entrance(&[GATEWAY, &web]);
    let admission = admitted(&before, 443, Some("a.example"));
    let gone = Some(CutReason::RouteGone);
    let without = GATEWAY.replace("number: 443", "number: 444");
    let terminated = GATEWAY.replace("PASSTHROUGH", "SIMPLE, credentialName: c");
    for (what, documents, expected) in [
        ("the same", &[GATEWAY, &web][..], None),
        ("something else", &[GATEWAY, &web, &more], None),
        ("no route", &[GATEWAY, &more], gone),
        ("elsewhere", &[GATEWAY, &other], gone),
        ("no server", &[&without, &web], gone),
        ("TLS ends here", &[&terminated, &web], gone),
        ("no gateway", &[&web], gone),
    ] {
        assert_eq!(
            entrance(documents).objection(&admission),
            expected,
            "{what}"
        );
    }
    let unready = [service("web", 1, false), service("other", 2, true)];
    let unready = entrance_to(&unready, &[GATEWAY, &web]);
    assert_eq!(unready.objection(&admission), None, "its pod is not ready");
    let asked = admission.asked.clone();
    assert!(unready.way(&asked).is_err());
    let moved = [service("web", 3, true), service("other", 2, true)];
    let moved = entrance_to(&moved, &[GATEWAY, &web]);
    let way = moved.way(&asked).unwrap().unwrap();
    assert!(!moved.allows(&admission, &way), "another address");
    let way = before.way(&asked).unwrap().unwrap();
    assert!(before.allows(&admission, &way));
}

#[test]
fn what_goes_on_in_clear() {
    let web = route("a", "a.example", PASSED, "web");
    let admission = admitted(&entrance(&[GATEWAY, &web]), 443, Some("a.example"));
    let strict = "apiVersion: security.istio.io/v1\nkind: PeerAuthentication\n\
                  metadata: {name: d, namespace: shop}\nspec: {mtls: {mode: STRICT}}";
    let next = entrance(&[GATEWAY, &web, strict]);
    assert_eq!(next.objection(&admission), Some(CutReason::BecameStrict));
}

#[test]
fn hosts_of_requests() {
    let (web, other) = (
        route("a", "*", "http: [{", "web"),
        route("b", "b.example", "http: [{", "other"),
    );
    let before = entrance(&[GATEWAY, &web]);
    let (unnamed, named) = (
        admitted(&before, 80, None),
        admitted(&before, 80, Some("b.example")),
    );
    let next = entrance(&[GATEWAY, &web, &other]);
    assert_eq!(
        next.objection(&unnamed),
        None,
        "nobody has looked at its host"
    );
    assert_eq!(next.objection(&named), Some(CutReason::RouteGone));
    let next = entrance(&[GATEWAY, &other]);
    assert_eq!(next.objection(&unnamed), Some(CutReason::RouteGone));
    let redirect = GATEWAY.replace(
        "hosts: [\"*\"]}",
        "hosts: [\"*\"], tls: {httpsRedirect: true}}",
    );
    let next = entrance(&[&redirect, &web]);
    assert_eq!(next.objection(&unnamed), Some(CutReason::RouteGone));
}

#[test]
fn tls_of_clients() {
    let web = route("a", "*", "http: [{", "web");
    let before = entrance(&[GATEWAY, &web]);
    let admission = admitted(&before, 8443, Some("a.example"));
    let with = |mode: &str| {
        let gateway = GATEWAY.replace("mode: SIMPLE", mode);
        entrance(&[&gateway, &web]).objection(&admission)
    };
    assert_eq!(
        with("mode: SIMPLE"),
        None,
        "without the credential's Secret"
    );
    assert_eq!(with("mode: OPTIONAL_MUTUAL"), None);
    assert_eq!(with("mode: MUTUAL"), Some(CutReason::Untrusted));
    let settings = Some(CutReason::TlsSettings);
    assert_eq!(with("mode: SIMPLE, minProtocolVersion: TLSV1_3"), settings);
    let suites = |suite: &str| with(&format!("mode: SIMPLE, cipherSuites: [{suite}]"));
    assert_eq!(suites("ECDHE-ECDSA-AES256-GCM-SHA384"), settings);
    assert_eq!(suites("ECDHE-ECDSA-AES128-GCM-SHA256"), None);
}

#[test]
fn nobody_is_in_clear_where_tls_ends() {
    let web = route("a", "*", "http: [{", "web");
    let entrance = entrance(&[GATEWAY, &web]);
    let secured = admitted(&entrance, 8443, Some("a.example"));
    assert_eq!(entrance.objection(&secured), None);
    let clear = Admission {
        shown: None,
        ..secured
    };
    assert_eq!(entrance.objection(&clear), Some(CutReason::RouteGone));
}
