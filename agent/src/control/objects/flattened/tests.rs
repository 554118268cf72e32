//! The texts that people have, and what else may have lost its indentation.

use super::*;
use crate::control::objects::{Collector, Objects};

fn read(text: &str) -> Result<Objects, Vec<String>> {
    let mut collector = Collector::default();
    collector.file("pasted.yaml", text);
    let errors: Vec<_> = collector.errors.iter().map(ToString::to_string).collect();
    if errors.is_empty() {
        Ok(collector.objects)
    } else {
        Err(errors)
    }
}

fn text(flat: &str) -> String {
    match restored(flat) {
        Flattened::Restored { text, .. } => text,
        other => panic!("{other:?}: {flat}"),
    }
}

const DEEP_DIVE: &str = "apiVersion: \"networking.istio.io/v1alpha3\"\nkind: \"DestinationRule\"\nmetadata:\n\
    name: \"bad-rule\"\nnamespace: \"default\"\nspec:\nhost: \"httpbin.default.svc.cluster.local\"\n\
    trafficPolicy:\ntls:\nmode: DISABLE\n";

const WORDPRESS: [&str; 2] = [
    "apiVersion: \"authentication.istio.io/v1alpha1\"\nkind: \"Policy\"\nmetadata:\nname: \"default\"\n\
     namespace: \"wordpress-app\"\nspec:\npeers:\n- mtls: {}\n",
    " apiVersion: \"authentication.istio.io/v1alpha1\"\napiVersion: \"networking.istio.io/v1alpha3\"\n\
     kind: \"DestinationRule\"\nmetadata:\nname: \"vt-wordpress-mariadb\"\nnamespace: \"wordpress-app\"\nspec:\n\
     host: \"*.wordpress-app.svc.cluster.local\"\ntrafficPolicy:\ntls:\nmode: ISTIO_MUTUAL\n",
];

#[test]
fn the_documents_that_people_have_are_read_as_meant() {
    assert_eq!(
        text(DEEP_DIVE),
        "apiVersion: \"networking.istio.io/v1alpha3\"\nkind: \"DestinationRule\"\nmetadata:\n  \
         name: \"bad-rule\"\n  namespace: \"default\"\nspec:\n  host: \"httpbin.default.svc.cluster.local\"\n  \
         trafficPolicy:\n    tls:\n      mode: DISABLE\n"
    );
    let objects = read(DEEP_DIVE).unwrap();
    assert_eq!(objects.documents.destination_rules.len(), 1);
    let objects = read(&WORDPRESS.join("---\n")).unwrap();
    assert_eq!(objects.documents.peer_authentications.len(), 1);
    assert_eq!(objects.documents.destination_rules.len(), 1);
    let warnings = &objects.warnings;
    assert_eq!(
        warnings[0],
        "pasted.yaml:1: document 1: the indentation is missing: read as metadata.name, metadata.namespace, \
         spec.peers[].mtls"
    );
    assert!(
        warnings[2].starts_with("pasted.yaml:11: document 2: the indentation is missing: read as"),
        "{warnings:#?}"
    );
    assert!(warnings[3].starts_with("pasted.yaml:10: document 2: there is no such kind"));
}

#[test]
fn lists_ports_and_repeated_keys_find_their_places() {
    let flat = "apiVersion: security.istio.io/v1\nkind: PeerAuthentication\nmetadata:\nname: x\nspec:\nselector:\n\
                matchLabels:\napp: finance\nmtls:\nmode: STRICT\nportLevelMtls:\n8080:\nmode: DISABLE\n";
    assert!(text(flat).ends_with(
        "spec:\n  selector:\n    matchLabels:\n      app: finance\n  mtls:\n    mode: STRICT\n  portLevelMtls:\n    \
         8080:\n      mode: DISABLE\n"
    ));
    assert!(read(flat).is_ok());
    let flat = "# a comment\n---\napiVersion: security.istio.io/v1\nkind: AuthorizationPolicy\nmetadata:\nname: x\n\
                spec:\naction: DENY\nrules:\n- from:\n- source:\nprincipals: [\"a\"]\n- source:\nnamespaces:\n- dev\n\
                - test\nto:\n- operation:\nports: [\"80\"]\n- when:\n- key: source.ip\nvalues: [\"10.0.0.1\"]\n";
    assert!(text(flat).ends_with(
        "  rules:\n    - from:\n        - source:\n            principals: [\"a\"]\n        - source:\n            \
         namespaces:\n              - dev\n              - test\n      to:\n        - operation:\n            \
         ports: [\"80\"]\n    - when:\n        - key: source.ip\n          values: [\"10.0.0.1\"]\n"
    ), "{}", text(flat));
    assert!(read(flat).is_ok());
}

#[test]
fn what_may_mean_two_things_is_refused_with_its_line() {
    let labels = "apiVersion: security.istio.io/v1\nkind: PeerAuthentication\nmetadata:\nlabels:\napp: x\nname: y\n";
    assert_eq!(restored(labels), Flattened::Ambiguous { line: 6 });
    assert_eq!(
        read(labels).unwrap_err(),
        [
            "pasted.yaml:6: document 1: the indentation is missing, and it can't be told what this belongs to: \
             indent the document"
        ]
    );
    let unknown = format!("{DEEP_DIVE}loadBalancer: {{}}\n");
    assert_eq!(restored(&unknown), Flattened::Ambiguous { line: 11 });
    let after = format!("kind: Pod\n---\n{labels}");
    assert!(read(&after).unwrap_err()[1].starts_with("pasted.yaml:8: document 2: the indentation"));
}

#[test]
fn what_is_indented_or_complete_is_left_alone() {
    for text in [
        "apiVersion: security.istio.io/v1\nkind: PeerAuthentication\nmetadata:\n  name: x\n",
        "apiVersion: security.istio.io/v1\nkind: PeerAuthentication\nmetadata:\n name: x\nspec:\nmtls:\nmode: STRICT\n",
        "apiVersion: security.istio.io/v1\nkind: PeerAuthentication\nmetadata: {name: x}\nspec:\n",
        "apiVersion: security.istio.io/v1\nkind: PeerAuthentication\nmetadata:\n\tname: x\n",
        "apiVersion: v1\nkind: Pod\nmetadata:\nname: x\n",
        "apiVersion: security.istio.io/v1\nkind: PeerAuthentification\nmetadata:\nname: x\n",
        "",
        "just words\n",
    ] {
        assert_eq!(restored(text), Flattened::No, "{text}");
    }
}

#[test]
fn what_is_indented_as_a_whole_is_read_all_the_same() {
    let text = "\n    ---\n    apiVersion: security.istio.io/v1beta1\n    kind: PeerAuthentication\n    metadata:\n      \
                name: default\n    spec:\n      mtls:\n        mode: STRICT\n    ---\n    kind: Pod\n";
    let errors = read(text).unwrap_err();
    assert_eq!(
        errors,
        ["pasted.yaml:11: document 2: apiVersion: missing: write `apiVersion: v1`"]
    );
    assert_eq!(dedented("a:\n  b\n"), "a:\n  b\n");
    assert_eq!(dedented("  a:\r\n\r\n    b\r\n"), "a:\r\n\r\n  b\r\n");
}
