//! What an operator is told about Istio's lab: the documents that its texts show, as they are pasted.

use std::fs;

use super::*;
use crate::{
    config::MeshConfig,
    control::{self, Settings},
    store::Snapshot,
};

mod addresses;
mod diff;
mod possible;
mod routes;
mod servers;
mod tables;
mod ways;

const STRICT: &str = "
apiVersion: security.istio.io/v1beta1
kind: PeerAuthentication
metadata: {name: default, namespace: default}
spec: {mtls: {mode: STRICT}}
";
const ALLOW: &str = r#"
apiVersion: security.istio.io/v1beta1
kind: AuthorizationPolicy
metadata:
  name: allowed-customers-clients
  namespace: default
spec:
  selector:
    matchLabels:
        app: customers
  action: ALLOW
  rules:
  - from:
    - source:
        principals: ["cluster.local/ns/default/sa/web-frontend"]
"#;
const BAD_RULE: &str = r#"
apiVersion: "networking.istio.io/v1alpha3"
kind: "DestinationRule"
metadata:
  name: "bad-rule"
  namespace: "default"
spec:
  host: "customers.default.svc.cluster.local"
  trafficPolicy:
    tls:
      mode: DISABLE
"#;
const LEGACY: &str = r#"
apiVersion: "authentication.istio.io/v1alpha1"
kind: "Policy"
metadata:
  name: "default"
  namespace: "default"
spec:
  peers:
  - mtls: {}
"#;
const MUTUAL_RULE: &str = r#"
apiVersion: "networking.istio.io/v1alpha3"
kind: "DestinationRule"
metadata:
  name: "everything"
  namespace: "default"
spec:
  host: "*.svc.cluster.local"
  trafficPolicy:
    tls:
      mode: ISTIO_MUTUAL
"#;

fn snapshot(policies: &[&str]) -> Snapshot {
    let dir = tempfile::tempdir().unwrap();
    fs::write(
        dir.path().join("mesh.yaml"),
        include_str!("tests/mesh.yaml"),
    )
    .unwrap();
    fs::write(dir.path().join("policy.yaml"), policies.join("\n---\n")).unwrap();
    let loaded = control::load(dir.path(), &Settings::of_tests().of_dump());
    loaded.map(|l| l.mesh.into_snapshot()).unwrap()
}

/// Verdict, transport and documents, as a line.
fn told(policies: &[&str], client: &str, server: &str) -> String {
    let e = explain(&snapshot(policies), client, server).unwrap();
    assert_eq!(
        e.client_principal.is_some(),
        e.transport == Transport::MutualTls
    );
    format!(
        "{:?} {:?} {}",
        e.verdict,
        e.transport,
        e.decided_by.join(" ")
    )
}

#[test]
fn the_lab() {
    let (front, sleep, other) = ("default/web-frontend-1", "default/sleep", "other-ns/sleep");
    let customers = "default/customers:80";
    let peer = "PeerAuthentication/default/default";
    let allow = "AuthorizationPolicy/default/allowed-customers-clients";
    let rule = "DestinationRule/default/bad-rule";
    for (policies, client, expected) in [
        (&[][..], other, "Allow Plaintext ".to_owned()),
        (&[], sleep, "Allow MutualTls ".to_owned()),
        (&[STRICT], other, format!("Deny Plaintext {peer}")),
        (&[STRICT], sleep, format!("Allow MutualTls {peer}")),
        (
            &[LEGACY],
            other,
            "Deny Plaintext Policy/default/default".to_owned(),
        ),
        (&[ALLOW], other, format!("Deny Plaintext {allow}")),
        (
            &[STRICT, ALLOW],
            front,
            format!("Allow MutualTls {allow} {peer}"),
        ),
        (&[STRICT, ALLOW], sleep, format!("Deny MutualTls {allow}")),
        (
            &[STRICT, BAD_RULE],
            sleep,
            format!("Deny Plaintext {peer} {rule}"),
        ),
        (&[BAD_RULE], sleep, format!("Allow Plaintext {rule}")),
        (&[BAD_RULE, ALLOW], front, format!("Deny Plaintext {allow}")),
    ] {
        assert_eq!(
            told(policies, client, customers),
            expected,
            "{client} {policies:?}"
        );
    }
}

