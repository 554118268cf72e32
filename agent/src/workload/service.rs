//! Services and their endpoints.

use std::{net::IpAddr, sync::Arc};

use super::{ObjectName, Visibility};

/// A service with its virtual addresses and ready endpoints.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Service {
    pub name: ObjectName,
    /// `NAME.NAMESPACE.svc.CLUSTER-DOMAIN`
    pub host: String,
    /// Empty for headless services.
    pub virtual_addresses: Vec<IpAddr>,
    /// TCP ports only.
    pub ports: Vec<ServicePort>,
    /// It is none of Kubernetes (Istio's `ServiceEntry`).
    pub outside: Option<Box<Outside>>,
}

/// A host that is no Kubernetes service.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct Outside {
    /// Of which its certificate must have one; its own name if there are none.
    pub names: Vec<String>,
    /// Whose clients know it.
    pub visibility: Visibility,
}

/// A TCP port of a service.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct ServicePort {
    pub name: String,
    pub port: u16,
    pub protocol: Protocol,
    pub endpoints: Endpoints,
}

/// What is spoken on a port, as far as routing is concerned.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Protocol {
    Http,
    Tls,
    Tcp,
    /// Nobody has said.
    #[default]
    Unknown,
}

impl Protocol {
    /// Istio's names of protocols (`pkg/config/protocol`), in any case; `None` for others.
    #[must_use]
    pub fn named(name: &str) -> Option<Self> {
        match &*name.to_ascii_lowercase() {
            "http" | "http2" | "grpc" | "grpc-web" => Some(Self::Http),
            "https" | "tls" => Some(Self::Tls),
            "tcp" | "mongo" | "mysql" | "redis" => Some(Self::Tcp),
            _ => None,
        }
    }

    /// From `appProtocol`, else from the port's name, which is `PROTOCOL` or `PROTOCOL-SUFFIX`.
    #[must_use]
    pub fn of_port(app_protocol: Option<&str>, name: &str) -> Self {
        if let Some(said) = app_protocol.and_then(Self::named) {
            return said;
        }
        let prefix = if name.starts_with("grpc-web") {
            "grpc-web"
        } else {
            name.split('-').next().unwrap_or_default()
        };
        Self::named(prefix).unwrap_or_default()
    }
}

/// Where one replica takes a service port's connections.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Endpoint {
    pub address: IpAddr,
    pub port: u16,
}

/// Endpoints of both families in a stable order, each once. Of a large cluster there are more than pods, so that ports
/// which lead to the same addresses may share these.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct Endpoints(Box<[Replicas]>);

/// Those that take connections on one port.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
struct Replicas {
    port: u16,
    /// In ascending order.
    addresses: Arc<[IpAddr]>,
}

impl Endpoints {
    pub fn iter(&self) -> impl Iterator<Item = Endpoint> + Clone + '_ {
        let replicas = self.0.iter();
        replicas.flat_map(|Replicas { port, addresses }| {
            let port = *port;
            let endpoint = move |address: &IpAddr| Endpoint {
                address: *address,
                port,
            };
            addresses.iter().map(endpoint)
        })
    }

    #[must_use]
    pub fn contains(&self, endpoint: Endpoint) -> bool {
        let mut replicas = self.0.iter();
        replicas.any(|replicas| {
            replicas.port == endpoint.port
                && replicas.addresses.binary_search(&endpoint.address).is_ok()
        })
    }

    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Uses the addresses of `other` where they are the same.
    pub fn share(&mut self, other: &Self) {
        for own in &mut self.0 {
            let mut others = other.0.iter();
            if let Some(same) = others.find(|other| other.addresses == own.addresses) {
                own.addresses = Arc::clone(&same.addresses);
            }
        }
    }
}

impl FromIterator<Endpoint> for Endpoints {
    fn from_iter<T: IntoIterator<Item = Endpoint>>(all: T) -> Self {
        let mut all: Vec<_> = all.into_iter().map(|e| (e.port, e.address)).collect();
        all.sort_unstable();
        all.dedup();
        let by_port = all.chunk_by(|(one, _), (other, _)| one == other);
        let replicas = by_port.map(|alike| Replicas {
            port: alike[0].0,
            addresses: alike.iter().map(|(_, address)| *address).collect(),
        });
        Self(replicas.collect())
    }
}

