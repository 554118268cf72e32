//! The documents as a set, before they are compiled.

use std::{
    collections::{BTreeMap, HashMap},
    sync::Arc,
};

use super::{
    AuthorizationPolicy, DestinationRule, DocumentRef, Gateway, Mode, PeerAuthentication,
    ServiceEntry, VirtualService,
};

/// What stands in the place of documents that can't be read. No object can be called so.
const HELD_BACK: &str = "(held back)";

/// All documents of a mesh.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct Documents {
    pub peer_authentications: Vec<PeerAuthentication>,
    /// Shared with whoever keeps what was read.
    pub authorization_policies: Vec<Arc<AuthorizationPolicy>>,
    pub destination_rules: Vec<DestinationRule>,
    pub service_entries: Vec<ServiceEntry>,
    pub virtual_services: Vec<VirtualService>,
    pub gateways: Vec<Gateway>,
    /// The mode of the whole mesh, said in one line: older than any document of that scope.
    pub mesh_mode: Option<Mode>,
}

impl Documents {
    /// Adds those of another set.
    pub fn append(&mut self, other: &Self) {
        let peers = &mut self.peer_authentications;
        peers.extend_from_slice(&other.peer_authentications);
        let authorization = &mut self.authorization_policies;
        authorization.extend_from_slice(&other.authorization_policies);
        let rules = &mut self.destination_rules;
        rules.extend_from_slice(&other.destination_rules);
        let entries = &mut self.service_entries;
        entries.extend_from_slice(&other.service_entries);
        let routes = &mut self.virtual_services;
        routes.extend_from_slice(&other.virtual_services);
        self.gateways.extend_from_slice(&other.gateways);
        self.mesh_mode = self.mesh_mode.or(other.mesh_mode);
    }

    /// Those of each namespace apart; what is of the whole mesh without being of a namespace has the empty name.
    #[must_use]
    pub fn apart(&self) -> BTreeMap<String, Self> {
        let mut apart = BTreeMap::<String, Self>::new();
        for policy in &self.peer_authentications {
            let own = of(&mut apart, &policy.document);
            own.peer_authentications.push(policy.clone());
        }
        for policy in &self.authorization_policies {
            let own = of(&mut apart, policy.document());
            own.authorization_policies.push(Arc::clone(policy));
        }
        for rule in &self.destination_rules {
            of(&mut apart, &rule.document)
                .destination_rules
                .push(rule.clone());
        }
        for entry in &self.service_entries {
            of(&mut apart, entry.document())
                .service_entries
                .push(entry.clone());
        }
        for routes in &self.virtual_services {
            of(&mut apart, &routes.document)
                .virtual_services
                .push(routes.clone());
        }
        for gateway in &self.gateways {
            of(&mut apart, &gateway.document)
                .gateways
                .push(gateway.clone());
        }
        if self.mesh_mode.is_some() {
            apart.entry(String::new()).or_default().mesh_mode = self.mesh_mode;
        }
        apart
    }

    /// Of a namespace some of whose documents can't be read: workloads take mutual TLS and, from whomever, no
    /// connection. What the others say of clients and of hosts stays: without it what should be TLS would leave in
    /// clear.
    #[must_use]
    pub fn closed(self, namespace: &str) -> Self {
        Self {
            peer_authentications: vec![PeerAuthentication::strict(namespace, HELD_BACK)],
            authorization_policies: vec![Arc::new(AuthorizationPolicy::deny_all(
                namespace, HELD_BACK,
            ))],
            mesh_mode: None,
            ..self
        }
    }

    /// What is in force when `candidate` is applied over these: of documents of one kind and name the candidate's
    /// counts, and is as old as the one that it replaces, as with `kubectl apply`.
    #[must_use]
    pub fn overlaid(&self, candidate: Self) -> Self {
        Self {
            peer_authentications: laid(
                &self.peer_authentications,
                candidate.peer_authentications,
                |policy| &policy.document,
                |next, present| next.created = present.created.or(next.created),
            ),
            authorization_policies: laid(
                &self.authorization_policies,
                candidate.authorization_policies,
                |policy| policy.document(),
                |_, _| {},
            ),
            destination_rules: laid(
                &self.destination_rules,
                candidate.destination_rules,
                |rule| &rule.document,
                |next, present| next.created = present.created.or(next.created),
            ),
            service_entries: laid(
                &self.service_entries,
                candidate.service_entries,
                ServiceEntry::document,
                |next, present| next.created = present.created.or(next.created),
            ),
            virtual_services: laid(
                &self.virtual_services,
                candidate.virtual_services,
                |routes| &routes.document,
                |next, present| next.created = present.created.or(next.created),
            ),
            gateways: laid(
                &self.gateways,
                candidate.gateways,
                |gateway| &gateway.document,
                |next, present| next.created = present.created.or(next.created),
            ),
            mesh_mode: candidate.mesh_mode.or(self.mesh_mode),
        }
    }
}

fn of<'a>(apart: &'a mut BTreeMap<String, Documents>, document: &DocumentRef) -> &'a mut Documents {
    apart.entry(document.namespace.clone()).or_default()
}

/// Those that stay, then the candidate's.
fn laid<T: Clone>(
    present: &[T],
    mut candidate: Vec<T>,
    document: fn(&T) -> &DocumentRef,
    inherit: fn(&mut T, &T),
) -> Vec<T> {
    let named = candidate.iter().map(|c| document(c).clone());
    let replacing: HashMap<_, _> = named.zip(0..).collect();
    let mut all = Vec::with_capacity(present.len() + candidate.len());
    for old in present {
        let next = replacing.get(document(old));
        match next.and_then(|index: &usize| candidate.get_mut(*index)) {
            Some(next) => inherit(next, old),
            None => all.push(old.clone()),
        }
    }
    all.append(&mut candidate);
    all
}
