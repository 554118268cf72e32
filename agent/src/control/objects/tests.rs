//! Documents of each kind, and each error with its line.

mod written;

use super::*;
use crate::control::error::LoadErrors;

fn collect(text: &str) -> Collector {
    let mut collector = Collector::default();
    collector.file("mesh.yaml", text);
    collector
}

fn objects(text: &str) -> Objects {
    let collector = collect(text);
    assert_eq!(texts(collector.errors), [""; 0]);
    collector.objects
}

fn errors(text: &str) -> Vec<String> {
    texts(collect(text).errors)
}

fn texts(errors: Vec<crate::control::error::LoadError>) -> Vec<String> {
    let errors = LoadErrors::new(errors);
    let texts = errors.iter().flat_map(LoadErrors::iter);
    texts.map(ToString::to_string).collect()
}

fn names(objects: &Objects) -> Vec<String> {
    let pods = objects.pods.iter().map(|pod| pod.facts.name.to_string());
    pods.collect()
}

const POD: &str = "apiVersion: v1
kind: Pod
metadata:
  name: web
  namespace: shop
  labels: {app: web}
spec:
  nodeName: a
  serviceAccountName: web
  containers:
  - name: web
    resources: {limits: {cpu: 1, memory: 128Mi}}
    livenessProbe: {httpGet: {path: /, port: http}}
    ports:
    - {name: http, containerPort: 8080}
    - {name: dns, containerPort: 53, protocol: UDP}
  initContainers:
  - {name: side, restartPolicy: Always, ports: [{name: admin, containerPort: 9000}], startupProbe: {grpc: {port: 9001}}}
  - {name: once, ports: [{name: never, containerPort: 1}], startupProbe: {tcpSocket: {port: 2}}}
status:
  podIP: 10.0.0.7
  podIPs: [{ip: 10.0.0.7}, {ip: 'fd00::7'}, {ip: '::ffff:10.0.0.7'}]
  conditions: [{type: Ready, status: 'True'}]
";

#[test]
fn a_pod_tells_what_the_mesh_needs() {
    let objects = objects(POD);
    let pod = &objects.pods[0].facts;
    assert_eq!(pod.name.to_string(), "shop/web");
    assert_eq!(&*pod.service_account, "web");
    assert_eq!(&*pod.node.name, "a");
    let addresses: Vec<_> = pod.addresses.iter().map(ToString::to_string).collect();
    assert_eq!(addresses, ["10.0.0.7", "fd00::7"]);
    let ports: Vec<_> = pod
        .container_ports
        .iter()
        .map(|p| (&*p.name, p.port))
        .collect();
    assert_eq!(ports, [("http", 8080), ("admin", 9000)]);
    assert_eq!(*pod.probe_ports, [8080, 9001]);
    assert!(pod.ready && !pod.host_network && !pod.finished && pod.own_enrolment.is_none());
}

#[test]
fn a_bare_pod_gets_the_defaults() {
    let objects = objects(
        "{apiVersion: v1, kind: Pod, metadata: {name: x, creationTimestamp: null}, \
         status: {podIP: 10.0.0.1}}",
    );
    let pod = &objects.pods[0].facts;
    assert_eq!(pod.name.to_string(), "default/x");
    assert_eq!(&*pod.service_account, "default");
    assert_eq!(pod.addresses.len(), 1);
    assert!(pod.ready && pod.created.is_none());
}

#[test]
fn lists_are_read_as_kubectl_prints_them() {
    let list = "apiVersion: v1
items:
- apiVersion: v1
  kind: Pod
  metadata: {name: a, creationTimestamp: '2024-01-01T00:00:00Z'}
- apiVersion: v1
  kind: Secret
  metadata: {name: s}
- apiVersion: security.istio.io/v1
  kind: PeerAuthentication
  metadata: {name: default, namespace: shop}
  spec: {mtls: {mode: STRICT}}
kind: List
metadata: {resourceVersion: ''}
---
apiVersion: v1
kind: PodList
items:
- metadata: {name: b}
---
{apiVersion: apps/v1, kind: DeploymentList, items: [{metadata: {name: d}}]}
---
{apiVersion: v1, kind: List, items: null}
";
    let objects = objects(list);
    assert_eq!(names(&objects), ["default/a", "default/b"]);
    assert_eq!(objects.pods[0].facts.created, Some(1_704_067_200));
    assert_eq!(objects.documents.peer_authentications.len(), 1);
    assert_eq!((objects.count.documents, objects.count.skipped), (4, 2));
}

