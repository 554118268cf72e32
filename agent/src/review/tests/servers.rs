//! What is said of servers that are told by other names, that differ, or that nobody reaches.

use super::*;

const MESH: &str = include_str!("tables.yaml");
const FINISHED: &str = "
{apiVersion: v1, kind: Pod, metadata: {name: job, namespace: shop}, status: {phase: Succeeded, podIP: 10.0.0.2}}
---
{apiVersion: v1, kind: Pod, metadata: {name: slow, namespace: shop}, status: {phase: Pending}}
";
/// Another pod of `back`, which differs.
const SECOND: &str = "
apiVersion: v1
kind: Pod
metadata: {name: back-2, namespace: shop, labels: {app: back, version: v2}}
spec: {nodeName: b, serviceAccountName: back}
status: {phase: Running, podIP: 10.0.0.5}
---
apiVersion: security.istio.io/v1
kind: PeerAuthentication
metadata: {name: v2, namespace: shop}
spec: {selector: {matchLabels: {version: v2}}, mtls: {mode: DISABLE}}
---
apiVersion: security.istio.io/v1
kind: PeerAuthentication
metadata: {name: v1, namespace: shop}
spec: {selector: {matchLabels: {version: v1}}, mtls: {mode: STRICT}}
";
const OF_TEST: &str = "
apiVersion: networking.istio.io/v1
kind: DestinationRule
metadata: {name: back, namespace: test}
spec: {host: back.shop.svc.cluster.local, trafficPolicy: {tls: {mode: DISABLE}}}
";

pub(super) fn mesh(texts: &[&str]) -> Snapshot {
    let dir = tempfile::tempdir().unwrap();
    fs::write(dir.path().join("mesh.yaml"), texts.join("\n---\n")).unwrap();
    let loaded = control::load(dir.path(), &Settings::of_tests().of_dump());
    loaded.map(|l| l.mesh.into_snapshot()).unwrap()
}

fn steps(snapshot: &Snapshot, client: &str, server: &str) -> String {
    explain(snapshot, client, server).unwrap().steps.join("\n")
}

#[test]
fn the_reason_is_told() {
    let snapshot = mesh(&[MESH, FINISHED, SECOND]);
    for (client, server, reason) in [
        (
            "shop/front",
            "back.shop:81",
            "service shop/back has no port 81: it has 80",
        ),
        (
            "shop/front",
            "shop/empty:80",
            "service shop/empty has no ready pod",
        ),
        (
            "shop/front",
            "shop/other-host:1",
            "shop/other-host is another name of db.example.com",
        ),
        (
            "shop/front",
            "203.0.113.9:80",
            "203.0.113.9:80 is where service shop/shown, port 80,",
        ),
        (
            "shop/front",
            "192.168.0.1:30080",
            "is where service shop/shown, port 80,",
        ),
        (
            "shop/exporter",
            "shop/back:80",
            "client shop/exporter (192.168.0.1) is on the network",
        ),
        (
            "shop/front",
            "192.168.0.1:22",
            "server 192.168.0.1 is a node, or a pod on its network",
        ),
        (
            "shop/front",
            "shop/back:80",
            "this is so for 1 of 2 pods, and better for the others",
        ),
    ] {
        let told = steps(&snapshot, client, server);
        assert!(told.contains(reason), "{client} {server}: {told}");
    }
    // In clear to one of them.
    let mixed = explain(&snapshot, "shop/front", "shop/back:80").unwrap();
    assert_eq!(
        (mixed.verdict, mixed.transport),
        (Answer::Allow, Transport::Plaintext)
    );
    for (pod, complaint) in [
        ("shop/job", "pod shop/job has finished"),
        ("shop/slow", "pod shop/slow has no address yet"),
    ] {
        let error = explain(&snapshot, pod, "shop/back:80").unwrap_err();
        assert!(error.to_string().starts_with(complaint), "{error}");
    }
}

fn lines(rows: &[TlsRow]) -> Vec<String> {
    let line = |row: &TlsRow| {
        format!(
            "{} {:?} {} {} {} {}",
            row.host,
            row.status,
            row.server.join(","),
            row.client,
            row.authn_policy.as_deref().unwrap_or("-"),
            row.clients.join(",")
        )
    };
    rows.iter().map(line).collect()
}

