//! What an operator means by the name of a client or a server.

mod asked;
mod ports;

use std::{net::IpAddr, sync::Arc};

pub(super) use asked::{Asked, server};
pub(super) use ports::{Port, Server, ports};

use crate::{
    store::{Conflict, Snapshot},
    workload::{Bystander, ObjectName, Service, Workload},
};

/// Why a name says nothing.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum TargetError {
    #[error("{0:?} is not NAMESPACE/POD, NAMESPACE/SERVICE, a service's host name or an address")]
    Form(String),
    #[error(
        "{0:?} names no port: write NAMESPACE/NAME:PORT, HOST:PORT, ADDRESS:PORT or [ADDRESS]:PORT"
    )]
    NoPort(String),
    #[error("no pod and no service is called {0}")]
    Unknown(ObjectName),
    #[error("no service has the host name {0:?}")]
    UnknownHost(String),
    #[error("no service leads to {0}: name one of its ports, such as NAMESPACE/POD:8080")]
    NoService(String),
    #[error("no pod has the address {0}")]
    NoPod(IpAddr),
    #[error("service {0} has no ready pod")]
    NoEndpoint(ObjectName),
    #[error("pod {0} has finished: it has no connections")]
    Finished(ObjectName),
    #[error("pod {0} has no address yet")]
    Pending(ObjectName),
    /// Another one has its address.
    #[error("{0}")]
    LeftOut(Conflict),
    #[error(
        "pod {0} is on the network of its node, and so not in the mesh: policy says nothing of it"
    )]
    HostNetwork(ObjectName),
}

/// Somebody who connects. An address that no pod has is a stranger's.
#[derive(Clone, Debug)]
pub struct Client {
    pub address: IpAddr,
    pub workload: Option<Arc<Workload>>,
    /// The pod, if it is one on the network of its node.
    pub on_node: Option<ObjectName>,
}

/// A pod, any ready pod of a service, or an address.
///
/// # Errors
/// When nobody is called so.
pub fn client(snapshot: &Snapshot, text: &str) -> Result<Client, TargetError> {
    if let Ok(address) = text.parse::<IpAddr>() {
        let address = address.to_canonical();
        return Ok(Client {
            address,
            workload: snapshot.workload_at(address).cloned(),
            on_node: None,
        });
    }
    let pod = |workload: &Arc<Workload>| Client {
        // Workloads have at least one.
        address: workload.addresses.first().map_or([0; 4].into(), |a| *a),
        workload: Some(Arc::clone(workload)),
        on_node: None,
    };
    match named(snapshot, None, text)? {
        Named::Pod(workload) => Ok(pod(&workload)),
        Named::OnNode(name, addresses) => Ok(Client {
            address: addresses.first().map_or([0; 4].into(), |a| *a),
            workload: None,
            on_node: Some(name),
        }),
        Named::Service(service) => {
            let endpoints = service.ports.iter().flat_map(|p| &p.endpoints);
            let pods = endpoints.filter_map(|e| snapshot.workload_at(e.address));
            let first = pods.min_by(|a, b| a.name.cmp(&b.name)).map(pod);
            first.ok_or_else(|| TargetError::NoEndpoint(service.name.clone()))
        }
    }
}

/// A pod, the pods of a service, or the pod of an address.
///
/// # Errors
/// When nobody is called so.
pub fn workloads(snapshot: &Snapshot, text: &str) -> Result<Vec<Arc<Workload>>, TargetError> {
    if let Ok(address) = text.parse::<IpAddr>() {
        let workload = snapshot.workload_at(address.to_canonical()).cloned();
        let none = || TargetError::NoPod(address);
        return workload.map(|w| vec![w]).ok_or_else(none);
    }
    match named(snapshot, None, text)? {
        Named::Pod(workload) => Ok(vec![workload]),
        Named::OnNode(name, _) => Err(TargetError::HostNetwork(name)),
        Named::Service(service) => {
            let endpoints = service.ports.iter().flat_map(|p| &p.endpoints);
            let pods = endpoints.filter_map(|e| snapshot.workload_at(e.address));
            let mut pods: Vec<_> = pods.cloned().collect();
            pods.sort_unstable_by(|a, b| a.name.cmp(&b.name));
            pods.dedup_by(|a, b| a.name == b.name);
            if pods.is_empty() {
                return Err(TargetError::NoEndpoint(service.name.clone()));
            }
            Ok(pods)
        }
    }
}

