//! Documents -> the mode of every workload and port.
//!
//! Precedence as Istio documents it: port over workload over namespace over mesh; within one scope the
//! oldest document wins whole, ties by name; a mode that it leaves UNSET comes from the wider scope, never
//! from a younger document. PERMISSIVE where nothing is said. A document with a selector in the root
//! namespace selects nothing, not even there
//! (<https://istio.io/latest/docs/reference/config/security/peer_authentication/>).
//!
//! Does not parse, and does not decide about connections.

mod document;
mod legacy;
mod selected;

use std::collections::BTreeMap;

pub(super) use document::port_number;
pub use legacy::LegacyPolicySpec;

pub use document::{Mode, MutualTls, PeerAuthentication, PeerAuthenticationSpec, WrittenMode};

use self::selected::{Selected, Selection};
use super::{DocumentKind, DocumentRef};
use crate::workload::Workload;

/// Compiled peer authentication of a whole mesh.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct PeerModes {
    mesh: Option<Scope>,
    namespaces: BTreeMap<String, Scope>,
    /// By namespace.
    workloads: BTreeMap<String, Selection>,
}

/// A document that has no effect on any workload, as in Istio. Worth a warning: its author thinks otherwise.
#[derive(Clone, Debug, PartialEq, Eq, Hash, thiserror::Error)]
pub enum Ignored {
    #[error(
        "{document} has no effect: documents with a selector are ignored in the root namespace"
    )]
    SelectorInRoot { document: DocumentRef },
    #[error("{document} has no effect: {winner} is older and has the same scope")]
    Shadowed {
        document: DocumentRef,
        winner: DocumentRef,
    },
    #[error("{document} has no effect for the gateway {gateway}: there is none of this name")]
    NoGateway {
        document: DocumentRef,
        gateway: String,
    },
    #[error(
        "{document}: {part} has no effect: {winner} is older and says the same of the same host"
    )]
    Overruled {
        document: DocumentRef,
        part: String,
        winner: DocumentRef,
    },
    #[error(
        "{document}: {first} and {second} take HTTP on port {port}, and the host of a connection's first request says \
         which of them gets all of it: clients that name no host are refused, and later requests for other hosts get \
         to the first one's service"
    )]
    NeedsHttp {
        document: DocumentRef,
        port: u16,
        first: DocumentRef,
        second: DocumentRef,
    },
    #[error(
        "{document} leads to {host}, which no service and no ServiceEntry has: connections that it matches are refused"
    )]
    NoHost { document: DocumentRef, host: String },
    #[error(
        "{document} changes no verdict, and nobody is told: AUDIT marks requests for a plugin, which Sealane doesn't \
         have; its access log has every connection"
    )]
    Audit { document: DocumentRef },
}

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
struct Scope {
    document: DocumentRef,
    mode: Option<Mode>,
}

/// A mode and the document that says so; `None` is the built-in default.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Effective<'a> {
    pub mode: Mode,
    pub document: Option<&'a DocumentRef>,
}

impl PeerModes {
    /// Documents without effect are added to `ignored`.
    pub(super) fn compile(
        root_namespace: &str,
        mut documents: Vec<PeerAuthentication>,
        ignored: &mut Vec<Ignored>,
    ) -> Self {
        // Of v1alpha1 and what came after it, the latter counts, however old
        // (<https://istio.io/latest/blog/2021/migrate-alpha-policy/>).
        documents.sort_by(|a, b| {
            let rank = |p: &PeerAuthentication| (p.document.kind.is_legacy(), p.created);
            let (older, newer) = ((rank(a), &a.document), (rank(b), &b.document));
            let older = (older.0.0, older.1.precedence(older.0.1));
            older.cmp(&(newer.0.0, newer.1.precedence(newer.0.1)))
        });
        let mut modes = Self::default();
        for document in documents {
            ignored.extend(modes.add(root_namespace, document));
        }
        modes
    }

    fn add(&mut self, root: &str, peer: PeerAuthentication) -> Option<Ignored> {
        let PeerAuthentication {
            document,
            labels,
            mode,
            ports,
            ..
        } = peer;
        if labels.is_empty() {
            return self.add_scope(root, document, mode);
        }
        if document.namespace == root {
            return Some(Ignored::SelectorInRoot { document });
        }
        let selected = self.workloads.entry(document.namespace.clone());
        selected.or_default().add(Selected {
            document,
            labels,
            mode,
            ports,
        });
        None
    }

    fn add_scope(
        &mut self,
        root: &str,
        document: DocumentRef,
        mode: Option<Mode>,
    ) -> Option<Ignored> {
        // Which has no namespace.
        let mesh = document.namespace == root || document.kind == DocumentKind::MeshPolicy;
        let winner = if mesh {
            self.mesh.as_ref()
        } else {
            let of_mesh = self.mesh.as_ref();
            let newer =
                of_mesh.filter(|s| document.kind.is_legacy() && !s.document.kind.is_legacy());
            self.namespaces.get(&document.namespace).or(newer)
        };
        if let Some(winner) = winner {
            let winner = winner.document.clone();
            return Some(Ignored::Shadowed { document, winner });
        }
        if mesh {
            self.mesh = Some(Scope { document, mode });
        } else {
            let namespace = document.namespace.clone();
            self.namespaces.insert(namespace, Scope { document, mode });
        }
        None
    }

    /// The mode of one port of a workload.
    #[must_use]
    pub fn mode(&self, workload: &Workload, port: u16) -> Effective<'_> {
        if let Some(selected) = self.selected(workload)
            && let Some(mode) = selected.ports.get(&port)
        {
            return Effective {
                mode: *mode,
                document: Some(&selected.document),
            };
        }
        self.workload_mode(workload)
    }

    /// The mode of the ports that no document names.
    #[must_use]
    pub fn workload_mode(&self, workload: &Workload) -> Effective<'_> {
        let selected = self.selected(workload).map(|s| (s.mode, &s.document));
        let namespace = self.namespaces.get(workload.namespace());
        let wider = [namespace, self.mesh.as_ref()]
            .into_iter()
            .flatten()
            .map(|s| (s.mode, &s.document));
        selected
            .into_iter()
            .chain(wider)
            .find_map(|(mode, document)| {
                mode.map(|mode| Effective {
                    mode,
                    document: Some(document),
                })
            })
            .unwrap_or(Effective {
                mode: Mode::Permissive,
                document: None,
            })
    }

    /// Ports of a workload whose mode a document sets, in ascending order.
    #[must_use]
    pub fn port_modes(&self, workload: &Workload) -> Vec<(u16, Mode)> {
        self.selected(workload).map_or_else(Vec::new, |selected| {
            selected
                .ports
                .iter()
                .map(|(port, mode)| (*port, *mode))
                .collect()
        })
    }

    fn selected(&self, workload: &Workload) -> Option<&Selected> {
        let selection = self.workloads.get(workload.namespace())?;
        selection.of(&workload.labels)
    }
}

#[cfg(test)]
mod tests;
