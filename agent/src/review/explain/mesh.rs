//! What becomes of a connection to a server in the mesh.

use std::net::IpAddr;

use super::{Answer, Explanation, Transport, spoken, texts};
use crate::{
    policy::{Action, Attributes, Decision, Match, Mode, Outcome, Refusal, Ruled, Verdict},
    review::target::Client,
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
    pub(super) destination: &'a Workload,
    pub(super) endpoint: Endpoint,
}

impl<'a> Way<'a> {
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
        let ruled = self.lead.ruled;
        let (transport, why) = self.transport(mode.mode, ruled);
        steps.push(format!("the client sends {transport}: {why}"));
        let secured = transport == Transport::MutualTls;
        if secured && mode.mode == Mode::Disable {
            steps.push("refused: the server's port is DISABLE".to_owned());
            let rule = ruled.map(|r| r.document);
            let decided_by = texts([rule, mode.document]);
            return Explanation::denied(Transport::MutualTls, decided_by, steps);
        }
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
            verdict: match decision.verdict {
                Verdict::Allow => Answer::Allow,
                Verdict::Refuse(_) => Answer::Deny,
            },
            transport,
            client_principal: self.source.filter(|_| secured).map(principal),
            server_principal: secured.then(|| principal(self.destination)),
            decided_by: self.decided_by(&decision, ruled),
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

    /// What is on the wire, and why.
    fn transport(&self, mode: Mode, ruled: Option<Ruled<'_>>) -> (Transport, String) {
        let Some(source) = self.source else {
            let why = "the client is not in the mesh".to_owned();
            return (Transport::Plaintext, why);
        };
        if source.name == self.destination.name {
            return (Transport::Plaintext, "it never leaves the pod".to_owned());
        }
        match (ruled, mode) {
            (Some(ruled), _) => spoken(&ruled),
            (None, Mode::Disable) => {
                let why = "the server's port is DISABLE".to_owned();
                (Transport::Plaintext, why)
            }
            (None, _) => (Transport::MutualTls, "both are in the mesh".to_owned()),
        }
    }

    fn decided_by(&self, decision: &Decision<'_>, ruled: Option<Ruled<'_>>) -> Vec<String> {
        let peer = decision.mode.document;
        let rule = ruled.map(|r| r.document);
        let matched = |matched: Match<'_>| vec![matched.document.to_string()];
        match decision.verdict {
            Verdict::Refuse(Refusal::PlaintextInStrict) => texts([peer, rule]),
            Verdict::Refuse(Refusal::AuthorizationDenied | Refusal::AuthorizationNotAllowed)
            | Verdict::Allow => match decision.authorization {
                Outcome::Denied(by) => matched(by),
                Outcome::NotAllowed => self.allowing(),
                Outcome::Allowed(by) => [matched(by), texts([peer, rule])].concat(),
                Outcome::Unrestricted => texts([peer, rule]),
            },
        }
    }

    /// The policies of which one would have had to match.
    fn allowing(&self) -> Vec<String> {
        let policies = self.snapshot.policy.authorization().of(self.destination);
        let allowing = policies.filter(|p| p.action() == Action::Allow && !p.is_dry_run());
        allowing.map(|p| p.document().to_string()).collect()
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
