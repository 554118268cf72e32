//! Pods that are alike to both policies: of many, some stand for the others.

use std::{
    collections::{BTreeSet, HashMap, hash_map::Entry},
    hash::{BuildHasher as _, RandomState},
    net::{IpAddr, SocketAddr},
    sync::Arc,
};

use ipnet::IpNet;

use super::asked::Asked;
use crate::{
    policy::AuthorizationPolicy,
    review::target::has_own_proxy,
    store::Snapshot,
    workload::{Bystander, ObjectName, Workload},
};

/// So many clients are tried each; of more, those that are alike have one that stands for them.
const EACH: usize = 500;

/// Who connects: a pod, also one on the network of its node.
#[derive(Clone, Copy)]
pub(super) struct Client<'a> {
    pub name: &'a ObjectName,
    pub addresses: &'a [IpAddr],
    /// If it speaks mutual TLS with the identity that it has.
    pub source: Option<&'a Workload>,
}

impl Client<'_> {
    pub(super) fn has_family_of(&self, other: IpAddr) -> bool {
        let mut own = self.addresses.iter();
        own.any(|address| address.is_ipv4() == other.is_ipv4())
    }

    /// From where it connects to an address.
    pub(super) fn address_for(&self, other: IpAddr) -> IpAddr {
        let mut own = self.addresses.iter();
        let same = own.find(|address| address.is_ipv4() == other.is_ipv4());
        let any = same.or(self.addresses.first());
        any.copied().unwrap_or(other)
    }
}

/// Pods that are alike.
struct Kind<'a> {
    first: &'a Arc<Workload>,
    /// With whom the first speaks as with its like.
    second: Option<&'a Arc<Workload>>,
    ports: Vec<u16>,
}

/// All pods, by what they are to both policies.
pub(super) struct Kinds<'a> {
    kinds: Vec<Kind<'a>>,
    on_nodes: Vec<(&'a ObjectName, &'a [IpAddr])>,
    /// Empty where each pod stands for itself.
    by_address: HashMap<IpAddr, usize>,
    all: usize,
}

impl<'a> Kinds<'a> {
    pub(super) fn new(now: &'a Snapshot, then: &'a Snapshot) -> Self {
        let mut pods: Vec<_> = now.workloads().collect();
        pods.sort_unstable_by(|a, b| a.name.cmp(&b.name));
        let bystanders = now.bystanders.pods.iter();
        let on_nodes = bystanders.filter_map(|(name, pod)| match pod {
            Bystander::HostNetwork(addresses) => Some((name, &addresses[..])),
            Bystander::Finished | Bystander::Pending => None,
        });
        let mut kinds = Self {
            kinds: Vec::new(),
            on_nodes: on_nodes.collect(),
            by_address: HashMap::new(),
            all: 0,
        };
        kinds.all = pods.len() + kinds.on_nodes.len();
        let facts = Facts::new(now, then);
        if kinds.all <= EACH {
            let each = pods.into_iter().map(|pod| facts.kind(pod));
            kinds.kinds = each.collect();
        } else {
            kinds.sort(&facts, pods);
        }
        kinds
    }

    fn sort(&mut self, facts: &Facts<'a>, pods: Vec<&'a Arc<Workload>>) {
        let (labels, blocks) = (facts.labels(), facts.blocks());
        let mut known = HashMap::new();
        for pod in pods {
            let at = match known.entry(facts.key(pod, &labels, &blocks)) {
                Entry::Vacant(new) => {
                    self.kinds.push(facts.kind(pod));
                    *new.insert(self.kinds.len() - 1)
                }
                Entry::Occupied(known) => *known.get(),
            };
            if let Some(kind) = self.kinds.get_mut(at).filter(|k| k.first.name != pod.name) {
                kind.second.get_or_insert(pod);
            }
            let addresses = pod.addresses.iter();
            self.by_address
                .extend(addresses.map(|address| (*address, at)));
        }
        let mut known = BTreeSet::new();
        self.on_nodes
            .retain(|(_, addresses)| known.insert(places(addresses, &blocks)));
    }

    /// `None`: the address stands for itself.
    pub(super) fn of(&self, address: IpAddr) -> Option<usize> {
        self.by_address.get(&address).copied()
    }

