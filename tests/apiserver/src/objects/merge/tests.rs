use serde_json::json;

use super::*;

#[test]
fn lists_with_keys_are_merged_and_others_replaced() {
    let mut pod = json!({"spec": {
        "containers": [{"name": "a", "image": "1", "args": ["x"]}, {"name": "b"}],
        "tolerations": [{"key": "old"}],
    }});
    apply(
        &mut pod,
        &json!({"spec": {
            "$setElementOrder/containers": [{"name": "c"}, {"name": "a"}],
            "containers": [{"name": "a", "image": "2"}, {"name": "b", "$patch": "delete"}, {"name": "c"}],
            "tolerations": [{"key": "new"}],
        }}),
    );
    let expected = json!({"spec": {
        "containers": [{"name": "c"}, {"name": "a", "image": "2", "args": ["x"]}],
        "tolerations": [{"key": "new"}],
    }});
    assert_eq!(pod, expected);
}

#[test]
fn directives_replace_retain_and_delete() {
    let mut object = json!({"finalizers": ["a", "b"], "strategy": {"type": "x", "more": 1}, "map": {"k": "v"}, "n": 1});
    apply(
        &mut object,
        &json!({
            "$deleteFromPrimitiveList/finalizers": ["a"], "finalizers": ["c"], "n": null,
            "strategy": {"$retainKeys": ["type"], "type": "y"}, "map": {"$patch": "replace", "z": "1"},
        }),
    );
    let expected = json!({"finalizers": ["b", "c"], "strategy": {"type": "y"}, "map": {"z": "1"}});
    assert_eq!(object, expected);
}
