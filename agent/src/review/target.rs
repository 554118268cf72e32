//! What an operator means by the name of a client or a server.

mod asked;
mod host;
mod ports;
mod similar;

use std::{net::IpAddr, sync::Arc};

pub(super) use asked::{Asked, server};
use host::host;
pub(super) use ports::{Port, Server, ports};
pub use similar::Similar;

use super::connected::Families;
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
    #[error("no pod and no service is called {1}{0}")]
    Unknown(Similar, ObjectName),
    #[error("no service and no pod has the host name {1:?}{0}")]
    UnknownHost(Similar, String),
    #[error("{host} has no port {port}: it has {known}")]
    NoSuchPort {
        host: String,
        port: u16,
        known: String,
    },
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

impl Client {
    /// The client, if it speaks mutual TLS with the identity that it has: in the mesh, or by Istio's own proxy.
    #[must_use]
    pub fn source(&self, snapshot: &Snapshot) -> Option<&Workload> {
        let workload = self.workload.as_deref()?;
        (workload.enrolled || has_own_proxy(snapshot, workload)).then_some(workload)
    }

    /// Its address of the same family as this one, if it has any.
    #[must_use]
    pub fn address_beside(&self, address: IpAddr) -> IpAddr {
        let workload = self.workload.iter();
        let mut own = workload.flat_map(|workload| &*workload.addresses);
        let same = own.find(|own| own.is_ipv4() == address.is_ipv4());
        same.copied().unwrap_or(self.address)
    }

    pub(super) fn families(&self) -> Families {
        match &self.workload {
            Some(workload) => Families::of(&workload.addresses),
            None => Families::of(&[self.address]),
        }
    }

    /// As [`has_own_proxy`].
    #[must_use]
    pub fn has_own_proxy(&self, snapshot: &Snapshot) -> bool {
        let workload = self.workload.as_deref();
        workload.is_some_and(|workload| has_own_proxy(snapshot, workload))
    }
}

/// Whether a pod that is not in the mesh has Istio's own proxy, which speaks what agents speak if it has certificates
/// of the same root.
#[must_use]
pub fn has_own_proxy(snapshot: &Snapshot, workload: &Workload) -> bool {
    snapshot.bystanders.proxies.contains(&workload.name)
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
            let endpoints = service.endpoints();
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
            let endpoints = service.endpoints();
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

/// A pod rather than a service of the same name. Names without a namespace are of the client's, else of `default`.
fn named(snapshot: &Snapshot, client: Option<&Workload>, text: &str) -> Result<Named, TargetError> {
    let own = client.map_or("default", Workload::namespace);
    let (namespace, name) = match text.split_once('/') {
        None if text.contains('.') => return host(snapshot, client, text),
        None => (own, text),
        Some(named) => named,
    };
    if namespace.is_empty() || name.is_empty() || name.contains(['/', ':']) {
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
            Err(match lost {
                Some(conflict) => TargetError::LeftOut(conflict.clone()),
                None => TargetError::Unknown(Similar::names(snapshot, &name), name),
            })
        }
    }
}