#[test]
fn ends_are_found_by_every_name() {
    let snapshot = snapshot(&[STRICT]);
    for server in [
        "default/customers:80",
        "customers.default:80",
        "customers.default.svc.cluster.local:80",
        "10.96.0.5:80",
        "[::ffff:10.96.0.5]:80",
        "default/customers-1:3000",
        "10.0.1.2:3000",
        // Of their own namespace, else of `default`.
        "customers:80",
        "customers.default.svc:80",
        "Customers.default.svc.cluster.local.:80",
    ] {
        for client in ["default/sleep", "sleep", "10.0.0.2"] {
            let found = explain(&snapshot, client, server).unwrap();
            assert_eq!(found.verdict, Answer::Allow, "{client} {server}");
            assert_eq!(found.transport, Transport::MutualTls, "{client} {server}");
        }
    }
    for (client, server, complaint) in [
        (
            "sleepy",
            "10.0.1.2:80",
            "no pod and no service is called default/sleepy: did you mean default/sleep or other-ns/sleep?",
        ),
        (
            "default/web-frontend",
            "10.0.1.2:80",
            "no pod and no service is called default/web-frontend: did you mean default/web-frontend-1?",
        ),
        (
            "default/sleep",
            "custmers.default:80",
            "no service and no pod has the host name \"custmers.default\": did you mean \
             customers.default.svc.cluster.local?",
        ),
        (
            "default/none",
            "10.0.1.2:80",
            "no pod and no service is called default/none",
        ),
        (
            "10.0.0.2",
            "default/customers",
            "\"default/customers\" names no port",
        ),
        (
            "10.0.0.2",
            "default/customers:0",
            "\"default/customers:0\" names no port",
        ),
        (
            "10.0.0.2",
            "customers.bank:80",
            "no service and no pod has the host name \"customers.bank\"",
        ),
    ] {
        let error = explain(&snapshot, client, server).unwrap_err().to_string();
        assert!(error.starts_with(complaint), "{client} {server}: {error}");
    }
}

#[test]
fn conflicts_name_policy_and_rule() {
    let row = |policies: &[&str], client: &str, server: &str| {
        let rows = tls_check(&snapshot(policies), Some(client), Some(server)).unwrap();
        assert_eq!(rows.len(), 1);
        let TlsRow {
            host,
            status,
            server,
            client,
            authn_policy,
            destination_rule,
            ..
        } = rows[0].clone();
        let absent = || "-".to_owned();
        let (policy, rule) = (
            authn_policy.unwrap_or_else(absent),
            destination_rule.unwrap_or_else(absent),
        );
        format!(
            "{host} {status:?} {} {client} {policy} {rule}",
            server.join(",")
        )
    };
    let customers = "customers.default.svc.cluster.local:80";
    assert_eq!(
        row(&[STRICT, BAD_RULE], "default/sleep", "default/customers"),
        format!(
            "{customers} Conflict STRICT DISABLE PeerAuthentication/default/default \
             DestinationRule/default/bad-rule"
        )
    );
    // The more specific host wins, whatever their order.
    assert_eq!(
        row(
            &[BAD_RULE, MUTUAL_RULE],
            "default/sleep",
            "default/customers-1"
        ),
        format!("{customers} Ok PERMISSIVE DISABLE - DestinationRule/default/bad-rule")
    );
    assert_eq!(
        row(&[MUTUAL_RULE], "default/sleep", "legacy.other-ns"),
        "legacy.other-ns.svc.cluster.local:80 Conflict - ISTIO_MUTUAL - \
         DestinationRule/default/everything"
    );
    assert_eq!(
        row(&[STRICT], "other-ns/sleep", customers),
        format!("{customers} Conflict STRICT DISABLE PeerAuthentication/default/default -")
    );
    // Rules are their namespace's, unless they are the server's or the root's.
    assert_eq!(
        row(&[STRICT, MUTUAL_RULE], "default/sleep", customers),
        format!(
            "{customers} Ok STRICT ISTIO_MUTUAL PeerAuthentication/default/default \
             DestinationRule/default/everything"
        )
    );
    let all = tls_check(&snapshot(&[]), Some("default/sleep"), None).unwrap();
    assert_eq!(all.len(), 2);
}

#[test]
fn ports_modes_and_policies_of_a_workload() {
    let rows = authz_check(&snapshot(&[STRICT, ALLOW]), "default/customers").unwrap();
    let ports: Vec<_> = rows.iter().map(|row| row.port).collect();
    assert_eq!(ports, [Some(3000), None]);
    for row in rows {
        assert_eq!(row.mode, "STRICT");
        assert_eq!(
            row.certificate.as_deref(),
            Some("spiffe://cluster.local/ns/default/sa/customers")
        );
        assert_eq!(row.rules.len(), 1);
        assert_eq!(
            (row.rules[0].action.as_str(), row.rules[0].rules),
            ("ALLOW", 1)
        );
    }
    let outside = authz_check(&snapshot(&[STRICT]), "10.0.1.10").unwrap();
    assert!(
        outside
            .iter()
            .all(|row| row.certificate.is_none() && row.mode == "-")
    );
}
