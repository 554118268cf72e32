//! What becomes of a connection, step by step.

mod mesh;

use std::{net::IpAddr, sync::Arc};

use std::net::SocketAddr;

use serde::{Deserialize, Serialize};

use super::{
    course::{Answer, Transport, spoken},
    target::{self, Asked, Client, TargetError},
};
use crate::{
    store::{Lead, Snapshot},
    workload::{Endpoint, Workload},
};
use mesh::Way;

/// What becomes of a connection, and why.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Explanation {
    pub verdict: Answer,
    pub transport: Transport,
    /// Proven by a certificate; `None` in plaintext.
    pub client_principal: Option<String>,
    pub server_principal: Option<String>,
    /// `KIND/NAMESPACE/NAME` of the documents that it follows from.
    pub decided_by: Vec<String>,
    /// In order, for people.
    pub steps: Vec<String>,
}

impl Explanation {
    /// Without anybody to name.
    fn anonymous(verdict: Answer, transport: Transport, steps: Vec<String>) -> Self {
        Self {
            verdict,
            transport,
            client_principal: None,
            server_principal: None,
            decided_by: Vec::new(),
            steps,
        }
    }

    fn denied(transport: Transport, decided_by: Vec<String>, steps: Vec<String>) -> Self {
        Self {
            decided_by,
            ..Self::anonymous(Answer::Deny, transport, steps)
        }
    }
}

/// Explains a connection. Where a service leads to several pods that differ, the first of those that are not
/// reached.
///
/// # Errors
/// When client or server is nobody.
pub fn explain(
    snapshot: &Snapshot,
    client: &str,
    server: &str,
) -> Result<Explanation, TargetError> {
    let client = target::client(snapshot, client)?;
    let source = client.workload.as_deref().filter(|w| w.enrolled);
    let asked = target::server(snapshot, source, server)?;
    let mut steps = vec![described(
        "client",
        client.address,
        client.workload.as_deref(),
    )];
    let service = asked.service.as_ref();
    let lead = match source {
        None => Ok(Lead::direct(service, asked.port)),
        Some(source) => match asked.address() {
            Some(address) => snapshot.lead_to(source, SocketAddr::new(address, asked.port)),
            None => snapshot.lead(source, service, asked.port, None),
        },
    };
    let lead = match lead {
        Ok(lead) => lead,
        Err(error) => {
            steps.push(format!("refused: {error}"));
            let decided_by = error.document().iter().map(ToString::to_string).collect();
            return Ok(Explanation::denied(Transport::Plaintext, decided_by, steps));
        }
    };
    let question = Question {
        snapshot,
        client: &client,
        source,
        lead,
    };
    question.answered(&asked, steps)
}

/// A client and where its connection leads.
struct Question<'a> {
    snapshot: &'a Snapshot,
    client: &'a Client,
    /// The client, if it is in the mesh.
    source: Option<&'a Workload>,
    lead: Lead<'a>,
}

impl Question<'_> {
    fn answered(&self, asked: &Asked, mut steps: Vec<String>) -> Result<Explanation, TargetError> {
        let (lead, service) = (&self.lead, self.lead.service);
        if let (Some(routed), Some(service)) = (lead.routed, service) {
            let subset = routed.subset.map(|subset| format!(", subset {subset}"));
            steps.push(format!(
                "{} sends it to {}:{}{}",
                routed.document,
                service.host,
                lead.port,
                subset.unwrap_or_default()
            ));
        }
        let endpoints = match service {
            None => asked.endpoints(),
            Some(_) => self.snapshot.endpoints(lead).collect(),
        };
        let of_family = self.of_one_family(endpoints);
        let each = of_family.into_iter().map(|e| self.at(e, steps.clone()));
        let first = each.reduce(|worst, next| match next.verdict > worst.verdict {
            true => next,
            false => worst,
        });
        let explanation = match (first, service) {
            (Some(explanation), _) => explanation,
            // Its addresses are what name servers say when it is needed.
            (None, Some(service)) if service.outside.is_some() => self.outside(steps),
            (None, Some(service)) => return Err(target::unreachable(service, lead.port)),
            (None, None) => return Err(TargetError::Form(String::new())),
        };
        Ok(self.with_route(explanation))
    }

    /// Those that the client would be sent to: of its own address's family if there are any.
    fn of_one_family(&self, endpoints: Vec<Endpoint>) -> Vec<Endpoint> {
        let families: Vec<bool> = match &self.client.workload {
            Some(workload) => workload.addresses.iter().map(IpAddr::is_ipv4).collect(),
            None => vec![self.client.address.is_ipv4()],
        };
        let same = endpoints
            .iter()
            .filter(|e| families.contains(&e.address.is_ipv4()));
        let same: Vec<_> = same.copied().collect();
        if same.is_empty() { endpoints } else { same }
    }

    fn at(&self, endpoint: Endpoint, mut steps: Vec<String>) -> Explanation {
        if let Some(service) = self.lead.service {
            let (host, port) = (&service.host, self.lead.port);
            steps.push(format!(
                "{host}:{port} leads to {}",
                endpoint_text(endpoint)
            ));
        }
        let destination = self.snapshot.workload_at(endpoint.address);
        let destination = destination.map(Arc::as_ref);
        steps.push(described("server", endpoint.address, destination));
        match destination.filter(|w| w.enrolled) {
            None => self.outside(steps),
            Some(destination) => Way {
                snapshot: self.snapshot,
                client: self.client,
                source: self.source,
                lead: &self.lead,
                destination,
                endpoint,
            }
            .explained(steps),
        }
    }

    /// To a server that is not in the mesh: only the client's side has a say.
    fn outside(&self, mut steps: Vec<String>) -> Explanation {
        let Some(ruled) = self.lead.ruled else {
            steps.push("policy holds for servers in the mesh only".to_owned());
            return Explanation::anonymous(Answer::Allow, Transport::Plaintext, steps);
        };
        let (transport, why) = spoken(&ruled);
        steps.push(format!("the client sends {}: {why}", transport.name()));
        let decided_by = vec![ruled.document.to_string()];
        if transport == Transport::MutualTls {
            steps.push("refused: the server is not in the mesh".to_owned());
            return Explanation::denied(transport, decided_by, steps);
        }
        Explanation {
            decided_by,
            ..Explanation::anonymous(Answer::Allow, transport, steps)
        }
    }

    fn with_route(&self, mut explanation: Explanation) -> Explanation {
        let routed = self.lead.routed.map(|routed| routed.document.to_string());
        explanation.decided_by.extend(routed);
        explanation
    }
}

fn described(what: &str, address: IpAddr, workload: Option<&Workload>) -> String {
    match workload {
        None => format!("{what} {address} is no pod that is known"),
        Some(w) if !w.enrolled => format!("{what} {} ({address}) is not in the mesh", w.name),
        Some(w) => format!("{what} {} ({address}) is {}", w.name, w.identity),
    }
}

fn endpoint_text(endpoint: Endpoint) -> String {
    std::net::SocketAddr::new(endpoint.address, endpoint.port).to_string()
}
