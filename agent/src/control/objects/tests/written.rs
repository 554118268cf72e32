//! What people write that is not quite what they mean.

use super::{errors, objects};

#[test]
fn what_a_command_puts_into_a_namespace_is_there() {
    let peer =
        "apiVersion: security.istio.io/v1\nkind: AuthorizationPolicy\nmetadata:\n  name: default\n";
    let there = peer.replace("name: default", "name: other\n  namespace: bank");
    let text = format!("kubectl apply -n shop -f - <<EOF\n{peer}---\n{there}EOF\n");
    let documents = objects(&text).documents;
    let policies = documents.authorization_policies.iter();
    let names: Vec<_> = policies.map(|p| p.document().to_string()).collect();
    assert_eq!(
        names,
        [
            "AuthorizationPolicy/shop/default",
            "AuthorizationPolicy/bank/other"
        ]
    );
    let deleted = errors(&text.replace("apply", "delete"));
    assert!(deleted[0].starts_with("mesh.yaml:"), "{deleted:?}");
}

#[test]
fn labels_that_bring_nobody_into_the_mesh_are_told() {
    let namespace = |label: &str| {
        format!(
            "{{apiVersion: v1, kind: Namespace, metadata: {{name: shop, labels: {{{label}}}}}}}"
        )
    };
    assert_eq!(
        errors(&namespace("sealane.dev/inject: 'True'")),
        [
            "mesh.yaml:1: document 1: metadata.labels[\"sealane.dev/inject\"]: must be \"true\" or \"false\", not \"True\""
        ]
    );
    assert_eq!(
        objects(&namespace("istio-injection: Enabled")).warnings,
        [
            "mesh.yaml:1: document 1: metadata.labels.istio-injection: \"Enabled\" is neither \"enabled\" nor \"disabled\", and has no effect"
        ]
    );
}

#[test]
fn words_of_others_stay_on_their_line() {
    let peer = |mode: &str| {
        format!(
            "{{apiVersion: security.istio.io/v1, kind: PeerAuthentication, metadata: {{name: x}}, spec: {{mtls: {{mode: \"{mode}\"}}}}}}"
        )
    };
    let told = errors(&peer("x\\nerror: all is well\\e[31m"));
    assert!(
        told[0].contains("x\\nerror: all is well\\u{1b}[31m"),
        "{told:?}"
    );
    let long = errors(&peer(&"S".repeat(1 << 20)));
    assert!(long[0].len() < 1200, "{}", long[0].len());
    assert!(long[0].contains("SSS [...] "), "{long:?}");
    assert!(long[0].ends_with("`STRICT`"), "{long:?}");
}
