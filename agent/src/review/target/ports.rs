//! Ports that clients may ask for, by the names that an operator has for servers.

use std::{
    net::{IpAddr, SocketAddr},
    sync::Arc,
};

use super::{Named, TargetError, named};
use crate::{
    review::{authz_check, nowhere::private},
    store::Snapshot,
    workload::{Endpoint, Service, Workload},
};

/// A port of a service, or of a pod to which no service leads.
#[derive(Clone, Debug)]
pub struct Port<'s> {
    pub server: Server<'s>,
    pub port: u16,
}

#[derive(Clone, Debug)]
pub enum Server<'s> {
    Service(&'s Arc<Service>),
    Pod(Arc<Workload>),
}

impl Port<'_> {
    /// Whether a client is told of the host.
    #[must_use]
    pub fn is_known_to(&self, client: &Workload) -> bool {
        match &self.server {
            Server::Service(service) => service.is_known_in(client.namespace()),
            Server::Pod(_) => true,
        }
    }

    /// Why a client that knows nothing of the host doesn't.
    #[must_use]
    pub fn private(&self) -> Option<String> {
        match &self.server {
            Server::Service(service) => Some(private(service)),
            Server::Pod(_) => None,
        }
    }

    /// `HOST:PORT`; of a pod its address.
    #[must_use]
    pub fn host(&self) -> String {
        match &self.server {
            Server::Service(service) => format!("{}:{}", service.host, self.port),
            Server::Pod(pod) => {
                let address = pod.addresses.first().map_or([0; 4].into(), |a| *a);
                SocketAddr::new(address, self.port).to_string()
            }
        }
    }
}

/// Ports of services: of all, of one that is called so, or of those that lead to a pod; with `:PORT` that one. Of a pod
/// to which no service leads, those that are known.
///
/// # Errors
/// When nobody is called so.
pub fn ports<'s>(
    snapshot: &'s Snapshot,
    client: Option<&Workload>,
    text: Option<&str>,
) -> Result<Vec<Port<'s>>, TargetError> {
    let mut services: Vec<_> = snapshot.services().collect();
    services.sort_unstable_by(|a, b| a.name.cmp(&b.name));
    let Some(text) = text else {
        let all = services.into_iter();
        return Ok(all.flat_map(|s| of_service(snapshot, s)).collect());
    };
    let (server, port) = asked(snapshot, client, text)?;
    let mut found: Vec<Port<'s>> = match &server {
        Named::Service(service) => {
            let same = services.into_iter().filter(|s| s.name == service.name);
            same.flat_map(|s| of_service(snapshot, s)).collect()
        }
        Named::Pod(pod) => leading(services, &pod.addresses),
        Named::OnNode(_, addresses) => leading(services, addresses),
    };
    if let (Named::Service(service), Some(port)) = (&server, port) {
        has_port(service, &found, port)?;
    }
    found.retain(|of| port.is_none_or(|port| of.port == port));
    match server {
        Named::Pod(pod) if found.is_empty() => {
            let known = authz_check::ports(snapshot, &pod);
            let asked = port.map_or(known, |port| vec![port]);
            found.extend(asked.into_iter().map(|port| Port {
                server: Server::Pod(Arc::clone(&pod)),
                port,
            }));
        }
        Named::Pod(_) | Named::Service(_) | Named::OnNode(..) => {}
    }
    if found.is_empty() {
        return Err(TargetError::NoService(text.to_owned()));
    }
    Ok(found)
}

fn has_port(service: &Service, known: &[Port<'_>], port: u16) -> Result<(), TargetError> {
    let known: Vec<_> = known.iter().map(|known| known.port).collect();
    if known.is_empty() || known.contains(&port) {
        return Ok(());
    }
    let known: Vec<_> = known.iter().map(u16::to_string).collect();
    Err(TargetError::NoSuchPort {
        host: service.host.clone(),
        port,
        known: known.join(", "),
    })
}

/// Whom a text names, and which port of it, if it says so.
fn asked(
    snapshot: &Snapshot,
    client: Option<&Workload>,
    text: &str,
) -> Result<(Named, Option<u16>), TargetError> {
    let address = text.parse::<IpAddr>().map(|address| (address, None));
    let socket = || text.parse::<SocketAddr>().map(|s| (s.ip(), Some(s.port())));
    if let Ok((address, port)) = address.or_else(|_| socket()) {
        let address = address.to_canonical();
        let to = SocketAddr::new(address, port.unwrap_or_default());
        let services = snapshot.asked_at("", to);
        let service = services.first().copied().cloned().map(Named::Service);
        let pod = || snapshot.workload_at(address).cloned().map(Named::Pod);
        let known = service.or_else(pod).ok_or(TargetError::NoPod(address))?;
        return Ok((known, port));
    }
    let parts = text.rsplit_once(':');
    let parts = parts.and_then(|(name, port)| Some((name, port.parse().ok()?)));
    match parts {
        Some((name, port)) if !name.contains(':') => {
            Ok((named(snapshot, client, name)?, Some(port)))
        }
        _ => Ok((named(snapshot, client, text)?, None)),
    }
}

/// Its own, and those that only documents speak of.
fn of_service<'s>(
    snapshot: &'s Snapshot,
    service: &'s Arc<Service>,
) -> impl Iterator<Item = Port<'s>> {
    let own = service.ports.iter().map(|port| port.port);
    let routed = snapshot.policy.routes().ports(&service.host);
    let mut ports: Vec<_> = own.chain(routed).collect();
    ports.sort_unstable();
    ports.dedup();
    ports.into_iter().map(|port| Port {
        server: Server::Service(service),
        port,
    })
}

/// Those that lead to one of these addresses.
fn leading<'s>(services: Vec<&'s Arc<Service>>, addresses: &[IpAddr]) -> Vec<Port<'s>> {
    let leads = |endpoint: Endpoint| addresses.contains(&endpoint.address);
    let mut found = Vec::new();
    for service in services {
        let ports = service.ports.iter();
        let ports = ports.filter(|port| port.endpoints.iter().any(leads));
        found.extend(ports.map(|port| Port {
            server: Server::Service(service),
            port: port.port,
        }));
    }
    found
}
