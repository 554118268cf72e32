//! Where a client's connection leads, and what the client is told to speak there: what proxy and review have in
//! common.

use std::{
    net::{IpAddr, SocketAddr},
    sync::Arc,
};

use super::Snapshot;
use crate::{
    policy::{ClientTls, Course, DocumentRef, Labels, Routed, Ruled},
    workload::{Endpoint, ObjectName, Service, Workload},
};

/// Where a connection leads.
#[derive(Clone, Copy, Debug)]
pub struct Lead<'s> {
    /// Whose the host is; `None`: no service's.
    pub service: Option<&'s Arc<Service>>,
    /// Of the service.
    pub port: u16,
    /// What has sent it elsewhere than the client asked for.
    pub routed: Option<Routed<'s>>,
    /// What the client is told to speak, if anything.
    pub ruled: Option<Ruled<'s>>,
    /// Of the pods that may be chosen; `None`: of any.
    labels: Option<&'s Labels>,
    /// The client has chosen a pod of the service itself.
    chosen: Option<Endpoint>,
}

/// Where a connection leads can't be told, or is nowhere.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum LeadError {
    #[error("{document} leads to {host}, and neither a service nor a ServiceEntry has that host")]
    NoHost { document: DocumentRef, host: String },
    #[error("{document} leads to {host}, which has several ports, and says none")]
    NoPort { document: DocumentRef, host: String },
    #[error("{document} leads to subset {subset} of {host}, which no DestinationRule defines")]
    NoSubset {
        document: DocumentRef,
        host: String,
        subset: String,
    },
    #[error(
        "{document} sends requests by what HTTP says, into which Sealane doesn't look, and clients are told to treat \
             the hosts that they may go to differently"
    )]
    Unclear { document: DocumentRef },
    #[error("{address} is the address of {}, which clients are told to treat differently: nobody can tell which one \
             is meant", .hosts.join(" and of "))]
    Ambiguous {
        address: SocketAddr,
        hosts: Vec<String>,
    },
}

impl LeadError {
    /// Which one, if it is the fault of one.
    #[must_use]
    pub fn document(&self) -> Option<&DocumentRef> {
        match self {
            Self::NoHost { document, .. }
            | Self::NoPort { document, .. }
            | Self::NoSubset { document, .. }
            | Self::Unclear { document } => Some(document),
            Self::Ambiguous { .. } => None,
        }
    }
}

impl<'s> Lead<'s> {
    /// Of a client whom no policy is for.
    #[must_use]
    pub fn direct(service: Option<&'s Arc<Service>>, port: u16) -> Self {
        Self {
            service,
            port,
            routed: None,
            ruled: None,
            labels: None,
            chosen: None,
        }
    }

    /// Whether clients are to speak the same there.
    fn is_treated_as(&self, other: &Self) -> bool {
        let is_outside = |lead: &Self| lead.service.is_some_and(|s| s.outside.is_some());
        let tls = |lead: &Self| lead.ruled.map(|ruled| ruled.tls);
        tls(self) == tls(other) && is_outside(self) == is_outside(other)
    }
}

impl Snapshot {
    /// The service of a host, for clients of a namespace: `NAME.NAMESPACE.svc.CLUSTER-DOMAIN`, else one outside.
    #[must_use]
    pub fn service_named(&self, namespace: &str, host: &str) -> Option<&Arc<Service>> {
        let mut parts = host.split('.');
        let name = parts.next().zip(parts.next());
        let service = name.and_then(|(name, namespace)| {
            let name = ObjectName::new(namespace, name);
            self.service(&name)
        });
        let service = service.filter(|service| service.host == host);
        service.or_else(|| self.outside.named(namespace, host))
    }