#[test]
fn errors_in_lists_name_the_item_and_its_line() {
    let list = "apiVersion: v1
kind: List
items:
- {apiVersion: v1, kind: Pod, metadata: {name: a}}
- apiVersion: security.istio.io/v1
  kind: PeerAuthentication
  metadata: {name: default}
  spec:
    mtls:
      mode: strict
- metadata: {name: b}
- {apiVersion: v1, kind: List, items: []}
- 7
";
    assert_eq!(
        errors(list),
        [
            "mesh.yaml:10: document 1: items[1].spec.mtls.mode: `strict` is not one of `UNSET`, \
             `DISABLE`, `PERMISSIVE`, `STRICT`: did you mean `STRICT`?",
            "mesh.yaml:11: document 1: items[2].apiVersion: missing: every object says of which API it is, such as \
             `apiVersion: security.istio.io/v1`",
            "mesh.yaml:12: document 1: items[3].kind: lists in lists are not supported",
            "mesh.yaml:13: document 1: items[4]: an object must be a mapping with apiVersion, kind and \
             metadata",
        ]
    );
}

/// A document, and the error after `mesh.yaml:`.
const BAD: [(&str, &str); 32] = [
    (
        "just text",
        "1: document 1: an object must be a mapping with",
    ),
    ("kind: Pod", "1: document 1: apiVersion: missing"),
    ("apiVersion: v1\nkind:\n", "2: document 1: kind: missing"),
    (
        "apiVersion: 1\nkind: Pod",
        "1: document 1: apiVersion: expected a name",
    ),
    (
        "apiVersion: v1\nkind: Pod\nmetadata:",
        "3: document 1: metadata: missing",
    ),
    (
        "apiVersion: v1\nkind: Pod\nmetadata:\n  generateName: x",
        "3: document 1: metadata.name: missing",
    ),
    (
        "apiVersion: v1\nkind: Pod\nmetadata:\n  name: 7",
        "4: document 1: metadata.name: expected a name",
    ),
    (
        "apiVersion: v1\nkind: Pot\nmetadata: {name: x}",
        "2: document 1: kind: there is no `Pot` in `v1`",
    ),
    ("a: 1\nb: [", "2: document 1: not YAML: "),
    (
        "apiVersion: v1\nkind: Pod\nkind: Pod",
        "3: document 1: the key `kind` is there already, on line 2",
    ),
    (
        "apiVersion: security.istio.io/v1\nkind: RequestAuthentication\nmetadata: {name: x}",
        "2: document 1: kind: security.istio.io/v1 RequestAuthentication is not enforced by this version of \
         Sealane: remove the document",
    ),
    (
        "apiVersion: security.istio.io/v1\nkind: AuthorizationPolicy\nmetadata:\n  name: x\nspec:\n  rules:\n  \
         - to:\n    - operation:\n        methods: [GET]",
        "9: document 1: spec.rules[0].to[0].operation.methods: needs HTTP",
    ),
    (
        "apiVersion: security.istio.io/v1\nkind: AuthorizationPolicy\nmetadata:\n  name: x\n  annotations:\n    \
         istio.io/dry-run: maybe",
        "6: document 1: metadata.annotations[\"istio.io/dry-run\"]: must be \"true\" or \"false\"",
    ),
    (
        "apiVersion: networking.istio.io/v1\nkind: VirtualServices",
        "2: document 1: kind: there is no `VirtualServices` in `networking.istio.io/v1`",
    ),
    (
        "apiVersion: v1\nkind: Pod\nmetadata:\n  name: x\n  labels:\n    app: 5",
        "6: document 1: metadata.labels.app: expected text, in quotes: \"5\", not the number 5",
    ),
    (
        "apiVersion: v1\nkind: Pod\nmetadata:\n  name: x\n  annotations:\n    sealane.dev/inject: true",
        "6: document 1: metadata.annotations[\"sealane.dev/inject\"]: expected text, in quotes: \"true\"",
    ),
    (
        "apiVersion: v1\nkind: Pod\nmetadata:\n  name: x\n  labels:\n    sealane.dev/inject: 'yes'",
        "6: document 1: metadata.labels[\"sealane.dev/inject\"]: must be \"true\" or \"false\", not \"yes\"",
    ),
    (
        "apiVersion: v1\nkind: Pod\nmetadata:\n  name: x\n  annotations:\n    sealane.dev/netns: /run/x",
        "6: document 1: metadata.annotations[\"sealane.dev/netns\"]: set `sealane.dev/cgroup` too",
    ),
    (
        "apiVersion: v1\nkind: Pod\nmetadata:\n  name: x\n  annotations:\n    sealane.dev/cgroup: /run/x",
        "6: document 1: metadata.annotations[\"sealane.dev/cgroup\"]: set `sealane.dev/netns` too",
    ),
    (
        "apiVersion: v1\nkind: Pod\nmetadata:\n  name: x\n  annotations: {sealane.dev/cgroup: /c,\n    sealane.dev/netns: x}",
        "6: document 1: metadata.annotations[\"sealane.dev/netns\"]: \"x\" must be an absolute path",
    ),
    (
        "apiVersion: v1\nkind: Pod\nmetadata: {name: x}\nstatus:\n  podIPs:\n  - ip: 10.0.0.1\n  - ip: 127.0.0.1",
        "7: document 1: status.podIPs[1].ip: \"127.0.0.1\" is not an IP address",
    ),
    (
        "apiVersion: v1\nkind: Pod\nmetadata: {name: x}\nstatus:\n  podIP: ten",
        "5: document 1: status.podIP: \"ten\" is not an IP address",
    ),
    (
        "apiVersion: v1\nkind: Pod\nmetadata: {name: x}\nspec:\n  containers:\n  - ports:\n    - containerPort: 70000\n      name: x",
        "7: document 1: spec.containers[0].ports[0].containerPort: 70000 is not a port number",
    ),
    (
        "apiVersion: v1\nkind: Service\nmetadata: {name: x}\nspec:\n  clusterIPs:\n  - 10.96.0.1\n  - 0.0.0.0",
        "7: document 1: spec.clusterIPs[1]: \"0.0.0.0\" is not an IP address",
    ),
    (
        "apiVersion: v1\nkind: Service\nmetadata: {name: x}\nspec:\n  ports:\n  - port: 0",
        "6: document 1: spec.ports[0].port: 0 is not a port number",
    ),
    (
        "apiVersion: v1\nkind: Service\nmetadata: {name: x}\nspec:\n  ports:\n  - port: 1\n    targetPort: 65536",
        "7: document 1: spec.ports[0].targetPort: 65536 is not a port number",
    ),
    (
        "apiVersion: discovery.k8s.io/v1\nkind: EndpointSlice\nmetadata: {name: x}\nports:\n- port: -1",
        "5: document 1: ports[0].port: -1 is not a port number",
    ),
    (
        "apiVersion: discovery.k8s.io/v1\nkind: EndpointSlice\nmetadata: {name: x}\nendpoints:\n- addresses:\n  - '::1'",
        "6: document 1: endpoints[0].addresses[0]: \"::1\" is not an IP address",
    ),
    (
        "apiVersion: security.istio.io/v1\nkind: PeerAuthentication\nmetadata: {name: x}\nspec:\n  mtls: {}\n  mTls:\n    mode: STRICT",
        "6: document 1: spec.mTls: unknown field `mTls`: did you mean `mtls`?",
    ),
    (
        "apiVersion: security.istio.io/v1\nkind: PeerAuthentication\nmetadata: {name: x}\nspecs: {}",
        "4: document 1: specs: unknown field `specs`: did you mean `spec`?",
    ),
    (
        "apiVersion: v1\nkind: ConfigMap\nmetadata:\n  name: x\n  labels:\n    sealane.dev/policy: 'yes'",
        "6: document 1: metadata.labels[\"sealane.dev/policy\"]: must be \"true\" or \"false\"",
    ),
    (
        "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: x, labels: {sealane.dev/policy: 'true'}}\nbinaryData:\n  a: eA==",
        "4: document 1: binaryData: binary values of a ConfigMap",
    ),
];

