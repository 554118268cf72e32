//! What objects mean together.

use super::*;
use crate::{
    control::{error::LoadErrors, objects::Collector},
    policy::Mode,
    workload::ObjectName,
};

mod enrolment;
mod policy;

fn try_build(text: &str) -> Result<(Mesh, Vec<String>), Vec<String>> {
    let mut collector = Collector::default();
    collector.file("mesh.yaml", text);
    let shown = |errors: Vec<LoadError>| {
        let errors = LoadErrors::new(errors).unwrap();
        errors.iter().map(ToString::to_string).collect()
    };
    if !collector.errors.is_empty() {
        return Err(shown(collector.errors));
    }
    let mut warnings = Vec::new();
    match build(collector.objects, &Settings::of_tests(), &mut warnings) {
        Ok(mesh) => Ok((mesh, warnings)),
        Err(errors) => Err(shown(errors)),
    }
}

fn mesh(text: &str) -> Mesh {
    try_build(text).unwrap().0
}

/// A pod in namespace `shop`; `more` is YAML in flow style for `metadata`.
fn pod(name: &str, address: &str, more: &str) -> String {
    format!(
        "---\n{{apiVersion: v1, kind: Pod, metadata: {{name: {name}, namespace: shop, {more}}}, \
         status: {{podIP: '{address}'}}}}\n"
    )
}

fn endpoints(mesh: &Mesh, service: &str, port: u16) -> Vec<String> {
    let service = mesh.services.iter().find(|s| &*s.name.name == service);
    let port = service.and_then(|s| s.port(port));
    let endpoints = port.into_iter().flat_map(|p| p.endpoints.iter());
    endpoints
        .map(|e| std::net::SocketAddr::from((e.address, e.port)).to_string())
        .collect()
}

#[test]
fn a_prepared_pod_outside_the_mesh_is_a_warning() {
    let sandbox = "annotations: {sealane.dev/netns: /run/netns/x, sealane.dev/cgroup: /c";
    let (mesh, warnings) = try_build(&pod("web", "10.0.0.1", &format!("{sandbox}}}"))).unwrap();
    assert_eq!(
        mesh.workloads[0].sandbox().unwrap().netns.path().to_str(),
        Some("/run/netns/x")
    );
    assert_eq!(warnings.len(), 1);
    assert!(
        warnings[0].contains("neither namespace shop nor the pod has the label sealane.dev/inject")
    );
    let opted_out = format!("{sandbox}, sealane.dev/inject: 'false'}}");
    let (_, warnings) = try_build(&pod("web", "10.0.0.1", &opted_out)).unwrap();
    assert_eq!(warnings, [""; 0]);
}

#[test]
fn pods_with_istios_proxy_have_no_second_one() {
    let enrolled = |namespace: &str, metadata: &str, spec: &str| {
        let mesh = mesh(&format!(
            "{{apiVersion: v1, kind: Namespace, metadata: {{name: shop, labels: {{{namespace}}}}}}}\n---\n\
             {{apiVersion: v1, kind: Pod, metadata: {{name: x, namespace: shop{metadata}}}, spec: {{{spec}}}, \
             status: {{podIP: 10.0.0.1}}}}"
        ));
        mesh.workloads[0].enrolled
    };
    let alone = "containers: [{name: c}]";
    let sidecar = "containers: [{name: c}, {name: istio-proxy}]";
    let native =
        "containers: [{name: c}], initContainers: [{name: istio-proxy, restartPolicy: Always}]";
    for namespace in [
        "istio-injection: enabled",
        "istio.io/rev: stable",
        "istio.io/dataplane-mode: ambient",
        "sealane.dev/inject: 'true'",
    ] {
        assert!(enrolled(namespace, "", alone), "{namespace}");
        assert!(!enrolled(namespace, "", sidecar), "{namespace}");
        assert!(!enrolled(namespace, "", native), "{namespace}");
    }
    let gateway = ", labels: {sidecar.istio.io/inject: 'true'}";
    assert!(!enrolled("", gateway, "containers: [{name: istio-proxy}]"));
    let wanted = ", labels: {sealane.dev/inject: 'true'}";
    assert!(enrolled("", wanted, sidecar), "who says so");
}

