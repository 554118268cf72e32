//! What a policy can be tried on: flows that were seen, or those that a set of objects makes likely.

use std::{
    collections::{HashMap, HashSet, hash_map::Entry},
    net::IpAddr,
    sync::Arc,
};

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::{
    authz_check::ports,
    course::{Course, Transport},
    target::has_own_proxy,
};
use crate::{
    policy::{Flow, Policy, Protection},
    store::Snapshot,
    workload::{Endpoint, ObjectName, Workload},
};

/// `GET /v1/flows`: what an agent has seen arrive at the pods of its node.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Flows {
    /// For how long back: as asked for, and at most as long as the agent remembers.
    pub window_seconds: u64,
    /// How many flows were forgotten for want of room since the agent's start.
    pub evicted: u64,
    pub flows: Vec<SeenFlow>,
}

/// One flow, and when it was seen.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SeenFlow {
    #[serde(flatten)]
    pub flow: Flow,
    /// Since `first_seen`; 0: nobody has seen it yet.
    pub connections: u64,
    /// Of these, those that policy refused.
    pub refused: u64,
    /// Of these, those that are open.
    pub open: u64,
    pub first_seen: Option<Timestamp>,
    pub last_seen: Option<Timestamp>,
}

impl SeenFlow {
    fn unseen(flow: Flow) -> Self {
        Self {
            flow,
            connections: 0,
            refused: 0,
            open: 0,
            first_seen: None,
            last_seen: None,
        }
    }
}

/// In the order in which a candidate is tried with the least effort.
pub fn by_client(flows: &mut [SeenFlow]) {
    let key = |seen: &SeenFlow| (seen.flow.client.clone(), seen.flow.server_address.is_ipv4());
    flows.sort_by_cached_key(key);
}

/// So many pods are tried each with each; of more, those that are alike have one that stands for them.
const EACH: usize = 500;
/// So many flows are tried at most.
const MAX_DECLARED: usize = 2_000_000;

/// Labels that tell the pods of one controller apart.
const OF_ONE_POD: [&str; 4] = [
    "pod-template-hash",
    "controller-revision-hash",
    "statefulset.kubernetes.io/pod-name",
    "apps.kubernetes.io/pod-index",
];

/// From every pod to every known port of every other pod in the mesh, as policy lets them speak: nobody has seen them.
/// Client by client.
/// See [`abridged`] for meshes that are large.
pub fn declared(snapshot: &Snapshot) -> impl Iterator<Item = SeenFlow> {
    let (workloads, several) = tried(snapshot);
    let servers = workloads.iter().filter(|w| w.enrolled);
    let servers: Vec<_> = servers.map(|s| (*s, ports(snapshot, s))).collect();
    let flows = workloads.into_iter().flat_map(move |client| {
        // Who stands for several stands for two that speak with each other.
        let with_itself = several.contains(&client.name);
        let flows = servers
            .iter()
            .filter(|(server, _)| with_itself || client.name != server.name)
            .flat_map(|(server, ports)| between(snapshot, client, server, ports));
        flows.collect::<Vec<_>>()
    });
    flows.take(MAX_DECLARED)
}

/// What is to be said of [`declared`] flows where not all that are possible are among them.
#[must_use]
pub fn abridged(snapshot: &Snapshot) -> Vec<String> {
    let (all, (tried, _)) = (snapshot.workloads().count(), tried(snapshot));
    let servers = tried.iter().filter(|w| w.enrolled);
    let ports: usize = servers.map(|server| ports(snapshot, server).len()).sum();
    let possible = ports.saturating_mul(tried.len().saturating_sub(1));
    let alike = (tried.len() < all).then(|| {
        format!(
            "{} of {all} pods are tried: where several have the same identity, labels and ports one stands for all, \
             whatever their addresses",
            tried.len()
        )
    });
    let capped = (possible > MAX_DECLARED).then(|| {
        format!(
            "{MAX_DECLARED} of {possible} possible flows are tried: --flows tries those that agents have seen"
        )
    });
    alike.into_iter().chain(capped).collect()
}

/// In the order of their names, and the names of those that stand for several.
fn tried(snapshot: &Snapshot) -> (Vec<&Arc<Workload>>, HashSet<&ObjectName>) {
    let mut several = HashSet::new();
    let mut workloads: Vec<_> = snapshot.workloads().collect();
    workloads.sort_unstable_by(|a, b| a.name.cmp(&b.name));
    if workloads.len() > EACH {
        let mut known = HashMap::new();
        workloads.retain(|workload| {
            let labels = workload.labels.iter();
            let labels = labels.filter(|(key, _)| !OF_ONE_POD.contains(&key.as_str()));
            let labels: Vec<_> = labels.collect();
            let ports = &workload.container_ports;
            let kind = (&workload.identity, workload.enrolled, labels, ports);
            match known.entry(kind) {
                Entry::Vacant(first) => {
                    first.insert(&workload.name);
                    true
                }
                Entry::Occupied(first) => {
                    several.insert(*first.get());
                    false
                }
            }
        });
    }
    (workloads, several)
}

fn between(
    snapshot: &Snapshot,
    client: &Arc<Workload>,
    server: &Arc<Workload>,
    ports: &[u16],
) -> Vec<SeenFlow> {
    let Some((client_address, server_address)) = of_one_family(client, server) else {
        return Vec::new();
    };
    let flow = |port: &u16| {
        let endpoint = Endpoint {
            address: server_address,
            port: *port,
        };
        let source = Some(&**client).filter(|w| w.enrolled || has_own_proxy(snapshot, w));
        let course = course(snapshot, &snapshot.policy, source, server, endpoint);
        let protection = match course.transport().0 {
            Transport::MutualTls => Protection::MutualTls {
                client_principal: client.identity.clone(),
                sni: None,
            },
            Transport::Tls | Transport::Plaintext => Protection::Plaintext,
        };
        Flow {
            client: Some(client.name.clone()),
            client_address,
            server: server.name.clone(),
            server_address,
            port: *port,
            protection,
        }
    };
    ports.iter().map(flow).map(SeenFlow::unseen).collect()
}

fn of_one_family(client: &Workload, server: &Workload) -> Option<(IpAddr, IpAddr)> {
    client.addresses.iter().find_map(|a| {
        let same = |b: &&IpAddr| a.is_ipv4() == b.is_ipv4();
        server.addresses.iter().find(same).map(|b| (*a, *b))
    })
}

/// The course of connections under a policy, by the service that leads to the endpoint.
pub(super) fn course<'a>(
    snapshot: &'a Snapshot,
    policy: &'a Policy,
    source: Option<&'a Workload>,
    destination: &'a Workload,
    endpoint: Endpoint,
) -> Course<'a> {
    let service = snapshot.service_of(endpoint).and_then(|service| {
        let leads = |port: &&crate::workload::ServicePort| port.endpoints.contains(endpoint);
        let port = service.ports.iter().find(leads)?;
        Some((service, port.port))
    });
    let rule = |source| service.and_then(|(s, port)| policy.clients().of(source, s, port, None));
    Course {
        policy,
        source,
        unseen: None,
        destination,
        mode: policy.mode(destination, endpoint.port),
        ruled: source.and_then(rule),
    }
}