#[test]
fn every_error_names_line_field_and_reason() {
    for (text, expected) in BAD {
        let found = errors(text);
        let expected = format!("mesh.yaml:{expected}");
        assert!(
            found.len() == 1 && found[0].starts_with(&expected),
            "{text}\nexpected {expected}\nfound {found:#?}"
        );
    }
}

#[test]
fn one_document_may_have_several_errors() {
    let found = errors(
        "apiVersion: v1\nkind: Service\nmetadata: {name: x}\nspec:\n  clusterIP: x\n  ports:\n  \
         - port: 0\n  - port: 99999\n---\nkind: Pod",
    );
    let lines: Vec<_> = found.iter().map(|e| &e[..12]).collect();
    assert_eq!(
        lines,
        [
            "mesh.yaml:5:",
            "mesh.yaml:7:",
            "mesh.yaml:8:",
            "mesh.yaml:10"
        ]
    );
}

#[test]
fn an_object_that_is_there_twice_is_named_with_both_places() {
    let mut collector = collect(POD);
    collector.file("more.yaml", &format!("# again\n---\n{POD}"));
    collector.file("ns.yaml", "{apiVersion: v1, kind: Namespace, metadata: {name: a}}\n---\n{apiVersion: v1, kind: Namespace, metadata: {name: a}}");
    assert_eq!(
        texts(collector.errors),
        [
            "more.yaml:6: document 1: metadata.name: Pod shop/web is there already, at mesh.yaml:4: document 1",
            "ns.yaml:3: document 2: metadata.name: Namespace a is there already, at ns.yaml:1: document 1",
        ]
    );
}

