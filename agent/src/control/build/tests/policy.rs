//! Policy among the objects.

use super::*;

#[test]
fn policy_errors_name_the_line_of_the_field() {
    let text = "apiVersion: v1
kind: List
items:
- apiVersion: security.istio.io/v1
  kind: PeerAuthentication
  metadata: {name: ports, namespace: shop}
  spec:
    portLevelMtls:
      80: {mode: STRICT}
---
apiVersion: security.istio.io/v1
kind: PeerAuthentication
metadata: {name: web, namespace: shop}
spec:
  selector:
    matchLabels: {a: b}
  portLevelMtls:
    80: {}
    http: {mode: STRICT}
";
    let errors = try_build(text).unwrap_err();
    assert_eq!(errors.len(), 2);
    assert!(
        errors[0]
            .starts_with("mesh.yaml:8: document 1: items[0].spec.portLevelMtls: needs spec.sel")
    );
    assert!(
        errors[1].starts_with("mesh.yaml:19: document 2: spec.portLevelMtls.http: \"http\" is")
    );
}

#[test]
fn policy_without_effect_is_a_warning() {
    let text = "apiVersion: security.istio.io/v1
kind: PeerAuthentication
metadata: {name: web, namespace: istio-system}
spec: {selector: {matchLabels: {a: b}}, mtls: {mode: STRICT}}
---
{apiVersion: v1, kind: Pod, metadata: {name: p, labels: {a: b}}, status: {podIP: 10.0.0.1}}
";
    let (mesh, warnings) = try_build(text).unwrap();
    assert_eq!(warnings.len(), 1);
    let mode = mesh.policy.workload_mode(&mesh.workloads[0]).mode;
    assert_eq!(mode, Mode::Permissive);
}
