//! What becomes of a connection, step by step.

use std::{net::IpAddr, sync::Arc};

use serde::{Deserialize, Serialize};

use super::{
    course::{Answer, Course, Transport},
    target::{self, Client, Server, TargetError},
};
use crate::{
    policy::{Attributes, Decision, Match, Outcome, Refusal, Ruled, Verdict},
    store::Snapshot,
    workload::{Endpoint, Workload},
};

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
    let server = target::server(snapshot, server)?;
    let endpoints = of_one_family(&client, &server);
    let each = endpoints
        .iter()
        .map(|e| one(snapshot, &client, &server, *e));
    let first = each.reduce(|worst, next| match next.verdict > worst.verdict {
        true => next,
        false => worst,
    });
    first.ok_or_else(|| TargetError::Form(String::new()))
}

/// Those that the client would be sent to: of its own address's family if there are any.
fn of_one_family(client: &Client, server: &Server) -> Vec<Endpoint> {
    let families: Vec<bool> = match &client.workload {
        Some(workload) => workload.addresses.iter().map(IpAddr::is_ipv4).collect(),
        None => vec![client.address.is_ipv4()],
    };
    let same = server
        .endpoints
        .iter()
        .filter(|e| families.contains(&e.address.is_ipv4()));
    let same: Vec<_> = same.copied().collect();
    if same.is_empty() {
        server.endpoints.clone()
    } else {
        same
    }
}

fn one(snapshot: &Snapshot, client: &Client, server: &Server, endpoint: Endpoint) -> Explanation {
    let mut steps = Vec::new();
    let source = client.workload.as_deref().filter(|w| w.enrolled);
    steps.push(described(
        "client",
        client.address,
        client.workload.as_deref(),
    ));
    if let Some(service) = &server.service {
        steps.push(format!(
            "{}:{} leads to {}",
            service.host,
            server.port,
            endpoint_text(endpoint)
        ));
    }
    let destination = snapshot.workload_at(endpoint.address);
    steps.push(described(
        "server",
        endpoint.address,
        destination.map(Arc::as_ref),
    ));
    let Some(destination) = destination.filter(|w| w.enrolled) else {
        steps.push("policy holds for servers in the mesh only".to_owned());
        return Explanation {
            verdict: Answer::Allow,
            transport: Transport::Plaintext,
            client_principal: None,
            server_principal: None,
            decided_by: Vec::new(),
            steps,
        };
    };
    Way {
        snapshot,
        client,
        source,
        server,
        destination,
        endpoint,
    }
    .explained(steps)
}

/// A connection to a server in the mesh.
struct Way<'a> {
    snapshot: &'a Snapshot,
    client: &'a Client,
    /// The client, if it is in the mesh.
    source: Option<&'a Workload>,
    server: &'a Server,
    destination: &'a Workload,
    endpoint: Endpoint,
}

impl<'a> Way<'a> {
    fn explained(&self, mut steps: Vec<String>) -> Explanation {
        let policy = &self.snapshot.policy;
        let mode = policy.mode(self.destination, self.endpoint.port);
        let said = mode.document.map_or_else(
            || "nothing says otherwise".to_owned(),
            |document| format!("says {document}"),
        );
        steps.push(format!(
            "port {} is {}: {said}",
            self.endpoint.port, mode.mode
        ));
        let course = Course {
            policy,
            source: self.source,
            destination: self.destination,
            mode,
            ruled: self.ruled(),
        };
        let (transport, why) = course.transport();
        steps.push(format!("the client sends {}: {why}", transport.name()));
        let secured = transport == Transport::MutualTls;
        let attributes = Attributes {
            principal: self.source.filter(|_| secured).map(|w| &w.identity),
            source: self.source_address(),
            destination: self.endpoint.address,
            port: self.endpoint.port,
            sni: None,
        };
        let decision = policy.evaluate(self.destination, &attributes);
        steps.push(step(&decision));
        let principal = |workload: &Workload| workload.identity.to_string();
        Explanation {
            verdict: decision.verdict.into(),
            transport,
            client_principal: self.source.filter(|_| secured).map(principal),
            server_principal: secured.then(|| principal(self.destination)),
            decided_by: course.decided_by(&decision),
            steps,
        }
    }

    fn source_address(&self) -> IpAddr {
        let same = |address: &&IpAddr| address.is_ipv4() == self.endpoint.address.is_ipv4();
        let own = self
            .client
            .workload
            .iter()
            .flat_map(|w| &w.addresses)
            .find(same);
        own.copied().unwrap_or(self.client.address)
    }

    fn ruled(&self) -> Option<Ruled<'a>> {
        let service = self.server.service.as_ref()?;
        self.snapshot
            .policy
            .client_rule(self.source?, service, self.server.port)
    }
}

fn step(decision: &Decision<'_>) -> String {
    let by = |Match { document, rule }: Match<'_>| format!("{document}, rule {}", rule + 1);
    match decision.verdict {
        Verdict::Refuse(Refusal::PlaintextInStrict) => {
            "refused: STRICT takes mutual TLS only".to_owned()
        }
        Verdict::Refuse(_) | Verdict::Allow => match decision.authorization {
            Outcome::Unrestricted => {
                "allowed: no authorization policy restricts the server".to_owned()
            }
            Outcome::Allowed(matched) => format!("allowed by {}", by(matched)),
            Outcome::Denied(matched) => format!("refused by {}", by(matched)),
            Outcome::NotAllowed => "refused: no ALLOW policy of the server matches".to_owned(),
        },
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
