//! Services and their endpoints.

use std::net::IpAddr;

use super::ObjectName;

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
}

/// A TCP port of a service.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct ServicePort {
    pub name: String,
    pub port: u16,
    /// Of both families, in a stable order.
    pub endpoints: Vec<Endpoint>,
}

/// Where one replica takes a service port's connections.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Endpoint {
    pub address: IpAddr,
    pub port: u16,
}

impl Service {
    /// The port that a client asked for, if the service has it.
    #[must_use]
    pub fn port(&self, port: u16) -> Option<&ServicePort> {
        self.ports.iter().find(|p| p.port == port)
    }
}

impl ServicePort {
    /// The endpoints of the family of `virtual_address`, in an order that starts at a random one: the first
    /// is the choice, the rest are what to try when it can't be reached.
    pub fn candidates(
        &self,
        virtual_address: IpAddr,
        random: usize,
    ) -> impl Iterator<Item = Endpoint> + '_ {
        let same_family = move |e: &&Endpoint| e.address.is_ipv4() == virtual_address.is_ipv4();
        let count = self.endpoints.iter().filter(same_family).count();
        let start = if count == 0 { 0 } else { random % count };
        self.endpoints
            .iter()
            .filter(same_family)
            .cycle()
            .skip(start)
            .take(count)
            .copied()
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
            endpoints: vec![
                endpoint("10.0.0.1"),
                endpoint("fd00::1"),
                endpoint("10.0.0.2"),
            ],
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
}
