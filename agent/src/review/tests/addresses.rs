//! What is asked for by one of several addresses.

use super::{servers::mesh, *};

const DUAL: &str = "
{apiVersion: v1, kind: Namespace, metadata: {name: shop, labels: {istio-injection: enabled}}}
---
{apiVersion: v1, kind: Namespace, metadata: {name: legacy}}
---
{apiVersion: v1, kind: Pod, metadata: {name: client, namespace: shop, labels: {app: client}},
 spec: {containers: [{name: c}]}, status: {phase: Running, podIPs: [{ip: 10.1.0.3}, {ip: 'fd00::3'}]}}
---
{apiVersion: v1, kind: Pod, metadata: {name: web, namespace: shop, labels: {app: web}},
 spec: {containers: [{name: c}]}, status: {phase: Running, podIPs: [{ip: 10.1.0.2}, {ip: 'fd00::2'}]}}
---
{apiVersion: v1, kind: Pod, metadata: {name: old, namespace: legacy, labels: {app: old}},
 spec: {containers: [{name: c}]}, status: {phase: Running, podIP: 10.1.2.2}}
---
{apiVersion: v1, kind: Service, metadata: {name: single, namespace: shop},
 spec: {clusterIP: 10.96.0.10, ipFamilies: [IPv4], selector: {app: web}, ports: [{name: tcp, port: 80, targetPort: 8080}]}}
---
{apiVersion: v1, kind: Service, metadata: {name: dual, namespace: shop},
 spec: {clusterIP: 10.96.0.11, clusterIPs: [10.96.0.11, 'fd96::11'], selector: {app: web},
        ports: [{name: tcp, port: 80, targetPort: 8080}]}}
---
{apiVersion: v1, kind: Service, metadata: {name: headless, namespace: shop},
 spec: {clusterIP: None, selector: {app: web}, ports: [{name: tcp, port: 8080}]}}
---
{apiVersion: v1, kind: Service, metadata: {name: renumbered, namespace: shop},
 spec: {clusterIP: None, selector: {app: web}, ports: [{name: tcp, port: 80, targetPort: 8080}]}}
---
{apiVersion: v1, kind: Service, metadata: {name: old, namespace: legacy},
 spec: {clusterIP: 10.96.2.10, selector: {app: old}, ports: [{name: tcp, port: 80}]}}
";
const IPV4_ONLY: &str = "
apiVersion: security.istio.io/v1
kind: AuthorizationPolicy
metadata: {name: v4, namespace: shop}
spec:
  selector: {matchLabels: {app: web}}
  rules: [{from: [{source: {ipBlocks: [10.0.0.0/8]}}]}]
";
const SUBNETS: &str = "
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {name: away, namespace: shop}
spec:
  hosts: [headless]
  tcp:
  - match: [{destinationSubnets: [10.1.0.0/24], port: 8080}]
    route: [{destination: {host: old.legacy.svc.cluster.local, port: {number: 80}}}]
";
const RULE: &str = "
apiVersion: networking.istio.io/v1
kind: DestinationRule
metadata: {name: plain, namespace: shop}
spec: {host: single, trafficPolicy: {tls: {mode: DISABLE}}}
---
apiVersion: security.istio.io/v1
kind: PeerAuthentication
metadata: {name: default, namespace: shop}
spec: {mtls: {mode: STRICT}}
";

#[test]
fn a_service_leads_to_addresses_of_its_own_family() {
    let snapshot = mesh(&[DUAL, IPV4_ONLY]);
    let told = |server: &str| explain(&snapshot, "shop/client", server).unwrap();
    for server in [
        "shop/single:80",
        "10.96.0.10:80",
        "10.96.0.11:80",
        "10.1.0.2:8080",
    ] {
        let told = told(server);
        assert_eq!(told.verdict, Answer::Allow, "{server}: {told:#?}");
        assert!(told.steps[0].contains("(10.1.0.3)"), "{:?}", told.steps);
        assert!(!told.steps.iter().any(|step| step.contains("fd00::")));
    }
    for server in ["shop/dual:80", "shop/headless:8080", "shop/web:8080"] {
        let told = told(server);
        assert_eq!(told.verdict, Answer::Deny, "{server}: {told:#?}");
        assert!(told.steps[0].contains("(fd00::3)"), "{:?}", told.steps);
        let note = told.steps.last().unwrap();
        assert_eq!(note, "note: this is so over IPv6, and better over IPv4");
    }
    assert_eq!(told("[fd96::11]:80").verdict, Answer::Deny);
}

#[test]
fn clients_of_a_headless_service_connect_to_its_pods() {
    let snapshot = mesh(&[DUAL, SUBNETS]);
    let told = |server: &str| explain(&snapshot, "shop/client", server).unwrap();
    let by_pod = told("10.1.0.2:8080");
    assert_eq!(by_pod.transport, Transport::Plaintext, "{by_pod:#?}");
    let by_name = told("shop/headless:8080");
    assert_eq!(by_name.transport, Transport::Plaintext, "{by_name:#?}");
    assert_eq!(by_name.decided_by, ["VirtualService/shop/away"]);
    let ipv6 = told("[fd00::2]:8080");
    assert_eq!(ipv6.transport, Transport::MutualTls, "{ipv6:#?}");
    let rows = tls_check(&snapshot, Some("shop/client"), Some("shop/headless")).unwrap();
    let routed: Vec<_> = rows
        .iter()
        .map(|row| row.virtual_service.as_deref())
        .collect();
    assert_eq!(routed, [Some("VirtualService/shop/away"), None]);
}

#[test]
fn what_a_pod_sends_to_itself_is_no_conflict() {
    let snapshot = mesh(&[DUAL, RULE]);
    let row = |client: &str| {
        let mut rows = tls_check(&snapshot, Some(client), Some("shop/single")).unwrap();
        rows.remove(0)
    };
    assert_eq!(row("shop/client").status, Agreement::Conflict);
    let own = row("shop/web");
    assert_eq!(own.status, Agreement::Ok, "{own:?}");
    assert!(own.note.unwrap().contains("never leaves the pod"));
}

/// Name servers tell addresses, and nobody translates ports.
#[test]
fn ports_of_a_headless_service_are_those_of_its_pods() {
    const OTHERS: &str = "
apiVersion: security.istio.io/v1
kind: AuthorizationPolicy
metadata: {name: port, namespace: shop}
spec: {selector: {matchLabels: {app: web}}, rules: [{to: [{operation: {ports: ['8080']}}]}]}
";
    let snapshot = mesh(&[DUAL, OTHERS]);
    for (client, server, expected) in [
        ("shop/client", "shop/renumbered:80", Answer::Deny),
        ("legacy/old", "shop/renumbered:80", Answer::Deny),
        ("shop/client", "shop/headless:8080", Answer::Allow),
        ("shop/client", "shop/single:80", Answer::Allow),
    ] {
        let told = explain(&snapshot, client, server).unwrap();
        assert_eq!(told.verdict, expected, "{client} {server}: {told:#?}");
    }
}
