//! What an operator means by the name of a client or a server.

use std::{
    net::{IpAddr, SocketAddr},
    sync::Arc,
};

use crate::{
    store::Snapshot,
    workload::{Endpoint, ObjectName, Service, ServicePort, Workload},
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
    #[error("service {service} has no port {port}: it has {known}")]
    UnknownPort {
        service: ObjectName,
        port: u16,
        known: String,
    },
    #[error("no service leads to {0}")]
    NoService(String),
    #[error("no pod has the address {0}")]
    NoPod(IpAddr),
    #[error("service {0} has no ready pod")]
    NoEndpoint(ObjectName),
}

/// Somebody who connects. An address that no pod has is a stranger's.
#[derive(Clone, Debug)]
pub struct Client {
    pub address: IpAddr,
    pub workload: Option<Arc<Workload>>,
}

/// What a client asks for.
#[derive(Clone, Debug)]
pub struct Asked {
    pub service: Option<Arc<Service>>,
    pub port: u16,
    /// That are asked for themselves.
    addresses: Vec<IpAddr>,
}

impl Asked {
    /// The one that is asked for, if there is one.
    #[must_use]
    pub fn address(&self) -> Option<IpAddr> {
        match self.addresses[..] {
            [address] => Some(address),
            _ => None,
        }
    }

    /// What is asked for, without a service.
    #[must_use]
    pub fn endpoints(&self) -> Vec<Endpoint> {
        let endpoint = |address: &IpAddr| Endpoint {
            address: *address,
            port: self.port,
        };
        self.addresses.iter().map(endpoint).collect()
    }
}

/// A pod, any ready pod of a service, or an address.
///
/// # Errors
/// When nobody is called so.
pub fn client(snapshot: &Snapshot, text: &str) -> Result<Client, TargetError> {
    if let Ok(address) = text.parse::<IpAddr>() {
        let address = address.to_canonical();
        let workload = snapshot.workload_at(address).cloned();
        return Ok(Client { address, workload });
    }
    let (workload, name) = match named(snapshot, None, text)? {
        Named::Pod(workload) => (Some(workload), None),
        Named::Service(service) => {
            let endpoints = service.ports.iter().flat_map(|p| &p.endpoints);
            let pods = endpoints.filter_map(|e| snapshot.workload_at(e.address));
            (
                pods.min_by(|a, b| a.name.cmp(&b.name)).cloned(),
                Some(service),
            )
        }
    };
    match (workload, name) {
        (Some(workload), _) => Ok(Client {
            // Workloads have at least one.
            address: workload
                .addresses
                .first()
                .copied()
                .unwrap_or(IpAddr::from([0; 4])),
            workload: Some(workload),
        }),
        (None, Some(service)) => Err(TargetError::NoEndpoint(service.name.clone())),
        (None, None) => Err(TargetError::Form(text.to_owned())),
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
        let ip = address.ip().to_canonical();
        let to = SocketAddr::new(ip, address.port());
        let namespace = client.map_or("", Workload::namespace);
        let asked = snapshot.asked_at(namespace, to);
        return Ok(Asked {
            service: asked.first().copied().cloned(),
            port: address.port(),
            addresses: vec![ip],
        });
    }
    let parts = text.rsplit_once(':');
    let (name, port) = parts.ok_or_else(|| TargetError::NoPort(text.to_owned()))?;
    let port: u16 = port
        .parse()
        .ok()
        .filter(|port| *port > 0)
        .ok_or_else(|| TargetError::NoPort(text.to_owned()))?;
    let of_service = |service: &Arc<Service>| Asked {
        service: Some(Arc::clone(service)),
        port,
        addresses: Vec::new(),
    };
    Ok(match named(snapshot, client, name)? {
        Named::Service(service) => of_service(&service),
        Named::Pod(workload) => match snapshot.service(&workload.name) {
            // Clients usually mean the service where a pod is called the same.
            Some(service) if service.port(port).is_some() => of_service(service),
            _ => Asked {
                service: None,
                port,
                addresses: workload.addresses.clone(),
            },
        },
    })
}

/// Why a port of a service leads nowhere.
pub fn unreachable(service: &Service, port: u16) -> TargetError {
    if service.port(port).is_some() {
        return TargetError::NoEndpoint(service.name.clone());
    }
    let known: Vec<_> = service.ports.iter().map(|p| p.port.to_string()).collect();
    TargetError::UnknownPort {
        service: service.name.clone(),
        port,
        known: if known.is_empty() {
            "none".to_owned()
        } else {
            known.join(", ")
        },
    }
}

/// Ports of services: of all, of one that is called so, or of those that lead to a pod; `HOST:PORT` is one port.
///
/// # Errors
/// When nobody is called so.
pub fn ports<'s>(
    snapshot: &'s Snapshot,
    text: Option<&str>,
) -> Result<Vec<(&'s Arc<Service>, &'s ServicePort)>, TargetError> {
    let mut services: Vec<_> = snapshot.services().collect();
    services.sort_unstable_by(|a, b| a.name.cmp(&b.name));
    let all = services
        .into_iter()
        .flat_map(|s| s.ports.iter().map(move |p| (s, p)));
    let Some(text) = text else {
        return Ok(all.collect());
    };
    let (name, port) = match text
        .rsplit_once(':')
        .map(|(name, port)| (name, port.parse()))
    {
        Some((name, Ok(port))) if !name.contains(':') => (name, Some(port)),
        _ => (text, None),
    };
    let of_port = |p: &ServicePort| port.is_none_or(|port: u16| port == p.port);
    let found: Vec<_> = match named(snapshot, None, name)? {
        Named::Service(service) => all
            .filter(|(s, p)| s.name == service.name && of_port(p))
            .collect(),
        Named::Pod(workload) => all
            .filter(|(_, p)| {
                let mut endpoints = p.endpoints.iter();
                of_port(p) && endpoints.any(|e| workload.addresses.contains(&e.address))
            })
            .collect(),
    };
    if found.is_empty() {
        return Err(TargetError::NoService(text.to_owned()));
    }
    Ok(found)
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
    let service = snapshot.service(&name).map(Arc::clone).map(Named::Service);
    service.ok_or(TargetError::Unknown(name))
}

/// `NAME.NAMESPACE`, with or without what follows, or a host outside.
fn host(
    snapshot: &Snapshot,
    client: Option<&Workload>,
    text: &str,
) -> Result<Arc<Service>, TargetError> {
    let namespace = client.map_or("", Workload::namespace);
    let of_any = || snapshot.services().find(|service| service.host == text);
    if let Some(service) = snapshot.service_named(namespace, text).or_else(of_any) {
        return Ok(Arc::clone(service));
    }
    if !text.contains('.') {
        return Err(TargetError::Form(text.to_owned()));
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
    let service = service.map(Arc::clone);
    service.ok_or_else(|| TargetError::UnknownHost(text.to_owned()))
}
