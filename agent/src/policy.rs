//! The Istio documents: what they say, compiled, and evaluated against one connection.
//!
//! Pure: no tokio, no aya, no files. `control` brings the documents and says where they came from; this
//! module says what they mean.

mod alternative_name;
mod authorization;
mod client;
mod documents;
mod doubts;
mod evaluate;
mod export;
mod field;
mod flow;
mod host;
mod invalid;
mod peer;
mod reference;
mod selector;
#[cfg(test)]
pub(crate) mod testing;
mod traffic;

pub use authorization::{
    Action, Attributes, Authorization, AuthorizationPolicy, AuthorizationPolicySpec, Decided,
    Match, Outcome,
};
pub use client::{
    CertificateFiles, ClientRules, ClientTls, DestinationRule, DestinationRuleSpec, Origination,
    Ruled,
};
pub use documents::Documents;
pub use doubts::{Doubt, Known};
pub use evaluate::{Decision, Refusal, Verdict};
pub use field::{FieldPath, Step};
pub use flow::{Flow, Protection};
pub use host::Host;
pub use invalid::{Invalid, Reason};
pub use peer::{
    Effective, Ignored, LegacyPolicySpec, Mode, MutualTls, PeerAuthentication,
    PeerAuthenticationSpec, PeerModes, WrittenMode,
};
pub use reference::{DocumentKind, DocumentRef};
pub use selector::{Labels, WorkloadSelector};
pub use traffic::{
    Addresses, Caller, Clients, Course, Credential, Family, Gateway, GatewaySpec, Gateways,
    HostAddresses, NoRoute, Routed, Routes, Served, Server, ServerTls, ServiceEntry,
    ServiceEntrySpec, Taken, TlsVersion, VirtualService, VirtualServiceSpec, Work,
};

use ipnet::IpNet;

use crate::{identity::TrustDomain, workload::Workload};

/// What the documents themselves don't say.
#[derive(Clone, Copy, Debug)]
pub struct Scope<'a> {
    /// The namespace whose documents are for the whole mesh.
    pub root_namespace: &'a str,
    /// Such as `cluster.local`: the end of every service's host name.
    pub cluster_domain: &'a str,
    /// The mesh's own trust domain first, then its aliases.
    pub trust_domains: &'a [TrustDomain],
}

/// Compiled policy of a whole mesh.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct Policy {
    peer: PeerModes,
    authorization: Authorization,
    clients: ClientRules,
    routes: Routes,
    ignored: Vec<Ignored>,
}

impl Policy {
    /// Compiles a set of documents as a whole.
    #[must_use]
    pub fn compile(scope: Scope<'_>, documents: Documents) -> Self {
        let Documents {
            peer_authentications,
            authorization_policies,
            destination_rules,
            // Become services before.
            service_entries: _,
            virtual_services,
            gateways,
            mesh_mode,
        } = documents;
        let switch = mesh_mode.map(|mode| PeerAuthentication::switch(scope.root_namespace, mode));
        let peer_authentications = switch.into_iter().chain(peer_authentications).collect();
        let audits = authorization_policies
            .iter()
            .filter(|policy| policy.action() == Action::Audit)
            .map(|policy| Ignored::Audit {
                document: policy.document().clone(),
            });
        let mut ignored: Vec<_> = audits.collect();
        let root = scope.root_namespace;
        Self {
            peer: PeerModes::compile(root, peer_authentications, &mut ignored),
            clients: ClientRules::compile(
                root,
                scope.cluster_domain,
                destination_rules,
                &mut ignored,
            ),
            routes: Routes::compile(
                scope.cluster_domain,
                virtual_services,
                gateways,
                &mut ignored,
            ),
            authorization: Authorization::compile(
                root,
                scope.trust_domains,
                authorization_policies,
            ),
            ignored,
        }
    }

    /// Documents that have no effect.
    #[must_use]
    pub fn ignored(&self) -> &[Ignored] {
        &self.ignored
    }

    /// The mode of one port of a workload.
    #[must_use]
    pub fn mode(&self, workload: &Workload, port: u16) -> Effective<'_> {
        self.peer.mode(workload, port)
    }

    /// The mode of the ports that no document names.
    #[must_use]
    pub fn workload_mode(&self, workload: &Workload) -> Effective<'_> {
        self.peer.workload_mode(workload)
    }

    #[must_use]
    pub fn authorization(&self) -> &Authorization {
        &self.authorization
    }

    #[must_use]
    pub fn clients(&self) -> &ClientRules {
        &self.clients
    }

    #[must_use]
    pub fn routes(&self) -> &Routes {
        &self.routes
    }

    /// All that is said of a workload, to tell whether that has changed.
    #[must_use]
    pub fn of<'p>(&'p self, workload: &'p Workload) -> impl std::hash::Hash + 'p {
        (
            self.workload_mode(workload).mode,
            self.port_modes(workload),
            self.authorization.of(workload).collect::<Vec<_>>(),
        )
    }

    /// Whether connections to a workload need more than that it takes them: there are authorization policies in
    /// force.
    #[must_use]
    pub fn restricts(&self, workload: &Workload) -> bool {
        self.authorization.restricts(workload)
    }

    /// Blocks of addresses that make a difference to connections, each as often as it is named.
    pub fn blocks(&self) -> impl Iterator<Item = &IpNet> {
        self.authorization.blocks().chain(self.routes.subnets())
    }

    /// Ports of a workload whose mode a document sets, in ascending order.
    #[must_use]
    pub fn port_modes(&self, workload: &Workload) -> Vec<(u16, Mode)> {
        self.peer.port_modes(workload)
    }
}
