//! What clients are told to send to a server, and which documents a verdict follows from: what the answers about
//! connections have in common.

use serde::{Deserialize, Serialize};

use std::net::IpAddr;

use crate::{
    policy::{
        Action, Attributes, ClientTls, Decision, DocumentRef, Effective, Match, Mode, Outcome,
        Policy, Refusal, Ruled, Verdict,
    },
    workload::{Endpoint, Service, Workload},
};

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Answer {
    Allow,
    Deny,
}

/// What is on the wire.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Transport {
    MutualTls,
    /// With certificates that are not the mesh's: SIMPLE or MUTUAL of a DestinationRule.
    Tls,
    Plaintext,
}

impl Transport {
    /// For people.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::MutualTls => "mutual TLS",
            Self::Tls => "TLS",
            Self::Plaintext => "plaintext",
        }
    }
}

impl From<Verdict> for Answer {
    fn from(verdict: Verdict) -> Self {
        match verdict {
            Verdict::Allow => Self::Allow,
            Verdict::Refuse(_) => Self::Deny,
        }
    }
}

/// What a rule makes a client send.
pub(super) fn spoken(ruled: &Ruled<'_>) -> (Transport, String) {
    let transport = match ruled.tls {
        ClientTls::Disable => Transport::Plaintext,
        ClientTls::IstioMutual => Transport::MutualTls,
        ClientTls::Originate(_) => Transport::Tls,
    };
    (transport, format!("{} says {}", ruled.document, ruled.tls))
}

/// From a client, if it is in the mesh, to a server in the mesh.
#[derive(Clone, Copy)]
pub(super) struct Course<'a> {
    pub(super) policy: &'a Policy,
    pub(super) source: Option<&'a Workload>,
    /// Why the client's agent doesn't see it, if so.
    pub(super) unseen: Option<&'a str>,
    pub(super) destination: &'a Workload,
    /// Of the server's port.
    pub(super) mode: Effective<'a>,
    /// What is said of the service by which the client reaches the server.
    pub(super) ruled: Option<Ruled<'a>>,
}

/// What a server in the mesh makes of a connection.
#[derive(Clone, Copy)]
pub(super) enum Met<'a> {
    /// No policy looks at what stays inside of a pod.
    Inside,
    /// Mutual TLS to a port that is DISABLE: the client's own agent refuses.
    Conflict,
    Decided(Decision<'a>),
}

impl<'a> Course<'a> {
    /// What the client sends, and why.
    pub(super) fn transport(&self) -> (Transport, String) {
        if self.source.is_none() {
            let why = "the client is not in the mesh".to_owned();
            return (Transport::Plaintext, why);
        }
        if self.stays_inside() {
            return (Transport::Plaintext, "it never leaves the pod".to_owned());
        }
        if let Some(why) = self.unseen {
            return (Transport::Plaintext, why.to_owned());
        }
        match (self.ruled, self.mode.mode) {
            (Some(ruled), _) => spoken(&ruled),
            (None, Mode::Disable) => {
                let why = "the server's port is DISABLE".to_owned();
                (Transport::Plaintext, why)
            }
            (None, _) => (Transport::MutualTls, "both are in the mesh".to_owned()),
        }
    }

    /// Whether client and server are one pod.
    pub(super) fn stays_inside(&self) -> bool {
        self.source
            .is_some_and(|source| source.name == self.destination.name)
    }

    /// Whether the client is told to send what the server doesn't take: its own agent refuses then.
    pub(super) fn is_conflict(&self) -> bool {
        if self.source.is_none() || self.stays_inside() || self.unseen.is_some() {
            return false;
        }
        matches!(
            (self.ruled.map(|r| r.tls), self.mode.mode),
            (Some(ClientTls::IstioMutual), Mode::Disable)
                | (
                    Some(ClientTls::Disable | ClientTls::Originate(_)),
                    Mode::Strict
                )
        )
    }

    /// What becomes of a connection from an address. `asked`: the service's port that its client has asked for.
    pub(super) fn met(
        &self,
        client: IpAddr,
        endpoint: Endpoint,
        asked: Option<(&Service, u16)>,
    ) -> Met<'a> {
        if self.stays_inside() {
            return Met::Inside;
        }
        let secured = self.transport().0 == Transport::MutualTls;
        if secured && self.is_conflict() {
            return Met::Conflict;
        }
        let asked = asked.filter(|_| secured);
        let server_name = asked.map(|(service, port)| service.server_name(port));
        Met::Decided(self.policy.evaluate(
            self.destination,
            &Attributes {
                principal: self.source.filter(|_| secured).map(|w| &w.identity),
                source: client,
                destination: endpoint.address,
                port: endpoint.port,
                sni: server_name.as_deref(),
            },
        ))
    }

    /// `KIND/NAMESPACE/NAME` of the documents that a decision follows from.
    pub(super) fn decided_by(&self, decision: &Decision<'_>) -> Vec<String> {
        let peers = self.peers();
        let matched = |matched: Match<'_>| vec![matched.document.to_string()];
        match decision.verdict {
            Verdict::Refuse(Refusal::PlaintextInStrict) => peers,
            Verdict::Refuse(Refusal::AuthorizationDenied | Refusal::AuthorizationNotAllowed)
            | Verdict::Allow => match decision.authorization {
                Outcome::Denied(by) => matched(by),
                Outcome::NotAllowed => self.allowing(),
                Outcome::Allowed(by) => [matched(by), peers].concat(),
                Outcome::Unrestricted => peers,
            },
        }
    }

    /// Those that say what is sent and what is taken.
    pub(super) fn peers(&self) -> Vec<String> {
        let rule = self.ruled.map(|r| r.document);
        let documents = [self.mode.document, rule].into_iter().flatten();
        documents.map(DocumentRef::to_string).collect()
    }

    /// The policies of which one would have had to match.
    fn allowing(&self) -> Vec<String> {
        let policies = self.policy.authorization().of(self.destination);
        let allowing = policies.filter(|p| p.action() == Action::Allow && !p.is_dry_run());
        allowing.map(|p| p.document().to_string()).collect()
    }
}