enum Named {
    Pod(Arc<Workload>),
    Service(Arc<Service>),
    /// A pod on the network of its node, whose addresses these are.
    OnNode(ObjectName, Vec<IpAddr>),
}

/// A pod rather than a service of the same name.
fn named(snapshot: &Snapshot, client: Option<&Workload>, text: &str) -> Result<Named, TargetError> {
    let Some((namespace, name)) = text.split_once('/') else {
        return host(snapshot, client, text).map(Named::Service);
    };
    if namespace.is_empty() || name.is_empty() || name.contains('/') {
        return Err(TargetError::Form(text.to_owned()));
    }
    let name = ObjectName::new(namespace, name);
    if let Some(workload) = snapshot.workload(&name) {
        return Ok(Named::Pod(Arc::clone(workload)));
    }
    match (bystander(snapshot, name.clone()), snapshot.service(&name)) {
        (Err(_), Some(service)) => Ok(Named::Service(Arc::clone(service))),
        (pod, _) => pod,
    }
}

/// A pod that is no workload, or why it is none.
fn bystander(snapshot: &Snapshot, name: ObjectName) -> Result<Named, TargetError> {
    match snapshot.bystanders.pods.get(&name) {
        Some(Bystander::HostNetwork(addresses)) => Ok(Named::OnNode(name, addresses.clone())),
        Some(Bystander::Finished) => Err(TargetError::Finished(name)),
        Some(Bystander::Pending) => Err(TargetError::Pending(name)),
        None => {
            let mut conflicts = snapshot.conflicts().iter();
            let lost = conflicts.find(|conflict| conflict.loser == name);
            Err(lost.map_or(TargetError::Unknown(name), |conflict| {
                TargetError::LeftOut(conflict.clone())
            }))
        }
    }
}

/// `NAME.NAMESPACE`, with or without what follows, or a host outside.
fn host(
    snapshot: &Snapshot,
    client: Option<&Workload>,
    text: &str,
) -> Result<Arc<Service>, TargetError> {
    if !text.contains('.') {
        return Err(TargetError::Form(text.to_owned()));
    }
    let text = &*text.trim_end_matches('.').to_ascii_lowercase();
    let namespace = client.map_or("", Workload::namespace);
    let of_any = || snapshot.services().find(|service| service.host == text);
    if let Some(service) = snapshot.service_named(namespace, text).or_else(of_any) {
        return Ok(Arc::clone(service));
    }
    let mut parts = text.split('.');
    let name = ObjectName::new(
        parts.nth(1).unwrap_or_default(),
        text.split('.').next().unwrap_or_default(),
    );
    let service = snapshot.service(&name).filter(|service| {
        let rest = service.host.strip_prefix(text);
        rest.is_some_and(|rest| rest.is_empty() || rest.starts_with('.'))
    });
    let service = service.or_else(|| of_wildcard(snapshot, text));
    let service = service.map(Arc::clone);
    service.ok_or_else(|| TargetError::UnknownHost(text.to_owned()))
}

/// The host outside that is written `*.` and the end of this one; of several the longest.
fn of_wildcard<'s>(snapshot: &'s Snapshot, text: &str) -> Option<&'s Arc<Service>> {
    let matching = snapshot.services().filter(|service| {
        let end = service.host.strip_prefix('*');
        service.outside.is_some() && end.is_some_and(|end| text.ends_with(end))
    });
    matching.max_by_key(|service| (service.host.len(), std::cmp::Reverse(&service.name)))
}
