use hyper::Request;

use super::*;

fn target(method: &str, uri: &str) -> Target {
    let request = Request::builder().method(method).uri(uri).body(()).unwrap();
    let (parts, ()) = request.into_parts();
    let query = Query::new(parts.uri.query().unwrap_or_default());
    Target::new(&parts, &query)
}

fn told(target: &Target) -> [&str; 7] {
    let Target {
        verb,
        group,
        version,
        plural,
        subresource,
        namespace,
        name,
        ..
    } = target;
    [verb, group, version, plural, subresource, namespace, name]
}

#[test]
fn paths_are_read_as_the_api_documents_them() {
    let cases = [
        (
            "GET",
            "/api/v1/pods",
            ["list", "", "v1", "pods", "", "", ""],
        ),
        (
            "GET",
            "/api/v1/pods?watch=1",
            ["watch", "", "v1", "pods", "", "", ""],
        ),
        (
            "GET",
            "/api/v1/pods?watch=false",
            ["list", "", "v1", "pods", "", "", ""],
        ),
        (
            "DELETE",
            "/api/v1/namespaces/a/pods",
            ["deletecollection", "", "v1", "pods", "", "a", ""],
        ),
        (
            "GET",
            "/api/v1/namespaces/a",
            ["get", "", "v1", "namespaces", "", "a", "a"],
        ),
        (
            "PUT",
            "/api/v1/namespaces/a/status",
            ["update", "", "v1", "namespaces", "status", "a", "a"],
        ),
        (
            "POST",
            "/api/v1/namespaces/a/serviceaccounts/b/token",
            ["create", "", "v1", "serviceaccounts", "token", "a", "b"],
        ),
        (
            "PATCH",
            "/apis/apps/v1/namespaces/a/deployments/d",
            ["patch", "apps", "v1", "deployments", "", "a", "d"],
        ),
    ];
    for (method, uri, expected) in cases {
        assert_eq!(told(&target(method, uri)), expected, "{method} {uri}");
    }
}

#[test]
fn what_is_no_resource_has_a_path_only() {
    for uri in ["/healthz", "/api", "/api/v1", "/apis/apps", "/apis/apps/v1"] {
        let target = target("GET", uri);
        assert!(!target.is_resource, "{uri}");
        assert_eq!((target.verb, target.path.as_str()), ("get", uri));
    }
}