impl Service {
    /// A service of Kubernetes whose clients connect to its pods.
    #[must_use]
    pub fn is_headless(&self) -> bool {
        self.virtual_addresses.is_empty() && self.outside.is_none()
    }

    /// Whether a client of a namespace knows it.
    #[must_use]
    pub fn is_known_in(&self, namespace: &str) -> bool {
        let outside = self.outside.as_ref();
        outside.is_none_or(|outside| outside.visibility.reaches(namespace))
    }

    /// Of all ports.
    pub fn endpoints(&self) -> impl Iterator<Item = Endpoint> + '_ {
        self.ports.iter().flat_map(|port| port.endpoints.iter())
    }

    /// The port that a client asked for, if the service has it.
    #[must_use]
    pub fn port(&self, port: u16) -> Option<&ServicePort> {
        self.ports.iter().find(|p| p.port == port)
    }

    /// What clients of the mesh ask for in TLS (Istio: `model.BuildSubsetKey`).
    #[must_use]
    pub fn server_name(&self, port: u16) -> String {
        format!("outbound_.{port}_._.{}", self.host)
    }
}

impl ServicePort {
    /// The endpoints of the family of `address`, which the client has connected to, in an order that starts with
    /// that address if it is one of them, else at a random one: the first is the choice, the rest are what to try when
    /// it can't be reached.
    pub fn candidates(
        &self,
        address: IpAddr,
        random: usize,
    ) -> impl Iterator<Item = Endpoint> + '_ {
        let same_family = move |e: &Endpoint| e.address.is_ipv4() == address.is_ipv4();
        let mut family = self.endpoints.iter().filter(same_family);
        let chosen = family.clone().position(|e| e.address == address);
        let count = family.by_ref().count();
        let start = chosen.unwrap_or(if count == 0 { 0 } else { random % count });
        self.endpoints
            .iter()
            .filter(same_family)
            .cycle()
            .skip(start)
            .take(count)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn candidates_cover_each_endpoint_of_the_family_once() {
        let endpoint = |a: &str| Endpoint {
            address: a.parse().unwrap(),
            port: 80,
        };
        let port = ServicePort {
            name: "http".into(),
            port: 80,
            protocol: Protocol::Http,
            endpoints: ["10.0.0.2", "fd00::1", "10.0.0.1", "10.0.0.1"]
                .map(endpoint)
                .into_iter()
                .collect(),
        };
        let v4: IpAddr = "10.96.0.1".parse().unwrap();
        let order: Vec<_> = port.candidates(v4, 1).collect();
        assert_eq!(order, [endpoint("10.0.0.2"), endpoint("10.0.0.1")]);
        let v6: IpAddr = "fd00:96::1".parse().unwrap();
        assert_eq!(
            port.candidates(v6, 7).collect::<Vec<_>>(),
            [endpoint("fd00::1")]
        );
    }

    #[test]
    fn endpoints_are_there_once_and_ports_with_the_same_addresses_share_them() {
        let list = |port: u16, addresses: &[&str]| -> Endpoints {
            let of = |a: &&str| Endpoint {
                address: a.parse().unwrap(),
                port,
            };
            addresses.iter().map(of).collect()
        };
        let one = list(80, &["10.0.0.2", "10.0.0.1", "10.0.0.2"]);
        let mut other = list(81, &["10.0.0.1", "10.0.0.2"]);
        let mut different = list(82, &["10.0.0.1"]);
        other.share(&one);
        different.share(&one);
        assert!(Arc::ptr_eq(&one.0[0].addresses, &other.0[0].addresses));
        assert_eq!((one.iter().count(), different.iter().count()), (2, 1));
        let mixed: Endpoints = one.iter().chain(different.iter()).collect();
        for endpoint in mixed.iter() {
            assert_eq!(endpoint.port == 80, one.contains(endpoint));
        }
        assert!(list(80, &[]).is_empty() && !mixed.is_empty());
    }
}