#[test]
fn policy_in_config_maps_is_read_with_places_in_the_value() {
    let text = "apiVersion: v1
kind: ConfigMap
metadata: {name: policy, namespace: istio-system, labels: {sealane.dev/policy: 'true'}}
data:
  mesh.yaml: |
    apiVersion: security.istio.io/v1
    kind: PeerAuthentication
    metadata: {name: default, namespace: istio-system}
    ---
    apiVersion: security.istio.io/v1beta1
    kind: PeerAuthentication
    metadata: {name: default, namespace: shop}
  bad.yaml: |
    # comment
    ---
    apiVersion: security.istio.io/v1
    kind: PeerAuthentication
    metadata: {name: default, namespace: bank}
    spec: {mtls: {mode: OFF}}
    ---
    {apiVersion: v1, kind: Pod, metadata: {name: x}}
    ---
    apiVersion: security.istio.io/v1
    kind: PeerAuthentication
    metadata: {name: default, namespace: shop}
---
{apiVersion: v1, kind: ConfigMap, metadata: {name: other}, data: {x: 'a: ['}}
";
    let collector = collect(text);
    assert_eq!(collector.objects.documents.peer_authentications.len(), 3);
    let value = "mesh.yaml:13: document 1: ConfigMap istio-system/policy: data[\"bad.yaml\"]";
    let found = texts(collector.errors);
    assert_eq!(found.len(), 3, "{found:#?}");
    assert!(found[1].starts_with(&format!("{value} line 6: document 1: spec.mtls.mode: `")));
    assert!(found[2].starts_with(&format!(
        "{value} line 8: document 2: kind: `Pod` in a ConfigMap"
    )));
    assert!(found[0].starts_with(
        "mesh.yaml:5: document 1: ConfigMap istio-system/policy: data[\"mesh.yaml\"] line 7: document 2: \
         metadata.name: PeerAuthentication shop/default is there already, at mesh.yaml:13"
    ));
}

#[test]
fn a_document_in_a_config_map_that_names_no_namespace_is_told() {
    let text = "apiVersion: v1
kind: ConfigMap
metadata: {name: policy, namespace: istio-system, labels: {sealane.dev/policy: 'true'}}
data:
  mesh.yaml: |
    apiVersion: security.istio.io/v1
    kind: PeerAuthentication
    metadata: {name: default}
    spec: {mtls: {mode: STRICT}}
    ---
    apiVersion: security.istio.io/v1
    kind: PeerAuthentication
    metadata: {name: other, namespace: default}
---
{apiVersion: security.istio.io/v1, kind: PeerAuthentication, metadata: {name: applied}}
";
    let collector = collect(text);
    assert!(collector.errors.is_empty(), "{:?}", collector.errors);
    let documents = collector.objects.documents.peer_authentications;
    assert_eq!(documents.len(), 3);
    let warnings = collector.objects.warnings;
    assert_eq!(warnings.len(), 1, "{warnings:#?}");
    assert!(warnings[0].starts_with(
        "mesh.yaml:5: document 1: ConfigMap istio-system/policy: data[\"mesh.yaml\"] line 3: document 1: \
         PeerAuthentication default has no metadata.namespace and counts for `default`, not for the ConfigMap's \
         `istio-system`"
    ), "{warnings:#?}");
}
