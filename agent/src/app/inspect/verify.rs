//! Joins what the kernel saw on the wire with who is known to be at its ends.

use std::{
    collections::HashMap,
    sync::{Arc, atomic::Ordering::Relaxed},
};

use jiff::Timestamp;
use sealane_common::{Doubt, Verdict, Way, framing::Counts};

use super::Inspector;
use crate::{
    admin::api,
    capture::{Attestation, Attestations, CaptureStatus, NetnsCookie, PodState, WireConnection},
    proxy::{Connection, Session},
    store::Snapshot,
    telemetry::{Direction, WireRow},
    workload::{ObjectName, Workload},
};

/// Why nothing is known of a pod that has just come.
const NOT_YET: &str = "not looked at so far";

/// The pods of this node, by network namespace.
type Pods = HashMap<NetnsCookie, ObjectName>;

/// What is on the wire of one workload, or of all of this node.
///
/// # Errors
/// When no such pod is enrolled on this node.
pub(super) fn verify(
    inspector: &Inspector,
    whose: Option<&str>,
) -> Result<api::Verification, String> {
    let status = inspector.capture.borrow().clone();
    let mut pods = pods(&status);
    let mut attestation = attestation(&inspector.attestations.borrow(), &status);
    if let Some(whose) = whose {
        pods.retain(|_, name| name.to_string() == whose);
        attestation.unwatched.retain(|pod| pod.workload == whose);
        if pods.is_empty() {
            return Err(nobody(whose, &inspector.config.node));
        }
    }
    let snapshot = inspector.store.current();
    let relayed = inspector.proxy.connections.list();
    let on_wire = inspector.wire.connections();
    let mut flows: Vec<_> = on_wire
        .iter()
        .filter_map(|seen| {
            let workload = snapshot.workload(pods.get(&seen.netns)?)?;
            Some(flow(&snapshot, workload, seen, &relayed))
        })
        .collect();
    flows.sort_by(|a, b| (&a.workload, a.local, a.remote).cmp(&(&b.workload, b.local, b.remote)));
    let count = |verdict| flows.iter().filter(|f| f.verdict == verdict).count() as u64;
    Ok(api::Verification {
        time: Timestamp::now(),
        node: inspector.config.node.clone(),
        generation: snapshot.generation,
        proves: api::PROVES.to_owned(),
        encrypted: count(api::Verdict::Encrypted),
        plaintext: count(api::Verdict::Plaintext),
        unknown: count(api::Verdict::Unknown),
        unwatched: attestation.unwatched,
        flows,
    })
}

pub(super) fn nobody(whose: &str, node: &str) -> String {
    format!(
        "no pod {whose:?} is enrolled on node {node}: write NAMESPACE/NAME, as `sealane status` shows it"
    )
}

/// How the wire of this node's pods is watched.
pub(super) fn attestation(attestations: &Attestations, status: &CaptureStatus) -> api::Attestation {
    let mut told = api::Attestation::default();
    for name in pods(status).into_values() {
        let why = match attestations.get(&name) {
            Some(Attestation::On { method, .. }) => {
                told.watched += 1;
                told.methods.push(method.to_string());
                continue;
            }
            Some(Attestation::Off { why }) => why,
            None => NOT_YET,
        };
        told.unwatched.push(api::Unwatched {
            workload: name.to_string(),
            why: why.to_owned(),
        });
    }
    told.methods.sort();
    told.methods.dedup();
    told.unwatched.sort_by(|a, b| a.workload.cmp(&b.workload));
    told
}

/// What the metrics have of the wire.
pub(super) fn rows(inspector: &Inspector) -> Vec<WireRow> {
    let pods = pods(&inspector.capture.borrow());
    let row = |(netns, name)| {
        let totals = inspector.wire.totals(netns).unwrap_or_default();
        let [sent, received] = totals.ways;
        WireRow {
            workload: name,
            strict: totals.strict,
            sent,
            received,
        }
    };
    let mut rows: Vec<_> = pods.into_iter().map(row).collect();
    rows.sort_by(|a, b| a.workload.cmp(&b.workload));
    rows
}

fn pods(status: &CaptureStatus) -> Pods {
    let cookie = |(name, state): (&ObjectName, &PodState)| match state {
        PodState::Enrolled { netns } => Some((NetnsCookie(*netns), name.clone())),
        PodState::Failed { .. } => None,
    };
    status.pods.iter().filter_map(cookie).collect()
}