    /// The services that a client of a namespace may ask for at an address. There are several only where hosts outside
    /// share it, and then those that have the port, if any has.
    #[must_use]
    pub fn asked_at<'s>(&'s self, namespace: &str, to: SocketAddr) -> Vec<&'s Arc<Service>> {
        if let Some(service) = self.service_at(to.ip()) {
            return vec![service];
        }
        let outside = self.outside.at(namespace, to.ip());
        let outside = outside.filter(|service| !self.is_stale(service, to.ip()));
        let (having, others): (Vec<_>, Vec<_>) =
            outside.partition(|service| service.port(to.port()).is_some());
        if having.is_empty() { others } else { having }
    }

    /// A pod of the mesh is itself, rather than a host outside that has had its address and doesn't lead there now.
    fn is_stale(&self, service: &Service, address: IpAddr) -> bool {
        let mut endpoints = service.endpoints();
        self.workload_at(address).is_some_and(|pod| pod.enrolled)
            && !endpoints.any(|endpoint| endpoint.address == address)
    }

    /// [`lead`](Self::lead) of a connection to an address.
    ///
    /// # Errors
    /// As that; and when it can't be told which of several hosts is meant, and that makes a difference.
    pub fn lead_to(&self, client: &Workload, to: SocketAddr) -> Result<Lead<'_>, LeadError> {
        let asked = self.asked_at(client.namespace(), to);
        let chosen = Endpoint {
            address: to.ip(),
            port: to.port(),
        };
        if asked.is_empty()
            && let Some((service, port)) = self.headless.at(chosen)
        {
            let lead = self.lead(client, Some(service), port, Some(to.ip()))?;
            let chosen = lead.routed.is_none().then_some(chosen);
            return Ok(Lead { chosen, ..lead });
        }
        let lead = |service| self.lead(client, service, to.port(), Some(to.ip()));
        let first = lead(asked.first().copied());
        let alike = asked.get(1..).is_none_or(|others| {
            let mut others = others.iter().map(|service| lead(Some(service)));
            others.all(|other| is_alike(&first, &other))
        });
        if alike {
            return first;
        }
        Err(LeadError::Ambiguous {
            address: to,
            hosts: asked.iter().map(|service| service.host.clone()).collect(),
        })
    }

    /// Where a connection of `client` to a port of `service` leads. `address` is where the client connects to, if that
    /// is known.
    ///
    /// # Errors
    /// When a document sends it to where nobody is, or its requests to hosts that want different TLS.
    pub fn lead<'s>(
        &'s self,
        client: &Workload,
        service: Option<&'s Arc<Service>>,
        port: u16,
        address: Option<IpAddr>,
    ) -> Result<Lead<'s>, LeadError> {
        let service = service.filter(|service| service.is_known_in(client.namespace()));
        let routes = self.policy.routes();
        let course = service.map(|service| routes.of(client, service, port, address));
        match course.unwrap_or(Course::Direct) {
            Course::To(routed) => self.follow(client, routed, port),
            Course::Direct => self.arrive(client, service, port, None),
            Course::Unclear {
                document,
                ends,
                delegates,
            } => {
                let direct = self.arrive(client, service, port, None)?;
                let is_outside = service.is_some_and(|service| service.outside.is_some());
                let mut ends = ends
                    .iter()
                    .filter_map(|end| self.follow(client, *end, port).ok());
                if ends.all(|end| end.is_treated_as(&direct)) && !(delegates && is_outside) {
                    return Ok(direct);
                }
                let document = document.clone();
                Err(LeadError::Unclear { document })
            }
        }
    }

    /// Where a route leads a client that has asked for a port.
    ///
    /// # Errors
    /// When that is where nobody is.
    pub fn follow<'s>(
        &'s self,
        client: &Workload,
        routed: Routed<'s>,
        asked: u16,
    ) -> Result<Lead<'s>, LeadError> {
        let (service, port) = self.routed(client, routed, asked)?;
        self.arrive(client, Some(service), port, Some(routed))
    }

    fn arrive<'s>(
        &'s self,
        client: &Workload,
        service: Option<&'s Arc<Service>>,
        port: u16,
        routed: Option<Routed<'s>>,
    ) -> Result<Lead<'s>, LeadError> {
        let clients = self.policy.clients();
        let subset = routed.and_then(|routed| routed.subset);
        let labels = match (service, subset, routed) {
            (Some(service), Some(subset), Some(routed)) => {
                let labels = clients.subset(client, service, subset);
                Some(labels.ok_or_else(|| LeadError::NoSubset {
                    document: routed.document.clone(),
                    host: routed.host.to_owned(),
                    subset: subset.to_owned(),
                })?)
            }
            _ => None,
        };
        let declared = service.filter(|service| service.port(port).is_some());
        Ok(Lead {
            ruled: declared.and_then(|service| clients.of(client, service, port, subset)),
            service,
            port,
            routed,
            labels: labels.filter(|labels| !labels.is_empty()),
            chosen: None,
        })
    }

    fn routed<'s>(
        &'s self,
        client: &Workload,
        routed: Routed<'s>,
        asked: u16,
    ) -> Result<(&'s Arc<Service>, u16), LeadError> {
        let known = self.service_named(client.namespace(), routed.host);
        let known = known.filter(|service| service.is_known_in(client.namespace()));
        let service = known.ok_or_else(|| LeadError::NoHost {
            document: routed.document.clone(),
            host: routed.host.to_owned(),
        })?;
        let port = match (routed.port, &service.ports[..]) {
            (Some(port), _) => port,
            (None, [only]) => only.port,
            (None, _) if service.port(asked).is_some() => asked,
            (None, _) => {
                return Err(LeadError::NoPort {
                    document: routed.document.clone(),
                    host: routed.host.to_owned(),
                });
            }
        };
        Ok((service, port))
    }

    /// What to dial, in this order, for a client that has connected to `address`. Empty: there is nobody.
    #[must_use]
    pub fn candidates(&self, lead: &Lead<'_>, address: IpAddr, random: usize) -> Vec<Endpoint> {
        if let Some(chosen) = lead.chosen {
            return vec![chosen];
        }
        let port = lead.port;
        let itself = || vec![Endpoint { address, port }];
        let Some(service) = lead.service else {
            return itself();
        };
        let Some(port) = service.port(port) else {
            // What a ServiceEntry doesn't speak of goes on untouched.
            let untouched = service.outside.is_some() && lead.routed.is_none();
            return if untouched { itself() } else { Vec::new() };
        };
        let candidates = port.candidates(address, random);
        candidates.filter(|e| self.is_wanted(lead, *e)).collect()
    }

    /// All that a port may lead to, of both families.
    pub fn endpoints<'a>(&'a self, lead: &'a Lead<'_>) -> impl Iterator<Item = Endpoint> + 'a {
        let port = lead.service.and_then(|service| service.port(lead.port));
        let all = port.into_iter().flat_map(|port| port.endpoints.iter());
        all.filter(|endpoint| self.is_wanted(lead, *endpoint))
    }

    /// Whether an endpoint is of the subset.
    fn is_wanted(&self, lead: &Lead<'_>, endpoint: Endpoint) -> bool {
        lead.chosen.is_none_or(|chosen| chosen == endpoint)
            && lead.labels.is_none_or(|asked| {
                let pod = self.workload_at(endpoint.address);
                pod.is_some_and(|pod| asked.iter().all(|(k, v)| pod.labels.get(k) == Some(v)))
            })
    }
}

/// Whether two hosts are the same to a client.
fn is_alike(one: &Result<Lead<'_>, LeadError>, other: &Result<Lead<'_>, LeadError>) -> bool {
    let (Ok(one), Ok(other)) = (one, other) else {
        return false;
    };
    // The host's name is asked for and checked, unless the rule says which.
    let by_host = |tls: &ClientTls| matches!(tls, ClientTls::Originate(o) if o.sni.is_none() || o.names.is_empty());
    let (one_tls, other_tls) = (one.ruled.map(|r| r.tls), other.ruled.map(|r| r.tls));
    one.routed.is_none()
        && other.routed.is_none()
        && one_tls == other_tls
        && !one_tls.is_some_and(by_host)
}
