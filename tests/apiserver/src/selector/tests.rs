use serde_json::json;

use super::*;
use crate::resources::Registry;

fn selected(labels: &str, fields: &str) -> bool {
    let pods = Registry::default().find("", "v1", "pods").unwrap();
    let pod = json!({
        "metadata": {"name": "a", "namespace": "ns", "labels": {"app": "web", "tier": "front"}},
        "spec": {"nodeName": "n1"},
    });
    let pod = Stored::new(pod, 1).unwrap();
    Selection::new(&pods, "", labels, fields)
        .unwrap()
        .selects(&pod)
}

#[test]
fn labels_are_compared_as_documented() {
    for holds in [
        "app=web",
        "app==web",
        "app in (api, web),tier",
        "app!=api",
        "!none",
        "none!=x",
        "app notin (api)",
    ] {
        assert!(selected(holds, ""), "{holds}");
    }
    for fails in [
        "app=api",
        "none",
        "!app",
        "app notin (web,api)",
        "app=web,tier=back",
        "app!=web",
    ] {
        assert!(!selected(fails, ""), "{fails}");
    }
}

#[test]
fn fields_are_compared_and_absent_ones_are_empty() {
    assert!(selected(
        "",
        "spec.nodeName=n1,metadata.namespace=ns,metadata.name!=b"
    ));
    assert!(selected("", "status.phase="));
    assert!(!selected("", "spec.nodeName!=n1"));
}

#[test]
fn what_nobody_can_select_by_is_refused() {
    let pods = Registry::default().find("", "v1", "pods").unwrap();
    for (labels, fields) in [
        ("", "spec.color=red"),
        ("", "nonsense"),
        ("a b", ""),
        ("=x", ""),
        ("a near (b)", ""),
    ] {
        let refused = Selection::new(&pods, "", labels, fields).unwrap_err();
        assert_eq!(refused.code, 400, "{labels}{fields}");
    }
}
