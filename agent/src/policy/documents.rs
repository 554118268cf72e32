//! The documents as a set, before they are compiled.

use std::{collections::HashMap, sync::Arc};

use super::{
    AuthorizationPolicy, DestinationRule, DocumentRef, Gateway, Mode, PeerAuthentication,
    ServiceEntry, VirtualService,
};

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
