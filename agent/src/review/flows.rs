//! What a policy can be tried on: flows that were seen.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::{course::Course, diff::Reached};
use crate::{
    policy::{Flow, Policy},
    store::Snapshot,
    workload::Workload,
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
    /// Since `first_seen`.
    pub connections: u64,
    /// Of these, those that policy refused.
    pub refused: u64,
    /// Of these, those that are open.
    pub open: u64,
    pub first_seen: Option<Timestamp>,
    pub last_seen: Option<Timestamp>,
}

/// In the order in which a candidate is tried with the least effort.
pub fn by_client(flows: &mut [SeenFlow]) {
    let key = |seen: &SeenFlow| (seen.flow.client.clone(), seen.flow.server_address.is_ipv4());
    flows.sort_by_cached_key(key);
}

/// The course of connections under a policy, by the service that their client has asked for; where that isn't known,
/// by one that leads to the endpoint.
pub(super) fn course<'a>(
    snapshot: &'a Snapshot,
    policy: &'a Policy,
    source: Option<&'a Workload>,
    destination: &'a Workload,
    seen: &SeenFlow,
) -> Course<'a> {
    let endpoint = seen.flow.endpoint();
    let reached = seen.flow.server_name().and_then(Reached::of);
    let asked = reached.and_then(|reached| {
        let service = snapshot.service_named(source?.namespace(), reached.host)?;
        Some((service, reached.port))
    });
    let leading = || {
        let service = snapshot.service_of(endpoint)?;
        let mut ports = service.ports.iter();
        let port = ports.find(|port| port.endpoints.contains(endpoint))?;
        Some((service, port.port))
    };
    let service = asked.or_else(leading);
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