#[test]
fn finished_host_and_unaddressed_pods_are_no_workloads() {
    let text = "
{apiVersion: v1, kind: Pod, metadata: {name: done}, status: {phase: Succeeded, podIP: 10.0.0.1}}
---
{apiVersion: v1, kind: Pod, metadata: {name: failed}, status: {phase: Failed, podIP: 10.0.0.1}}
---
{apiVersion: v1, kind: Pod, metadata: {name: host}, spec: {hostNetwork: true}, status: {podIP: 10.0.0.1}}
---
{apiVersion: v1, kind: Pod, metadata: {name: pending}, status: {phase: Pending}}
---
{apiVersion: v1, kind: Pod, metadata: {name: runs}, status: {phase: Running, podIP: 10.0.0.1}}
";
    let mesh = mesh(text);
    let names: Vec<_> = mesh.workloads.iter().map(|w| &*w.name.name).collect();
    assert_eq!(names, ["runs"]);
}

#[test]
fn identities_come_from_service_accounts() {
    let mesh = mesh(
        "{apiVersion: v1, kind: Pod, metadata: {name: x, namespace: shop}, \
         spec: {serviceAccountName: web}, status: {podIP: 10.0.0.1}}",
    );
    let identity = mesh.workloads[0].identity.to_string();
    assert_eq!(identity, "spiffe://cluster.local/ns/shop/sa/web");
    let error = try_build(
        "apiVersion: v1\nkind: Pod\nmetadata: {name: x}\nspec: {serviceAccountName: a/b}\n\
         status: {podIP: 10.0.0.1}",
    );
    let errors = error.unwrap_err();
    assert!(errors[0].starts_with("mesh.yaml:1: document 1: spec.serviceAccountName: "));
}

#[test]
fn telemetry_names_are_istios() {
    let owner = |kind: &str, name: &str| {
        format!(
            "ownerReferences: [{{controller: true, kind: {kind}, name: {name}, apiVersion: x, uid: x}}]"
        )
    };
    for (metadata, workload, service, revision) in [
        (String::new(), "web", "web", "latest"),
        (
            format!(
                "{}, labels: {{pod-template-hash: 5d9, app: a, version: v2}}",
                owner("ReplicaSet", "front-5d9")
            ),
            "front",
            "a",
            "v2",
        ),
        (
            owner("ReplicaSet", "front-5d9"),
            "front-5d9",
            "front-5d9",
            "latest",
        ),
        (owner("StatefulSet", "db"), "db", "db", "latest"),
        (owner("Node", "node-1"), "web", "web", "latest"),
        (
            "labels: {app: a, app.kubernetes.io/name: b, service.istio.io/canonical-name: c, \
             service.istio.io/canonical-revision: r, version: v}"
                .to_owned(),
            "web",
            "c",
            "r",
        ),
        (
            "labels: {app.kubernetes.io/name: b, app.kubernetes.io/version: w, app: a}".to_owned(),
            "web",
            "b",
            "w",
        ),
        (
            "labels: {service.istio.io/workload-name: w}".to_owned(),
            "w",
            "w",
            "latest",
        ),
    ] {
        let mesh = mesh(&pod("web", "10.0.0.1", &metadata));
        let names = &mesh.workloads[0].telemetry;
        assert_eq!(names.workload, workload, "{metadata}");
        assert_eq!(names.canonical_service, service, "{metadata}");
        assert_eq!(names.canonical_revision, revision, "{metadata}");
    }
}

#[test]
fn the_older_pod_keeps_an_address_that_two_claim() {
    let text = [
        pod(
            "a-young",
            "10.0.0.1",
            "creationTimestamp: '2025-01-01T00:00:00Z'",
        ),
        pod(
            "b-old",
            "10.0.0.1",
            "creationTimestamp: '2024-01-01T00:00:00Z'",
        ),
        pod("d", "10.0.0.2", ""),
        pod("c", "10.0.0.2", ""),
    ]
    .concat();
    let snapshot = mesh(&text).into_snapshot();
    let at = |address: &str| &snapshot.workload_at(address.parse().unwrap()).unwrap().name;
    assert_eq!(*at("10.0.0.1"), ObjectName::new("shop", "b-old"));
    assert_eq!(*at("10.0.0.2"), ObjectName::new("shop", "c"));
    assert_eq!(snapshot.conflicts().len(), 2);
}

const SERVICE: &str = "---
apiVersion: v1
kind: Service
metadata: {name: web, namespace: shop}
spec:
  clusterIPs: [10.96.0.10, 'fd00:96::10']
  selector: {app: web}
  ports:
  - {name: http, port: 80, targetPort: http}
  - {name: admin, port: 81, targetPort: 9000}
  - {name: same, port: 82}
  - {name: dns, port: 53, protocol: UDP}
";

