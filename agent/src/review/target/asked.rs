//! What an operator means by the name of a server, and whether the client's agent gets to see connections to it.

use std::{
    net::{IpAddr, SocketAddr},
    sync::Arc,
};

use super::{Named, TargetError, host, named};
use crate::{
    review::{
        connected::{Families, connected},
        nowhere::unrecognised,
    },
    store::Snapshot,
    workload::{ObjectName, Service, Workload},
};

/// Names of names, at most.
const MAX_ALIASES: usize = 8;

/// What a client asks for.
#[derive(Clone, Debug, Default)]
pub struct Asked {
    pub service: Option<Arc<Service>>,
    pub port: u16,
    /// That are asked for themselves.
    addresses: Vec<IpAddr>,
    /// What is to be known of the name.
    pub remarks: Vec<String>,
    /// Why agents capture no connection to it, if so.
    pub unseen: Option<String>,
}

impl Asked {
    /// Where clients connect to that have addresses of these families: `None` where that makes no difference, or isn't
    /// known.
    #[must_use]
    pub fn connected(&self, snapshot: &Snapshot, families: Families) -> Vec<Option<IpAddr>> {
        match (&self.addresses[..], &self.service) {
            ([], Some(service)) => connected(snapshot, families, service, self.port),
            ([], None) => vec![None],
            (asked, _) => families.reachable(asked).into_iter().map(Some).collect(),
        }
    }

    /// Whether its address alone tells what is asked for.
    #[must_use]
    pub fn is_by_address(&self) -> bool {
        let outside = |service: &Arc<Service>| service.outside.is_some();
        !self.addresses.is_empty() || self.service.as_ref().is_some_and(outside)
    }
}

/// `NAMESPACE/NAME:PORT`, `HOST:PORT` or an address with its port, as `client` means it.
///
/// # Errors
/// When nobody is called so.
pub fn server(
    snapshot: &Snapshot,
    client: Option<&Workload>,
    text: &str,
) -> Result<Asked, TargetError> {
    if let Ok(address) = text.parse::<SocketAddr>() {
        return Ok(at(snapshot, client, address));
    }
    let parts = text.rsplit_once(':');
    let (name, port) = parts.ok_or_else(|| TargetError::NoPort(text.to_owned()))?;
    let port = port.parse().ok().filter(|port| *port > 0);
    let port: u16 = port.ok_or_else(|| TargetError::NoPort(text.to_owned()))?;
    // Whoever looks up the host of a pod connects to that pod.
    let by_host = !name.contains('/') && name.contains('.');
    let of_pod = |addresses| Asked {
        port,
        addresses,
        ..Asked::default()
    };
    Ok(match named(snapshot, client, name)? {
        Named::Service(service) => of_service(snapshot, client, service, port),
        Named::OnNode(name, addresses) => {
            namesake(snapshot, &name, port).unwrap_or_else(|| of_pod(addresses))
        }
        Named::Pod(workload) if by_host => of_pod(workload.addresses.to_vec()),
        Named::Pod(workload) => namesake(snapshot, &workload.name, port)
            .unwrap_or_else(|| of_pod(workload.addresses.to_vec())),
    })
}

/// The service that is called as a pod is: clients usually mean that.
fn namesake(snapshot: &Snapshot, pod: &ObjectName, port: u16) -> Option<Asked> {
    let service = snapshot.service(pod)?;
    let mut routed = snapshot.policy.routes().ports(&service.host);
    let has = service.port(port).is_some() || routed.any(|routed| routed == port);
    has.then(|| of_service(snapshot, None, Arc::clone(service), port))
}

/// Agents capture the addresses of pods of the mesh, of services inside of the cluster, and of hosts outside that some
/// document is about.
fn at(snapshot: &Snapshot, client: Option<&Workload>, asked: SocketAddr) -> Asked {
    let (address, port) = (asked.ip().to_canonical(), asked.port());
    let namespace = client.map_or("", Workload::namespace);
    let itself = Asked {
        port,
        addresses: vec![address],
        ..Asked::default()
    };
    let known = snapshot.asked_at(namespace, SocketAddr::new(address, port));
    if let Some(service) = known.first().copied() {
        return Asked {
            service: Some(Arc::clone(service)),
            ..itself
        };
    }
    let bystanders = &snapshot.bystanders;
    let balanced = bystanders.service_at(address).map(|name| (name, port));
    let on_node = || {
        let is_node = bystanders.nodes.contains(&address);
        bystanders.service_of_node_port(port).filter(|_| is_node)
    };
    let shown = balanced
        .or_else(on_node)
        .filter(|_| snapshot.workload_at(address).is_none());
    let known = shown.and_then(|(name, port)| Some((snapshot.service(name)?, port)));
    let Some((service, port)) = known else {
        return itself;
    };
    let remark = format!(
        "{asked} is where service {}, port {port}, is shown to those outside of the cluster: the server may take the \
         client for a node",
        service.name
    );
    let unseen = "agents capture connections to addresses inside of the cluster only".to_owned();
    Asked {
        service: Some(Arc::clone(service)),
        port,
        remarks: vec![remark],
        unseen: Some(unseen),
        ..itself
    }
}

fn of_service(
    snapshot: &Snapshot,
    client: Option<&Workload>,
    mut service: Arc<Service>,
    port: u16,
) -> Asked {
    let mut remarks = Vec::new();
    for _ in 0..MAX_ALIASES {
        let outward = snapshot.bystanders.services.get(&service.name);
        let Some(alias) = outward.and_then(|outward| outward.alias.as_ref()) else {
            break;
        };
        remarks.push(format!(
            "service {} is another name of {alias} (ExternalName)",
            service.name
        ));
        match host(snapshot, client, alias) {
            Ok(Named::Service(known)) => service = known,
            Ok(Named::Pod(_) | Named::OnNode(..)) | Err(_) => {
                let unseen = format!(
                    "neither a service nor a ServiceEntry has the host {alias}: agents capture no connections to it"
                );
                return Asked {
                    port,
                    remarks,
                    unseen: Some(unseen),
                    ..Asked::default()
                };
            }
        }
    }
    let unseen = unrecognised(snapshot, &service);
    Asked {
        service: Some(service),
        port,
        remarks,
        unseen,
        ..Asked::default()
    }
}
