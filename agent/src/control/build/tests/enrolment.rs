//! Which labels and annotations put a pod into the mesh.

use super::*;

#[test]
fn enrolment_follows_the_narrowest_word() {
    for (namespace, pod_metadata, enrolled) in [
        ("", "", false),
        ("sealane.dev/inject: 'true'", "", true),
        ("sealane.dev/inject: 'false'", "", false),
        ("istio.io/dataplane-mode: ambient", "", true),
        ("istio.io/dataplane-mode: none", "", false),
        ("istio-injection: enabled", "", true),
        ("istio-injection: disabled", "", false),
        (
            "sealane.dev/inject: 'false', istio-injection: enabled",
            "",
            false,
        ),
        ("", "labels: {sealane.dev/inject: 'true'}", true),
        ("", "annotations: {sealane.dev/inject: 'true'}", true),
        (
            "istio-injection: enabled",
            "labels: {sealane.dev/inject: 'false'}",
            false,
        ),
        (
            "istio-injection: enabled",
            "annotations: {sealane.dev/inject: 'false'}",
            false,
        ),
        (
            "istio-injection: enabled",
            "labels: {istio.io/dataplane-mode: none}",
            false,
        ),
        ("", "labels: {istio.io/dataplane-mode: ambient}", true),
        (
            "",
            "labels: {sealane.dev/inject: 'false'}, annotations: {sealane.dev/inject: 'true'}",
            false,
        ),
        (
            "",
            "labels: {sealane.dev/inject: 'true', istio.io/dataplane-mode: none}",
            true,
        ),
    ] {
        assert_enrolled(namespace, pod_metadata, enrolled);
    }
    assert!(!mesh(&pod("web", "10.0.0.1", "")).workloads[0].enrolled);
}

#[test]
fn enrolment_reads_what_is_said_to_istios_injector() {
    for (namespace, pod_metadata, enrolled) in [
        ("istio.io/rev: stable", "", true),
        ("istio.io/rev: stable, istio-injection: disabled", "", false),
        (
            "istio.io/rev: stable",
            "labels: {sidecar.istio.io/inject: 'false'}",
            false,
        ),
        (
            "istio-injection: enabled",
            "annotations: {sidecar.istio.io/inject: 'false'}",
            false,
        ),
        ("", "labels: {sidecar.istio.io/inject: 'true'}", true),
        (
            "istio-injection: disabled",
            "labels: {sidecar.istio.io/inject: 'true'}",
            false,
        ),
        (
            "",
            "labels: {sidecar.istio.io/inject: 'false'}, annotations: {sidecar.istio.io/inject: 'true'}",
            false,
        ),
        // It needs no sidecar to be in this mesh.
        (
            "sealane.dev/inject: 'true'",
            "labels: {sidecar.istio.io/inject: 'false'}",
            true,
        ),
    ] {
        assert_enrolled(namespace, pod_metadata, enrolled);
    }
}

fn assert_enrolled(namespace: &str, pod_metadata: &str, enrolled: bool) {
    let text = format!(
        "{{apiVersion: v1, kind: Namespace, metadata: {{name: shop, labels: {{{namespace}}}}}}}\n{}",
        pod("web", "10.0.0.1", pod_metadata)
    );
    let mesh = mesh(&text);
    assert_eq!(mesh.workloads[0].enrolled, enrolled, "{text}");
}
