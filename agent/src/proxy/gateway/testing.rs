//! Entrances from documents.

use std::{
    collections::HashMap,
    sync::Arc,
    time::{Duration, Instant},
};

use super::{Entrance, Gateway};
use crate::{
    control::{Settings, load_texts},
    offload::{Capabilities, KeyLimit},
    proxy::{KernelTls, Offload, Timeouts},
    telemetry::Metrics,
    workload::ObjectName,
};

const MESH: &str = r#"
apiVersion: v1
kind: Namespace
metadata: {name: shop, labels: {istio-injection: enabled}}
---
apiVersion: v1
kind: Pod
metadata: {name: edge, namespace: edge, labels: {app: edge}}
spec: {serviceAccountName: edge, nodeName: a, containers: [{name: c}]}
status: {phase: Running, podIP: 10.0.0.9, podIPs: [{ip: 10.0.0.9}], conditions: [{type: Ready, status: "True"}]}
"#;
pub(super) const GATEWAY: &str = r#"
apiVersion: networking.istio.io/v1
kind: Gateway
metadata: {name: edge, namespace: edge}
spec:
  selector: {app: edge}
  servers:
  - {port: {number: 80, name: http, protocol: HTTP}, hosts: ["*"]}
  - {port: {number: 443, name: tls, protocol: TLS}, hosts: ["*"], tls: {mode: PASSTHROUGH}}
  - {port: {number: 8443, name: https, protocol: HTTPS}, hosts: ["*"], tls: {mode: SIMPLE, credentialName: c}}
"#;

pub(super) fn service(name: &str, last: u8, ready: bool) -> String {
    format!(
        r#"
apiVersion: v1
kind: Pod
metadata: {{name: {name}, namespace: shop, labels: {{app: {name}}}}}
spec: {{serviceAccountName: {name}, nodeName: a, containers: [{{name: c}}]}}
status: {{phase: Running, podIP: 10.0.0.{last}, podIPs: [{{ip: 10.0.0.{last}}}], conditions: [{{type: Ready, status: "{}"}}]}}
---
apiVersion: v1
kind: Service
metadata: {{name: {name}, namespace: shop}}
spec: {{clusterIP: 10.1.0.{last}, clusterIPs: [10.1.0.{last}], selector: {{app: {name}}}, ports: [{{port: 80}}]}}
"#,
        if ready { "True" } else { "False" }
    )
}

pub(super) fn route(name: &str, host: &str, list: &str, to: &str) -> String {
    format!(
        r#"
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {{name: {name}, namespace: edge}}
spec:
  hosts: ["{host}"]
  gateways: [edge]
  {list}route: [{{destination: {{host: {to}.shop.svc.cluster.local}}}}]}}]
"#
    )
}

pub(super) fn entrance(documents: &[&str]) -> Entrance {
    let services = [service("web", 1, true), service("other", 2, true)];
    entrance_to(&services, documents)
}

pub(super) fn entrance_to(services: &[String], documents: &[&str]) -> Entrance {
    let mut all = vec![MESH];
    all.extend(services.iter().map(String::as_str));
    all.extend(documents);
    let loaded = load_texts(&[("x.yaml", &all.join("\n---\n"))], &Settings::of_tests());
    let snapshot = Arc::new(loaded.map(|l| l.mesh.into_snapshot()).unwrap());
    let own = snapshot.workload(&ObjectName::new("edge", "edge")).unwrap();
    Entrance {
        own: Arc::clone(own),
        snapshot,
        terminations: HashMap::new(),
        revoked: Arc::default(),
    }
}

pub(super) fn gateway(entrance: Entrance) -> Arc<Gateway> {
    let offload = Offload {
        capabilities: Capabilities::default(),
        allowed: KernelTls::Off,
        key_limit: KeyLimit::DEFAULT,
    };
    let second = Duration::from_secs(1);
    let timeouts = Timeouts {
        handshake: second,
        detect: second,
        connect: second,
    };
    let gateway = Gateway::new(offload, Metrics::new().unwrap(), timeouts);
    gateway.enter_by(Some(&Arc::new(entrance)), Instant::now());
    Arc::new(gateway)
}
