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
    store::{Lead, LeadError, Snapshot},
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
    let ways = asked.connected(snapshot, client.families());
    let told = ways.into_iter().flat_map(|to| {
        let question = Question {
            snapshot,
            client: &client,
            source,
            asked: &asked,
            to,
        };
        question.told()
    });
    Ok(worst(told.collect()))
}

/// What becomes of a connection, and where it has led.
struct Told {
    /// `None`: to nobody, or nobody whom policy knows.
    endpoint: Option<Endpoint>,
    explanation: Explanation,
}

impl Told {
    const fn of_nobody(explanation: Explanation) -> Self {
        Self {
            endpoint: None,
            explanation,
        }
    }
}

/// A client and where it connects to.
struct Question<'a> {
    snapshot: &'a Snapshot,
    client: &'a Client,
    /// The client, if it is in the mesh.
    source: Option<&'a Workload>,
    asked: &'a Asked,
    /// `None`: any address of what is asked for.
    to: Option<IpAddr>,
}

impl<'a> Question<'a> {
    fn told(self) -> Vec<Told> {
        let mut steps = self.introduced();
        match self.lead() {
            Ok(lead) => Answering {
                question: self,
                lead,
            }
            .told(steps),
            Err(error) => {
                steps.push(format!("refused: {error}"));
                let decided_by = error.document().iter().map(ToString::to_string).collect();
                let denied = Explanation::denied(Transport::Plaintext, decided_by, steps);
                vec![Told::of_nobody(denied)]
            }
        }
    }

    fn lead(&self) -> Result<Lead<'a>, LeadError> {
        let (snapshot, asked) = (self.snapshot, self.asked);
        let service = asked.service.as_ref().filter(|_| !self.passes_by());
        match (self.source.filter(|_| asked.unseen.is_none()), self.to) {
            (None, _) => Ok(Lead::direct(service, asked.port)),
            (Some(source), Some(pod)) if service.is_none() && asked.service.is_some() => {
                snapshot.lead_to(source, SocketAddr::new(pod, asked.port))
            }
            // Several hosts may have the address.
            (Some(source), Some(address)) if asked.is_by_address() => {
                snapshot.lead_to(source, SocketAddr::new(address, asked.port))
            }
            (Some(source), address) => snapshot.lead(source, service, asked.port, address),
        }
    }

    /// Whether the client connects to a pod of a headless service by a port that the service doesn't lead to there:
    /// name servers say no ports, so that its `targetPort` is for others.
    fn passes_by(&self) -> bool {
        let headless =
            self.asked.service.as_ref().filter(|service| {
                service.outside.is_none() && service.virtual_addresses.is_empty()
            });
        headless.zip(self.to).is_some_and(|(service, address)| {
            let port = self.asked.port;
            let pod = Endpoint { address, port };
            service.endpoints().all(|endpoint| endpoint != pod)
        })
    }

    /// Who the client is, and what the answer supposes of it.
    fn introduced(&self) -> Vec<String> {
        let client = self.client;
        let supposed = client.has_own_proxy(self.snapshot).then(|| {
            "note: the client has Istio's own proxy, and no agent: this supposes that it does as the documents say, with \
             a certificate of the mesh's root"
                .to_owned()
        });
        let text = self.client_text(self.to.unwrap_or(client.address));
        let remarks = self.asked.remarks.iter().cloned();
        std::iter::once(text)
            .chain(supposed)
            .chain(remarks)
            .collect()
    }

    /// The client by its address of the same family as the server's.
    fn client_text(&self, server: IpAddr) -> String {
        let client = self.client;
        let address = client.address_beside(server);
        match &client.on_node {
            Some(name) => format!(
                "client {name} ({address}) is on the network of its node, and so not in the mesh"
            ),
            None => described("client", address, client.workload.as_deref()),
        }
    }
}

/// A client and where its connection leads.
struct Answering<'a> {
    question: Question<'a>,
    lead: Lead<'a>,
}