fn replica(name: &str, ips: &str, port: u16, status: &str) -> String {
    format!(
        "---\n{{apiVersion: v1, kind: Pod, metadata: {{name: {name}, namespace: shop, labels: {{app: web}}}}, \
         spec: {{containers: [{{ports: [{{name: http, containerPort: {port}}}]}}]}}, \
         status: {{podIPs: [{ips}]{status}}}}}\n"
    )
}

#[test]
fn endpoints_come_from_the_selector() {
    let text = [
        SERVICE,
        &replica("b", "{ip: 10.0.0.2}, {ip: 'fd00::2'}", 8080, ""),
        &replica(
            "a",
            "{ip: 10.0.0.1}",
            8081,
            ", conditions: [{type: Ready, status: 'True'}]",
        ),
        &replica(
            "c",
            "{ip: 10.0.0.3}",
            8080,
            ", conditions: [{type: Ready, status: 'False'}]",
        ),
        &pod("unnamed-port", "10.0.0.4", "labels: {app: web}"),
        &pod("other", "10.0.0.5", "labels: {app: other}"),
    ]
    .concat();
    let mesh = mesh(&text);
    let service = &mesh.services[0];
    assert_eq!(service.host, "web.shop.svc.cluster.local");
    assert_eq!(service.virtual_addresses.len(), 2);
    assert!(service.port(53).is_none());
    assert_eq!(
        endpoints(&mesh, "web", 80),
        ["10.0.0.2:8080", "[fd00::2]:8080", "10.0.0.1:8081"]
    );
    assert_eq!(
        endpoints(&mesh, "web", 81),
        [
            "10.0.0.1:9000",
            "10.0.0.2:9000",
            "10.0.0.4:9000",
            "[fd00::2]:9000"
        ]
    );
    assert_eq!(endpoints(&mesh, "web", 82)[0], "10.0.0.1:82");
    let snapshot = mesh.into_snapshot();
    for address in ["10.96.0.10", "fd00:96::10"] {
        assert!(snapshot.service_at(address.parse().unwrap()).is_some());
    }
}

#[test]
fn endpoints_come_from_slices_alone_when_there_are_any() {
    let slice = |name: &str, family: &str, endpoints: &str| {
        format!(
            "---\n{{apiVersion: discovery.k8s.io/v1, kind: EndpointSlice, addressType: {family}, \
             metadata: {{name: {name}, namespace: shop, labels: {{kubernetes.io/service-name: web}}}}, \
             ports: [{{name: http, port: 7000}}, {{name: admin, port: 7001, protocol: UDP}}], \
             endpoints: [{endpoints}]}}\n"
        )
    };
    let text = [
        SERVICE,
        &replica("a", "{ip: 10.0.0.1}", 8081, ""),
        &slice(
            "v4",
            "IPv4",
            "{addresses: [10.0.0.9]}, {addresses: [10.0.0.8], conditions: {ready: false}}, \
             {addresses: [10.0.0.7], conditions: {ready: true, serving: false}}",
        ),
        &slice("v6", "IPv6", "{addresses: ['fd00::9', 'fd00::a']}"),
        &slice("names", "FQDN", "{addresses: [example.org]}"),
    ]
    .concat();
    let mesh = mesh(&text);
    assert_eq!(
        endpoints(&mesh, "web", 80),
        ["10.0.0.7:7000", "10.0.0.9:7000", "[fd00::9]:7000"]
    );
    assert!(endpoints(&mesh, "web", 81).is_empty());
}

#[test]
fn services_without_selector_and_headless_ones() {
    let text = "
{apiVersion: v1, kind: Service, metadata: {name: none}, spec: {clusterIP: 10.96.0.1, ports: [{port: 80}]}}
---
{apiVersion: v1, kind: Service, metadata: {name: headless}, spec: {clusterIP: None, clusterIPs: [None], selector: {a: b}, ports: [{port: 80}]}}
---
{apiVersion: v1, kind: Service, metadata: {name: external}, spec: {type: ExternalName, externalName: example.org}}
---
{apiVersion: v1, kind: Pod, metadata: {name: p, labels: {a: b, c: d}}, status: {podIP: 10.0.0.1}}
";
    let mesh = mesh(text);
    assert!(endpoints(&mesh, "none", 80).is_empty());
    assert_eq!(endpoints(&mesh, "headless", 80), ["10.0.0.1:80"]);
    let headless = mesh.services.iter().find(|s| &*s.name.name == "headless");
    assert!(headless.unwrap().virtual_addresses.is_empty());
}
