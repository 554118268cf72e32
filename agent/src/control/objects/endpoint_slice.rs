//! `discovery.k8s.io/v1/EndpointSlice`
//! (<https://kubernetes.io/docs/reference/kubernetes-api/service-resources/endpoint-slice-v1/>).

use std::net::IpAddr;

use super::{
    BadField, FromObject,
    api::{Endpoint, EndpointConditions, EndpointSlice},
    metadata,
};
use crate::{control::yaml::FieldPath, workload::ObjectName};

const SERVICE_NAME: &str = "kubernetes.io/service-name";

/// Endpoints of one service, of one address family.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EndpointSliceFacts {
    /// `None` if it belongs to no service.
    pub service: Option<ObjectName>,
    /// TCP only.
    pub ports: Vec<SlicePort>,
    pub endpoints: Vec<SliceEndpoint>,
}

/// A port that all endpoints of a slice have.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SlicePort {
    /// Of the service's port; empty if that has none.
    pub name: String,
    pub port: u16,
}

/// One replica.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SliceEndpoint {
    pub address: IpAddr,
    pub condition: Condition,
}

/// What an endpoint can be used for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Condition {
    /// Or unknown, which the API's reference takes for ready.
    Ready,
    /// Ends, and answers until then.
    Lingering,
    Unready,
}

impl FromObject for EndpointSliceFacts {
    type Object = EndpointSlice;

    fn from_object(name: &ObjectName, slice: EndpointSlice) -> Result<Self, Vec<BadField>> {
        let mut bad = Vec::new();
        let mut ports = Vec::new();
        for (index, port) in slice.ports.iter().flatten().enumerate() {
            let Some(number) = port.port else { continue };
            if !metadata::is_tcp(port.protocol.as_deref()) {
                continue;
            }
            let field = FieldPath::of("ports").index(index).key("port");
            let port = metadata::port(number, &field).map(|number| SlicePort {
                name: port.name.clone().unwrap_or_default(),
                port: number,
            });
            metadata::sort_out(port, &mut ports, &mut bad);
        }
        let mut endpoints = Vec::new();
        if slice.address_type != "FQDN" {
            for (index, endpoint) in slice.endpoints.iter().flatten().enumerate() {
                let path = FieldPath::of("endpoints").index(index);
                if let Some(endpoint) = slice_endpoint(endpoint, &path) {
                    metadata::sort_out(endpoint, &mut endpoints, &mut bad);
                }
            }
        }
        if !bad.is_empty() {
            return Err(bad);
        }
        ports.shrink_to_fit();
        endpoints.shrink_to_fit();
        let labels = slice.metadata.labels.unwrap_or_default();
        Ok(Self {
            service: labels
                .get(SERVICE_NAME)
                .map(|service| ObjectName::new(&name.namespace, service)),
            ports,
            endpoints,
        })
    }
}

/// All addresses of an endpoint mean the same replica: the first will do, as the API's reference says.
fn slice_endpoint(
    endpoint: &Endpoint,
    path: &FieldPath,
) -> Option<Result<SliceEndpoint, BadField>> {
    let field = path.clone().key("addresses").index(0);
    let address = metadata::address(endpoint.addresses.first()?, &field);
    let condition = condition(endpoint.conditions.as_ref());
    Some(address.map(|address| SliceEndpoint { address, condition }))
}

fn condition(conditions: Option<&EndpointConditions>) -> Condition {
    let Some(conditions) = conditions else {
        return Condition::Ready;
    };
    match (conditions.ready, conditions.serving, conditions.terminating) {
        (None | Some(true), _, _) => Condition::Ready,
        (Some(false), Some(true), Some(true)) => Condition::Lingering,
        (Some(false), _, _) => Condition::Unready,
    }
}
