//! Where a gateway's connection goes. The node's agent captures what an enrolled gateway dials, so that it is mutual
//! TLS; what a gateway dials by itself is in clear, and only where policy takes that.

use std::sync::Arc;

use tokio::net::TcpStream;

use super::{Entrance, enter::Client};
use crate::{
    policy::{ClientTls, Mode, Routed},
    proxy::{connections::Route, dial, outcome::Failure},
    store::Lead,
    telemetry::RefusalReason,
    workload::{Endpoint, Service},
};

/// Resolved, and not dialled yet.
pub(super) struct Way {
    service: Option<Arc<Service>>,
    candidates: Vec<Endpoint>,
}

impl Client<'_> {
    pub(super) fn resolved(&self, routed: Routed<'_>) -> Result<Way, Failure> {
        let Entrance { snapshot, own, .. } = self.entrance;
        let no_endpoint = |text| Failure::RefusedBecause(RefusalReason::NoEndpoint, text);
        let lead = snapshot.follow(own, routed, self.port);
        let lead = lead.map_err(|error| no_endpoint(error.to_string()))?;
        // Of the client's family first.
        let near = self.connection.destination.ip();
        let mut candidates = snapshot.candidates(&lead, near, fastrand::usize(..));
        let others = snapshot.endpoints(&lead);
        candidates.extend(others.filter(|e| e.address.is_ipv4() != near.is_ipv4()));
        if candidates.is_empty() {
            return Err(no_endpoint(format!("{}:{}", routed.host, lead.port)));
        }
        self.check(&lead, &candidates)?;
        Ok(Way {
            service: lead.service.cloned(),
            candidates,
        })
    }

    /// What must not be sent in clear is refused, unless there is an agent that sees to it: of what a gateway dials,
    /// endpoints, it knows those in the mesh only.
    fn check(&self, lead: &Lead<'_>, candidates: &[Endpoint]) -> Result<(), Failure> {
        let enrolled = self.entrance.own.enrolled;
        let strict = candidates.iter().any(|e| self.mode(*e) == Mode::Strict);
        let in_mesh = candidates.iter().all(|e| self.mode(*e) != Mode::Disable);
        let reason = match lead.ruled.map(|ruled| ruled.tls) {
            _ if strict && !enrolled => RefusalReason::PlaintextInStrict,
            Some(ClientTls::IstioMutual) if enrolled && in_mesh => return Ok(()),
            Some(ClientTls::IstioMutual | ClientTls::Originate(_)) => {
                RefusalReason::DestinationRuleConflict
            }
            Some(ClientTls::Disable) | None => return Ok(()),
        };
        let host = lead.service.map_or("", |service| &service.host);
        let text = format!("{host} is not for plaintext, and no agent makes TLS of what is sent");
        Err(Failure::RefusedBecause(reason, text))
    }

    fn mode(&self, endpoint: Endpoint) -> Mode {
        let snapshot = &self.entrance.snapshot;
        let server = snapshot
            .workload_at(endpoint.address)
            .filter(|w| w.enrolled);
        server.map_or(Mode::Disable, |w| {
            snapshot.policy.mode(w, endpoint.port).mode
        })
    }

    pub(super) async fn dial(&self, way: &Way) -> Result<TcpStream, Failure> {
        let within = self.gateway.timeouts.connect;
        let dialled = dial::first(&way.candidates, within, dial::own).await;
        let snapshot = &self.entrance.snapshot;
        // Also of those that nobody was reached for.
        let endpoint = match &dialled {
            Ok((endpoint, _)) => Some(*endpoint),
            Err(_) => way.candidates.first().copied(),
        };
        if let Some(endpoint) = endpoint {
            self.connection.set_route(Route {
                source: snapshot.workload_at(self.connection.client.ip()).cloned(),
                server: snapshot.workload_at(endpoint.address).cloned(),
                port: endpoint.port,
                service: way.service.clone(),
                mode: self.mode(endpoint),
            });
        }
        Ok(dialled?.1)
    }
}