impl Answering<'_> {
    fn told(&self, mut steps: Vec<String>) -> Vec<Told> {
        let (lead, service) = (&self.lead, self.lead.service);
        let (snapshot, asked) = (self.question.snapshot, self.question.asked);
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
        if asked.unseen.is_some() && service.is_none_or(|s| s.outside.is_some()) {
            return vec![Told::of_nobody(self.outside(steps))];
        }
        let hidden = asked.service.as_ref().filter(|_| service.is_none());
        steps.extend(hidden.map(|service| private(service)));
        let endpoints = self.endpoints();
        if !endpoints.is_empty() {
            let told = endpoints.into_iter().map(|endpoint| Told {
                endpoint: Some(endpoint),
                explanation: self.with_route(self.at(endpoint, steps.clone())),
            });
            return told.collect();
        }
        let explanation = match service {
            Some(service)
                if !is_let_through(
                    self.question.snapshot,
                    self.question.source.is_some(),
                    &self.lead,
                    service,
                ) =>
            {
                steps.push(format!("refused: {}", nobody(&self.lead, service)));
                Explanation::denied(Transport::Plaintext, Vec::new(), steps)
            }
            known => {
                let awaited = known.filter(|service| awaits_names(snapshot, service));
                steps.extend(awaited.map(|service| supposed(service)));
                self.outside(steps)
            }
        };
        vec![Told::of_nobody(self.with_route(explanation))]
    }

    /// Those that the client would be sent to: of the family of what it connects to (`ServicePort::candidates`).
    fn endpoints(&self) -> Vec<Endpoint> {
        let Question {
            to, asked, client, ..
        } = &self.question;
        let port = asked.port;
        if self.lead.service.is_none() {
            let itself = to.map(|address| Endpoint { address, port });
            return itself.into_iter().collect();
        }
        let all = self.question.snapshot.endpoints(&self.lead);
        let mut found: Vec<_> = match to {
            Some(pod) if self.is_headless() => all.filter(|e| e.address == *pod).collect(),
            Some(to) => all
                .filter(|e| e.address.is_ipv4() == to.is_ipv4())
                .collect(),
            None => {
                let all: Vec<_> = all.collect();
                let same = all.iter().filter(|e| client.families().has(e.address));
                let same: Vec<_> = same.copied().collect();
                if same.is_empty() { all } else { same }
            }
        };
        // What a pod sends to itself says nothing of the others.
        let workload = client.workload.as_ref();
        let itself =
            |e: &Endpoint| workload.is_some_and(|client| client.addresses.contains(&e.address));
        if !found.iter().all(itself) {
            found.retain(|endpoint| !itself(endpoint));
        }
        found
    }

    /// Whether the client has chosen the pod itself.
    fn is_headless(&self) -> bool {
        let service = self.question.asked.service.as_ref();
        self.lead.routed.is_none()
            && service.is_some_and(|s| s.outside.is_none() && s.virtual_addresses.is_empty())
    }

    fn at(&self, endpoint: Endpoint, mut steps: Vec<String>) -> Explanation {
        if let Some(client) = steps.first_mut() {
            *client = self.question.client_text(endpoint.address);
        }
        if let Some(service) = self.lead.service {
            let (host, port) = (&service.host, self.lead.port);
            steps.push(format!(
                "{host}:{port} leads to {}",
                endpoint_text(endpoint)
            ));
        }
        let destination = self.question.snapshot.workload_at(endpoint.address);
        let destination = destination.map(Arc::as_ref);
        steps.push(self.server_text(endpoint.address, destination));
        if destination.is_some_and(|pod| target::has_own_proxy(self.question.snapshot, pod)) {
            let note = "note: the server has Istio's own proxy, and no agent: what it takes is for that to say";
            steps.push(note.to_owned());
        }
        match destination.filter(|w| w.enrolled) {
            None => self.outside(steps),
            Some(destination) => Way {
                snapshot: self.question.snapshot,
                client: self.question.client,
                source: self.question.source,
                lead: &self.lead,
                unseen: self.question.asked.unseen.as_deref(),
                destination,
                endpoint,
            }
            .explained(steps),
        }
    }

    /// To a server that is not in the mesh: only the client's side has a say.
    fn outside(&self, mut steps: Vec<String>) -> Explanation {
        let Some(ruled) = self.lead.ruled else {
            steps.push(match &self.question.asked.unseen {
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
            None if self.question.snapshot.bystanders.nodes.contains(&address) => {
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
fn worst(told: Vec<Told>) -> Explanation {
    let rank = |told: &Told| (told.explanation.verdict, told.explanation.transport);
    let Some(least) = told.iter().map(rank).max() else {
        return Explanation::anonymous(Answer::Deny, Transport::Plaintext, Vec::new());
    };
    let count = told.len();
    let (mut worst, others): (Vec<_>, Vec<_>) = told.into_iter().partition(|t| rank(t) == least);
    let alike = worst.len();
    let Told {
        endpoint,
        mut explanation,
    } = worst.swap_remove(0);
    if !others.is_empty() {
        let is_ipv4 = |told: &Told| told.endpoint.map(|e| e.address.is_ipv4());
        let own = endpoint.map(|e| e.address.is_ipv4());
        let by_family = worst.iter().all(|told| is_ipv4(told) == own)
            && others.iter().all(|told| is_ipv4(told) != own);
        explanation.steps.push(match own {
            Some(v4) if by_family => {
                let [family, other] = if v4 {
                    ["IPv4", "IPv6"]
                } else {
                    ["IPv6", "IPv4"]
                };
                format!("note: this is so over {family}, and better over {other}")
            }
            _ => format!("note: this is so for {alike} of {count} pods, and better for the others"),
        });
    }
    explanation
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
