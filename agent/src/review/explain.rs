//! What becomes of a connection, step by step.

mod mesh;

use std::{
    net::{IpAddr, SocketAddr},
    sync::Arc,
};

use serde::{Deserialize, Serialize};

use super::{
    course::{Answer, Transport, spoken},
    nowhere::{awaits_names, is_let_through, nobody, private, supposed},
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
/// reached, else of those that are reached in clear.
///
/// # Errors
/// When client or server is nobody.
pub fn explain(
    snapshot: &Snapshot,
    client: &str,
    server: &str,
) -> Result<Explanation, TargetError> {
    let client = target::client(snapshot, client)?;
    let source = client.source(snapshot);
    let asked = target::server(snapshot, source, server)?;
    let mut steps = introduced(snapshot, &client);
    steps.extend(asked.remarks.iter().cloned());
    let service = asked.service.as_ref();
    let lead = match source.filter(|_| asked.unseen.is_none()) {
        None => Ok(Lead::direct(service, asked.port)),
        Some(source) => match asked.address(client.address.is_ipv4()) {
            // Several hosts may have the address.
            Some(address) if asked.is_by_address() => {
                snapshot.lead_to(source, SocketAddr::new(address, asked.port))
            }
            address => snapshot.lead(source, service, asked.port, address),
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
        asked: &asked,
        lead,
    };
    Ok(question.answered(steps))
}

/// A client and where its connection leads.
struct Question<'a> {
    snapshot: &'a Snapshot,
    client: &'a Client,
    /// The client, if it is in the mesh.
    source: Option<&'a Workload>,
    asked: &'a Asked,
    lead: Lead<'a>,
}

impl Question<'_> {
    fn answered(&self, mut steps: Vec<String>) -> Explanation {
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
        if self.asked.unseen.is_some() && service.is_none_or(|s| s.outside.is_some()) {
            return self.outside(steps);
        }
        let hidden = self.asked.service.as_ref().filter(|_| service.is_none());
        steps.extend(hidden.map(|service| private(service)));
        let endpoints = match service {
            None => self.asked.endpoints(self.client.address.is_ipv4()),
            Some(_) => self.snapshot.endpoints(lead).collect(),
        };
        let of_family = self.of_one_family(endpoints);
        let each = of_family.into_iter().map(|e| self.at(e, steps.clone()));
        let explanation = match (worst(each.collect()), service) {
            (Some(explanation), _) => explanation,
            (None, Some(service))
                if !is_let_through(self.snapshot, self.source.is_some(), lead, service) =>
            {
                steps.push(format!("refused: {}", nobody(&self.lead, service)));
                Explanation::denied(Transport::Plaintext, Vec::new(), steps)
            }
            (None, known) => {
                let awaited = known.filter(|service| awaits_names(self.snapshot, service));
                steps.extend(awaited.map(|service| supposed(service)));
                self.outside(steps)
            }
        };
        self.with_route(explanation)
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
        let mut same: Vec<_> = same.copied().collect();
        // What a pod sends to itself says nothing of the others.
        let itself = |e: &Endpoint| {
            let client = self.client.workload.as_ref();
            client.is_some_and(|client| client.addresses.contains(&e.address))
        };
        if !same.iter().all(itself) {
            same.retain(|endpoint| !itself(endpoint));
        }
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
        steps.push(self.server_text(endpoint.address, destination));
        if destination.is_some_and(|pod| target::has_own_proxy(self.snapshot, pod)) {
            let note = "note: the server has Istio's own proxy, and no agent: what it takes is for that to say";
            steps.push(note.to_owned());
        }
        match destination.filter(|w| w.enrolled) {
            None => self.outside(steps),
            Some(destination) => Way {
                snapshot: self.snapshot,
                client: self.client,
                source: self.source,
                lead: &self.lead,
                unseen: self.asked.unseen.as_deref(),
                destination,
                endpoint,
            }
            .explained(steps),
        }
    }

    /// To a server that is not in the mesh: only the client's side has a say.
    fn outside(&self, mut steps: Vec<String>) -> Explanation {
        let Some(ruled) = self.lead.ruled else {
            steps.push(match &self.asked.unseen {
                Some(why) => format!("it goes as the client sends it: {why}"),
                None => "policy holds for servers in the mesh only: it goes as the client sends it"
                    .to_owned(),
            });
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

    fn server_text(&self, address: IpAddr, workload: Option<&Workload>) -> String {
        match workload {
            None if self.snapshot.bystanders.nodes.contains(&address) => {
                format!(
                    "server {address} is a node, or a pod on its network, and so not in the mesh"
                )
            }
            _ => described("server", address, workload),
        }
    }

    fn with_route(&self, mut explanation: Explanation) -> Explanation {
        let routed = self.lead.routed.map(|routed| routed.document.to_string());
        explanation.decided_by.extend(routed);
        explanation
    }
}

/// The first of those that are the least welcome, with a word about the others.
fn worst(each: Vec<Explanation>) -> Option<Explanation> {
    let rank = |e: &Explanation| (e.verdict, e.transport);
    let count = each.len();
    let ranks: Vec<_> = each.iter().map(rank).collect();
    let mut worst = each.into_iter().reduce(|worst, next| {
        let worse = rank(&next) > rank(&worst);
        if worse { next } else { worst }
    })?;
    let alike = ranks.iter().filter(|r| **r == rank(&worst)).count();
    if alike < count {
        let note =
            format!("note: this is so for {alike} of {count} pods, and better for the others");
        worst.steps.push(note);
    }
    Some(worst)
}

/// Who the client is, and what the answer supposes of it.
fn introduced(snapshot: &Snapshot, client: &Client) -> Vec<String> {
    let supposed = client.has_own_proxy(snapshot).then(|| {
        "note: the client has Istio's own proxy, and no agent: this supposes that it does as the documents say, with a \
         certificate of the mesh's root"
            .to_owned()
    });
    let text = std::iter::once(client_text(client));
    text.chain(supposed).collect()
}

fn client_text(client: &Client) -> String {
    match &client.on_node {
        Some(name) => format!(
            "client {name} ({}) is on the network of its node, and so not in the mesh",
            client.address
        ),
        None => described("client", client.address, client.workload.as_deref()),
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