    /// In the order of their names, those on nodes last.
    pub(super) fn clients(&self, snapshot: &Snapshot) -> Vec<Client<'a>> {
        let pods = self.kinds.iter().map(|kind| {
            let pod: &'a Arc<Workload> = kind.first;
            let speaks = pod.enrolled || has_own_proxy(snapshot, pod);
            Client {
                name: &pod.name,
                addresses: &pod.addresses,
                source: speaks.then_some(&**pod),
            }
        });
        let on_nodes = self.on_nodes.iter().map(|(name, addresses)| Client {
            name,
            addresses,
            source: None,
        });
        pods.chain(on_nodes).collect()
    }

    /// Every known port of every other pod, by each address that the client can reach.
    pub(super) fn asked(&self, client: &Client<'a>) -> Vec<Asked<'a>> {
        let mut asked = Vec::new();
        for kind in &self.kinds {
            let is_other = |pod: &&'a Arc<Workload>| pod.name != *client.name;
            let pods = [Some(kind.first), kind.second].into_iter().flatten();
            // Nothing is known of connections from outside of the mesh to outside of it.
            let mut pods = pods.filter(|pod| client.source.is_some() || pod.enrolled);
            let Some(pod) = pods.find(is_other) else {
                continue;
            };
            let addresses = pod.addresses.iter();
            for address in addresses.filter(|address| client.has_family_of(**address)) {
                let ports = kind.ports.iter();
                asked.extend(
                    ports.map(|port| Asked::Address(SocketAddr::new(*address, *port), None)),
                );
            }
        }
        asked
    }

    /// What is to be said where not all that is possible is tried.
    pub(super) fn remarks(&self) -> Vec<String> {
        let tried = self.kinds.len() + self.on_nodes.len();
        let alike = (tried < self.all).then(|| {
            format!(
                "{tried} of {} pods are tried: where several have the same identity, ports and services, and no policy tells \
                 them apart, one stands for all",
                self.all
            )
        });
        let silent = |kind: &&Kind<'_>| kind.first.enrolled && kind.ports.is_empty();
        let silent: Vec<_> = self.kinds.iter().filter(silent).collect();
        let unknown = silent.first().map(|kind| {
            format!(
                "pods in the mesh of which no port is known: {} ({} for one); connections to them are not tried",
                silent.len(),
                kind.first.name
            )
        });
        alike.into_iter().chain(unknown).collect()
    }
}

/// A port of a service that leads to a pod, and the pod's own.
type Served = (usize, u16, u16);

/// What pods are told apart by.
struct Facts<'a> {
    now: &'a Snapshot,
    then: &'a Snapshot,
    served: HashMap<IpAddr, Vec<Served>>,
    hasher: RandomState,
}

impl<'a> Facts<'a> {
    fn new(now: &'a Snapshot, then: &'a Snapshot) -> Self {
        let mut served: HashMap<_, Vec<Served>> = HashMap::new();
        for (index, service) in now.services().enumerate() {
            for port in &service.ports {
                for end in port.endpoints.iter() {
                    let of = served.entry(end.address).or_default();
                    of.push((index, port.port, end.port));
                }
            }
        }
        Self {
            now,
            then,
            served,
            hasher: RandomState::new(),
        }
    }

    fn served(&self, address: IpAddr) -> &[Served] {
        self.served.get(&address).map_or(&[], Vec::as_slice)
    }

    fn kind(&self, pod: &'a Arc<Workload>) -> Kind<'a> {
        Kind {
            first: pod,
            second: None,
            ports: self.ports(pod),
        }
    }

    /// Those of which anybody speaks.
    fn ports(&self, pod: &Workload) -> Vec<u16> {
        let declared = pod.container_ports.iter().map(|named| named.port);
        let served = pod.addresses.iter().flat_map(|a| self.served(*a));
        let mut ports: BTreeSet<_> = declared.chain(served.map(|served| served.2)).collect();
        for policy in [&self.now.policy, &self.then.policy] {
            ports.extend(policy.port_modes(pod).into_iter().map(|(port, _)| port));
            let policies = policy.authorization().of(pod);
            ports.extend(policies.flat_map(AuthorizationPolicy::ports));
        }
        ports.into_iter().collect()
    }

    fn blocks(&self) -> Vec<IpNet> {
        let policies = [&self.now.policy, &self.then.policy];
        let blocks: BTreeSet<_> = policies.iter().flat_map(|p| p.blocks().copied()).collect();
        blocks.into_iter().collect()
    }

    /// Keys of the labels that say where clients are led. Whom else policies select is known by what they say.
    fn labels(&self) -> BTreeSet<&'a str> {
        let policies = [&self.now.policy, &self.then.policy].into_iter();
        let labels = policies.flat_map(|p| p.routes().labels().chain(p.clients().labels()));
        labels.collect()
    }

    fn key(
        &self,
        pod: &'a Workload,
        named: &BTreeSet<&str>,
        blocks: &[IpNet],
    ) -> impl Eq + std::hash::Hash + use<'a> {
        let labels = named.iter().map(|key| pod.labels.get(*key));
        let served = pod.addresses.iter().map(|a| self.served(*a).to_vec());
        let said = [&self.now.policy, &self.then.policy].map(|p| self.hasher.hash_one(p.of(pod)));
        (
            (&pod.identity, pod.enrolled, has_own_proxy(self.now, pod)),
            (labels.collect::<Vec<_>>(), &pod.container_ports),
            (served.collect::<Vec<_>>(), places(&pod.addresses, blocks)),
            said,
        )
    }
}

/// The family of each address, and in which blocks it is.
fn places(addresses: &[IpAddr], blocks: &[IpNet]) -> Vec<(bool, Vec<usize>)> {
    let within = |address: &IpAddr| {
        let known = blocks.iter().enumerate();
        let known = known.filter(|(_, block)| block.contains(address));
        known.map(|(index, _)| index).collect()
    };
    let addresses = addresses.iter();
    addresses.map(|a| (a.is_ipv4(), within(a))).collect()
}
