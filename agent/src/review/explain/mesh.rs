//! What becomes of a connection to a server in the mesh.

use super::Explanation;
use crate::{
    policy::{Decision, Match, Outcome, Refusal, Verdict},
    review::{
        course::{Answer, Course, Met, Transport},
        target::Client,
    },
    store::{Lead, Snapshot},
    workload::{Endpoint, Workload},
};

/// A connection to a server in the mesh.
pub(super) struct Way<'a> {
    pub(super) snapshot: &'a Snapshot,
    pub(super) client: &'a Client,
    /// The client, if it is in the mesh.
    pub(super) source: Option<&'a Workload>,
    pub(super) lead: &'a Lead<'a>,
    /// Why the client's agent doesn't see it, if so.
    pub(super) unseen: Option<&'a str>,
    pub(super) destination: &'a Workload,
    pub(super) endpoint: Endpoint,
}

impl Way<'_> {
    pub(super) fn explained(&self, mut steps: Vec<String>) -> Explanation {
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
            unseen: self.unseen,
            destination: self.destination,
            mode,
            ruled: self.lead.ruled,
        };
        let (transport, why) = course.transport();
        steps.push(format!("the client sends {}: {why}", transport.name()));
        let secured = transport == Transport::MutualTls;
        let service = self
            .lead
            .service
            .map(|service| (&**service, self.lead.port));
        let client = self.client.address_beside(self.endpoint.address);
        let decision = match course.met(client, self.endpoint, service) {
            Met::Inside => {
                steps.push("allowed: no policy looks at what stays inside of a pod".to_owned());
                return Explanation::anonymous(Answer::Allow, transport, steps);
            }
            Met::Conflict => {
                steps.push("refused: the server's port is DISABLE".to_owned());
                return Explanation::denied(transport, course.peers(), steps);
            }
            Met::Decided(decision) => decision,
        };
        steps.push(step(&decision));
        steps.extend(self.probes(&decision));
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

    /// What is not so for the kubelet.
    fn probes(&self, decision: &Decision<'_>) -> Option<String> {
        let refused = decision.verdict != Verdict::Allow && self.client.workload.is_none();
        let port = self.endpoint.port;
        let declared = self.destination.probe_ports.contains(&port);
        (refused && declared)
            .then(|| format!("note: the pod's kubelet may, for it probes port {port}"))
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
