//! Kubeconfig files, as JSON, which is YAML.

use std::net::SocketAddr;

use base64::{Engine as _, prelude::BASE64_STANDARD};
use serde_json::{Value, json};

use crate::pki::Certified;

/// How a client proves who it is.
pub enum Credentials {
    Certificate(Certified),
    Token(String),
}

/// A file with one cluster, one user and one context.
#[must_use]
pub fn document(server: SocketAddr, root_pem: &str, credentials: &Credentials) -> Value {
    let user = match credentials {
        Credentials::Certificate(certified) => json!({
            "client-certificate-data": BASE64_STANDARD.encode(&certified.certificate),
            "client-key-data": BASE64_STANDARD.encode(&certified.key),
        }),
        Credentials::Token(token) => json!({"token": token}),
    };
    json!({
        "apiVersion": "v1", "kind": "Config", "current-context": "test",
        "clusters": [{"name": "test", "cluster": {
            "server": format!("https://{server}"),
            "certificate-authority-data": BASE64_STANDARD.encode(root_pem),
        }}],
        "users": [{"name": "test", "user": user}],
        "contexts": [{"name": "test", "context": {"cluster": "test", "user": "test"}}],
    })
}