fn flow(
    snapshot: &Snapshot,
    workload: &Workload,
    seen: &WireConnection,
    relayed: &[Arc<Connection>],
) -> api::WireFlow {
    let relayed = relayed.iter().find(|c| is_its(c, workload, seen));
    let direction = direction(seen, relayed.map(|c| c.direction));
    let peer = snapshot.workload_at(seen.remote.ip());
    let server = match direction {
        Some(Direction::Inbound) => Some((workload, seen.local.port())),
        Some(Direction::Outbound) => peer.map(|peer| (&**peer, seen.remote.port())),
        None => None,
    };
    let policy = server
        .filter(|(server, _)| server.enrolled)
        .map(|(server, port)| snapshot.policy.mode(server, port));
    let (verdict, reason) = verdict(seen.flow.verdict());
    let counts = |way: usize| {
        let stream = &seen.flow.streams[way];
        shown(&stream.counts, stream.have)
    };
    api::WireFlow {
        workload: workload.name.to_string(),
        identity: workload.identity.to_string(),
        direction: direction.map(|direction| match direction {
            Direction::Inbound => api::Direction::Inbound,
            Direction::Outbound => api::Direction::Outbound,
        }),
        local: seen.local,
        remote: seen.remote,
        peer: peer.map(|peer| peer.name.to_string()),
        peer_identity: relayed.and_then(|c| proven(c)),
        expected_identity: peer.map(|peer| peer.identity.to_string()),
        policy: policy.as_ref().map(|policy| policy.mode.to_string()),
        policy_document: policy.and_then(|p| p.document.map(ToString::to_string)),
        sent: counts(Way::SENT),
        received: counts(Way::RECEIVED),
        verdict,
        reason,
        connection: relayed.map(|c| c.id),
        idle_seconds: seen.idle.as_secs(),
    }
}

/// Whether this is the connection's leg on the wire. What the agent dials for a pod has a port of its own.
fn is_its(connection: &Connection, workload: &Workload, seen: &WireConnection) -> bool {
    let route = connection.route();
    match connection.direction {
        Direction::Inbound => {
            (connection.client, connection.destination) == (seen.remote, seen.local)
        }
        Direction::Outbound => route.is_some_and(|route| {
            let source = route.source.as_ref();
            let server = route.server.as_ref();
            source.is_some_and(|source| source.name == workload.name)
                && connection.wire_port.load(Relaxed) == seen.local.port()
                && route.port == seen.remote.port()
                && server.is_none_or(|server| server.addresses.contains(&seen.remote.ip()))
        }),
    }
}

fn direction(seen: &WireConnection, relayed: Option<Direction>) -> Option<Direction> {
    let opener = usize::from(seen.flow.opener).checked_sub(1);
    relayed.or(match opener? {
        Way::SENT => Some(Direction::Outbound),
        _ => Some(Direction::Inbound),
    })
}

fn proven(connection: &Connection) -> Option<String> {
    match connection.session()? {
        Session::MutualTls { client, server, .. } => Some(match connection.direction {
            Direction::Inbound => client.to_string(),
            Direction::Outbound => server.to_string(),
        }),
        Session::Tls(_) | Session::Plaintext | Session::Probe => None,
    }
}

fn verdict(verdict: Verdict) -> (api::Verdict, Option<String>) {
    let unknown = |why: &str| (api::Verdict::Unknown, Some(why.to_owned()));
    match verdict {
        Verdict::Encrypted => (api::Verdict::Encrypted, None),
        Verdict::Plaintext => (api::Verdict::Plaintext, None),
        Verdict::Unknown(Doubt::Beginning) => unknown("not seen from its beginning"),
        Verdict::Unknown(Doubt::Unclassified) => unknown("bytes that could not be classified"),
        Verdict::Unknown(Doubt::Silent) => unknown("nothing was sent so far"),
        Verdict::Unknown(Doubt::Handshake) => {
            unknown("no ClientHello and ServerHello with application data after them")
        }
    }
}

/// The beginning of a header that has not come whole is of nothing yet.
fn shown(counts: &Counts, have: u8) -> api::WireCounts {
    api::WireCounts {
        records: counts.records,
        tls_bytes: counts.tls,
        plaintext_bytes: counts.plaintext,
        unclassified_bytes: counts.unclassified + u64::from(have),
        repeated_bytes: counts.repeated,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::capture::Method;

    #[test]
    fn every_doubt_has_its_words() {
        let doubts = [
            Doubt::Beginning,
            Doubt::Unclassified,
            Doubt::Silent,
            Doubt::Handshake,
        ];
        let words: std::collections::HashSet<_> = doubts
            .map(|doubt| verdict(Verdict::Unknown(doubt)).1)
            .into();
        assert_eq!(words.len(), doubts.len());
        assert!(!words.contains(&None));
    }

    #[test]
    fn a_pod_that_has_just_come_is_not_watched() {
        let (seen, fresh) = (
            ObjectName::new("shop", "seen"),
            ObjectName::new("shop", "new"),
        );
        let enrolled = |netns| PodState::Enrolled { netns };
        let status = CaptureStatus {
            pods: HashMap::from([(seen.clone(), enrolled(1)), (fresh, enrolled(2))]),
            ..CaptureStatus::default()
        };
        let on = Attestation::On {
            interfaces: [("eth0".to_owned(), 2)].into(),
            method: Method::Tcx,
        };
        let told = attestation(&HashMap::from([(seen, on)]), &status);
        assert_eq!(told.watched, 1);
        let unwatched: Vec<_> = told.unwatched.iter().map(|u| &*u.workload).collect();
        assert_eq!(unwatched, ["shop/new"]);
    }

    #[test]
    fn a_header_that_is_not_whole_is_not_hidden() {
        assert_eq!(shown(&Counts::default(), 3).unclassified_bytes, 3);
    }
}
