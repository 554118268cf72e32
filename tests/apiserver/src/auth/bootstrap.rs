//! The objects that a cluster starts with: namespaces, roles for everybody, the API's own service.

use std::sync::Arc;

use serde_json::{Value, json};

use crate::{
    objects::{self, Place},
    server::Cluster,
    status::Status,
};

/// # Errors
/// When an object can't be made.
pub fn bootstrap(cluster: &Arc<Cluster>) -> Result<(), Status> {
    for namespace in ["default", "kube-system", "kube-public", "kube-node-lease"] {
        make(
            cluster,
            "namespaces",
            "",
            json!({"metadata": {"name": namespace}}),
        )?;
    }
    let everything = json!([
        {"apiGroups": ["*"], "resources": ["*"], "verbs": ["*"]},
        {"nonResourceURLs": ["*"], "verbs": ["*"]},
    ]);
    let discovery = json!([{
        "nonResourceURLs": [
            "/api", "/api/*", "/apis", "/apis/*", "/healthz", "/livez", "/openapi", "/openapi/*", "/readyz",
            "/version", "/version/",
        ],
        "verbs": ["get"],
    }]);
    let basic = json!([
        {"apiGroups": ["authorization.k8s.io"], "resources": ["selfsubjectaccessreviews", "selfsubjectrulesreviews"], "verbs": ["create"]},
        {"apiGroups": ["authentication.k8s.io"], "resources": ["selfsubjectreviews"], "verbs": ["create"]},
    ]);
    let public = json!([{
        "nonResourceURLs": ["/healthz", "/livez", "/readyz", "/version", "/version/"], "verbs": ["get"],
    }]);
    let issuer = json!([{
        "nonResourceURLs": ["/.well-known/openid-configuration", "/openid/v1/jwks"], "verbs": ["get"],
    }]);
    let delegator = json!([
        {"apiGroups": ["authentication.k8s.io"], "resources": ["tokenreviews"], "verbs": ["create"]},
        {"apiGroups": ["authorization.k8s.io"], "resources": ["subjectaccessreviews"], "verbs": ["create"]},
    ]);
    let everybody = ["system:authenticated", "system:unauthenticated"];
    role(cluster, "cluster-admin", &everything, &["system:masters"])?;
    role(cluster, "system:discovery", &discovery, &everybody[..1])?;
    role(cluster, "system:basic-user", &basic, &everybody[..1])?;
    role(cluster, "system:public-info-viewer", &public, &everybody)?;
    role(
        cluster,
        "system:service-account-issuer-discovery",
        &issuer,
        &["system:serviceaccounts"],
    )?;
    role(cluster, "system:auth-delegator", &delegator, &[])?;
    let service = json!({
        "metadata": {"name": "kubernetes"},
        "spec": {"clusterIP": "10.96.0.1", "ports": [{"name": "https", "port": 443, "targetPort": 6443}]},
    });
    make(cluster, "services", "default", service)
}

fn role(cluster: &Arc<Cluster>, name: &str, rules: &Value, groups: &[&str]) -> Result<(), Status> {
    make(
        cluster,
        "clusterroles.rbac.authorization.k8s.io",
        "",
        json!({"metadata": {"name": name}, "rules": rules}),
    )?;
    if groups.is_empty() {
        return Ok(());
    }
    let api_group = "rbac.authorization.k8s.io";
    let subjects: Vec<Value> = groups
        .iter()
        .map(|group| json!({"kind": "Group", "name": group, "apiGroup": api_group}))
        .collect();
    let binding = json!({
        "metadata": {"name": name}, "subjects": subjects,
        "roleRef": {"kind": "ClusterRole", "name": name, "apiGroup": api_group},
    });
    make(
        cluster,
        "clusterrolebindings.rbac.authorization.k8s.io",
        "",
        binding,
    )
}

fn make(cluster: &Arc<Cluster>, id: &str, namespace: &str, object: Value) -> Result<(), Status> {
    let resource = cluster
        .registry
        .by_id(id)
        .ok_or_else(Status::no_such_path)?;
    let place = Place {
        resource: &resource,
        version: "v1",
        namespace,
        name: "",
        is_dry_run: false,
    };
    objects::create(cluster, place, object).map(|_| ())
}
