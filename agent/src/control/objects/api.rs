//! Kubernetes objects, cut down to the fields that the mesh needs
//! (<https://kubernetes.io/docs/reference/kubernetes-api/>).
//!
//! The generated types of a client library carry every field of a pod through every deserializer: most of
//! the agent's size and compile time, for fields that are dropped right away.

use std::collections::BTreeMap;

use serde::Deserialize;

/// Declares API types: all fields optional but those marked so, camel case unless renamed.
macro_rules! api {
    ($($name:ident { $($(#[$attribute:meta])* $field:ident: $type:ty,)* })*) => {$(
        #[derive(Clone, Debug, Default, Deserialize)]
        #[serde(rename_all = "camelCase")]
        pub struct $name { $($(#[$attribute])* pub $field: $type,)* }
    )*};
}

api! {
    ObjectMeta {
        name: Option<String>,
        namespace: Option<String>,
        uid: Option<String>,
        resource_version: Option<String>,
        labels: Option<BTreeMap<String, String>>,
        annotations: Option<BTreeMap<String, String>>,
        creation_timestamp: Option<jiff::Timestamp>,
        deletion_timestamp: Option<jiff::Timestamp>,
        owner_references: Option<Vec<OwnerReference>>,
    }
    OwnerReference {
        #[serde(default)]
        api_version: String,
        kind: String,
        name: String,
        controller: Option<bool>,
    }
    Namespace {
        #[serde(default)]
        metadata: ObjectMeta,
    }
    ConfigMap {
        #[serde(default)]
        metadata: ObjectMeta,
        data: Option<BTreeMap<String, String>>,
        binary_data: Option<BTreeMap<String, serde::de::IgnoredAny>>,
    }
    Pod {
        #[serde(default)]
        metadata: ObjectMeta,
        spec: Option<PodSpec>,
        status: Option<PodStatus>,
    }
    PodSpec {
        node_name: Option<String>,
        service_account_name: Option<String>,
        host_network: Option<bool>,
        hostname: Option<String>,
        subdomain: Option<String>,
        #[serde(default)]
        containers: Vec<Container>,
        init_containers: Option<Vec<Container>>,
    }
    Container {
        name: Option<String>,
        ports: Option<Vec<ContainerPort>>,
        restart_policy: Option<String>,
        liveness_probe: Option<Probe>,
        readiness_probe: Option<Probe>,
        startup_probe: Option<Probe>,
        lifecycle: Option<Lifecycle>,
    }
    Probe {
        http_get: Option<Asked>,
        tcp_socket: Option<Asked>,
        grpc: Option<Grpc>,
    }
    Lifecycle {
        post_start: Option<Hook>,
        pre_stop: Option<Hook>,
    }
    Hook {
        http_get: Option<Asked>,
    }
    Asked {
        host: Option<String>,
        port: Option<IntOrString>,
    }
    Grpc {
        port: Option<i32>,
    }
    ContainerPort {
        name: Option<String>,
        container_port: i32,
        protocol: Option<String>,
    }
    PodStatus {
        phase: Option<String>,
        #[serde(rename = "hostIP")]
        host_ip: Option<String>,
        #[serde(rename = "podIP")]
        pod_ip: Option<String>,
        #[serde(rename = "podIPs")]
        pod_ips: Option<Vec<PodIp>>,
        conditions: Option<Vec<PodCondition>>,
    }
    PodIp {
        ip: String,
    }
    PodCondition {
        #[serde(rename = "type")]
        type_: String,
        status: String,
    }
    Service {
        #[serde(default)]
        metadata: ObjectMeta,
        spec: Option<ServiceSpec>,
        status: Option<ServiceStatus>,
    }
    ServiceStatus {
        load_balancer: Option<LoadBalancerStatus>,
    }
    LoadBalancerStatus {
        ingress: Option<Vec<LoadBalancerIngress>>,
    }
    LoadBalancerIngress {
        ip: Option<String>,
    }
    ServiceSpec {
        #[serde(rename = "type")]
        type_: Option<String>,
        external_name: Option<String>,
        #[serde(rename = "externalIPs")]
        external_ips: Option<Vec<String>>,
        #[serde(rename = "clusterIP")]
        cluster_ip: Option<String>,
        #[serde(rename = "clusterIPs")]
        cluster_ips: Option<Vec<String>>,
        selector: Option<BTreeMap<String, String>>,
        ports: Option<Vec<ServicePort>>,
        publish_not_ready_addresses: Option<bool>,
    }
    ServicePort {
        name: Option<String>,
        port: i32,
        protocol: Option<String>,
        app_protocol: Option<String>,
        node_port: Option<i32>,
        target_port: Option<IntOrString>,
    }
    EndpointSlice {
        #[serde(default)]
        metadata: ObjectMeta,
        #[serde(default)]
        address_type: String,
        endpoints: Option<Vec<Endpoint>>,
        ports: Option<Vec<EndpointPort>>,
    }
    Endpoint {
        #[serde(default)]
        addresses: Vec<String>,
        conditions: Option<EndpointConditions>,
    }
    EndpointConditions {
        ready: Option<bool>,
        serving: Option<bool>,
        terminating: Option<bool>,
    }
    EndpointPort {
        name: Option<String>,
        port: Option<i32>,
        protocol: Option<String>,
    }
}

/// `intstr.IntOrString`.
#[derive(Clone, Debug, Deserialize)]
#[serde(untagged, expecting = "a port number or the name of a port")]
pub enum IntOrString {
    Int(i32),
    String(String),
}