#[test]
fn pods_that_differ_and_clients_that_do() {
    let snapshot = mesh(&[MESH, SECOND, OF_TEST]);
    let back = "back.shop.svc.cluster.local:80";
    let rows = tls_check(&snapshot, None, Some("back.shop")).unwrap();
    let expected = [
        format!("{back} Ok STRICT,DISABLE ISTIO_MUTUAL,DISABLE PeerAuthentication/shop/v1 shop"),
        format!("{back} Conflict STRICT,DISABLE DISABLE PeerAuthentication/shop/v1 test"),
    ];
    assert_eq!(lines(&rows), expected);
    let taken = rows[1].modes.iter().map(|taken| {
        let policy = taken.authn_policy.as_deref().unwrap_or_default();
        (taken.mode.as_str(), policy, taken.conflict)
    });
    assert!(taken.eq([
        ("STRICT", "PeerAuthentication/shop/v1", true),
        ("DISABLE", "PeerAuthentication/shop/v2", false),
    ]));
    let named = tls_check(&snapshot, Some("test/probe"), Some("10.96.0.1:80")).unwrap();
    assert_eq!(named.len(), 1);
    assert_eq!(named[0].status, Agreement::Conflict);
}

#[test]
fn nobody_is_no_blank() {
    let snapshot = mesh(&[MESH]);
    let row = |server| {
        tls_check(&snapshot, Some("shop/front"), Some(server))
            .unwrap()
            .remove(0)
    };
    let empty = row("shop/empty");
    assert_eq!((empty.server.len(), empty.client.as_str()), (0, "-"));
    assert_eq!(
        empty.note.as_deref(),
        Some("service shop/empty has no ready pod")
    );
    let on_node = row("shop/metrics");
    assert_eq!(
        (&*on_node.server, on_node.client.as_str()),
        (&["-".to_owned()][..], "DISABLE")
    );
    // To which no service leads.
    let pod = row("10.0.0.3:99");
    assert_eq!(
        (pod.host.as_str(), pod.client.as_str()),
        ("10.0.0.3:99", "ISTIO_MUTUAL")
    );
    let error = tls_check(&snapshot, Some("shop/front"), Some("test/probe")).unwrap_err();
    assert!(matches!(error, TargetError::NoService(_)));
}

#[test]
fn clients_with_istios_own_proxy_are_supposed_to_have_the_same_root() {
    let snapshot = mesh(&[include_str!("documentation.yaml")]);
    let notes = |client| {
        let rows = tls_check(&snapshot, Some(client), None).unwrap();
        let supposed = |note: &String| note.contains("Istio's own proxy");
        let rows = rows.iter();
        rows.filter(|row| row.note.as_ref().is_some_and(supposed))
            .count()
    };
    assert!(notes("istio-system/ingress") > 0);
    assert_eq!(notes("10.1.1.9"), 0);
}

/// <https://kubernetes.io/docs/concepts/services-networking/dns-pod-service/#pod-s-hostname-and-subdomain-fields>
#[test]
fn pods_of_headless_services_are_called_as_they_say() {
    let pod = |n: u8, metadata: &str, spec: &str| {
        format!(
            "---\n{{apiVersion: v1, kind: Pod, metadata: {{name: db-{n}, namespace: shop, labels: {{app: db}}{metadata}}}, \
             spec: {{containers: [{{name: c}}]{spec}}}, status: {{podIP: 10.3.0.{n}}}}}\n"
        )
    };
    let owned =
        |kind: &str| format!(", ownerReferences: [{{kind: {kind}, name: db, controller: true}}]");
    let service = "---\n{apiVersion: v1, kind: Service, metadata: {name: db, namespace: shop}, spec: {clusterIP: None, \
                   selector: {app: db}, ports: [{port: 3306}]}}\n";
    let pods = [
        pod(0, &owned("StatefulSet"), ""),
        pod(1, "", ", hostname: one, subdomain: db"),
        pod(2, &owned("ReplicaSet"), ""),
        pod(3, "", ", hostname: three, subdomain: others"),
        pod(4, "", ", hostname: four"),
        pod(5, &owned("StatefulSet"), ", hostname: db-5, subdomain: db"),
    ];
    let snapshot = mesh(&[MESH, &(service.to_owned() + &pods.concat())]);
    for (host, address) in [
        ("db-0", Some("10.3.0.0")),
        ("one", Some("10.3.0.1")),
        ("db-5", Some("10.3.0.5")),
        ("db-1", None),
        ("db-2", None),
        ("three", None),
        ("four", None),
    ] {
        let explained = explain(&snapshot, "shop/front", &format!("{host}.db.shop:3306"));
        match address {
            Some(address) => {
                let steps = explained.unwrap().steps.join("\n");
                assert!(steps.contains(address), "{host}: {steps}");
            }
            None => assert!(explained.is_err(), "{host}"),
        }
    }
}
