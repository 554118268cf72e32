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

#[test]
fn what_looks_mesh_wide_beside_the_root_is_a_warning() {
    let document = |kind: &str, namespace: &str, selector: &str| {
        format!(
            "apiVersion: security.istio.io/v1\nkind: {kind}\nmetadata: {{name: p, namespace: {namespace}}}\n\
             spec: {{selector: {{matchLabels: {{{selector}}}}}}}\n"
        )
    };
    let told = |text: &str, root: &str| {
        let settings = Settings {
            root_namespace: root.to_owned(),
            ..Settings::of_tests()
        };
        let mut collector = Collector::default();
        collector.file("mesh.yaml", text);
        assert!(collector.errors.is_empty(), "{:?}", collector.errors);
        Compiled::new(collector.objects.documents, &settings).warnings
    };
    for kind in ["PeerAuthentication", "AuthorizationPolicy"] {
        let mesh_wide = document(kind, "istio-system", "");
        assert!(told(&mesh_wide, "istio-system").is_empty());
        let warning = format!(
            "{kind}/istio-system/p is for the pods of its own namespace only: documents for the whole mesh are those \
             of sealane-system (--root-namespace)"
        );
        assert_eq!(told(&mesh_wide, "sealane-system"), [warning]);
        let misplaced = document(kind, "sealane-system", "");
        assert_eq!(told(&misplaced, "istio-system").len(), 1);
        for other in [
            document(kind, "istio-system", "a: b"),
            document(kind, "shop", ""),
        ] {
            assert!(told(&other, "sealane-system").is_empty());
        }
    }
}
