//! Documents -> the mode of every workload and port.
//!
//! Precedence as Istio documents it: port over workload over namespace over mesh; within one scope the
//! oldest document wins whole, ties by name; a mode that it leaves UNSET comes from the wider scope, never
//! from a younger document. PERMISSIVE where nothing is said. A document with a selector in the root
//! namespace selects nothing, not even there
//! (<https://istio.io/latest/docs/reference/config/security/peer_authentication/>).
//!
//! Does not parse, and does not decide about connections.

use std::collections::BTreeMap;

use super::document::{Mode, PeerAuthentication, PolicyRef};
use crate::workload::Workload;

/// Compiled peer authentication of a whole mesh.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct Policy {
    mesh: Option<Scope>,
    namespaces: BTreeMap<String, Scope>,
    /// By namespace, oldest first.
    workloads: BTreeMap<String, Vec<Selected>>,
    ignored: Vec<Ignored>,
}

/// A document that has no effect on any workload, as in Istio. Worth a warning: its author thinks otherwise.
#[derive(Clone, Debug, PartialEq, Eq, Hash, thiserror::Error)]
pub enum Ignored {
    #[error(
        "{document} has no effect: documents with a selector are ignored in the root namespace"
    )]
    SelectorInRoot { document: PolicyRef },
    #[error("{document} has no effect: {winner} is older and has the same scope")]
    Shadowed {
        document: PolicyRef,
        winner: PolicyRef,
    },
}

/// Why a set of documents has no meaning. Each names the document and the field.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum CompileError {
    #[error("{document}: spec.portLevelMtls.{port}: not a port number from 1 to 65535")]
    Port { document: PolicyRef, port: String },
    #[error(
        "{document}: spec.selector.matchLabels: `{key}: {value}`: empty keys and `*` are not supported"
    )]
    Selector {
        document: PolicyRef,
        key: String,
        value: String,
    },
    #[error(
        "{document}: spec.portLevelMtls needs spec.selector.matchLabels: ports are of workloads, \
         not of a whole namespace"
    )]
    PortsWithoutSelector { document: PolicyRef },
    #[error("{document}: spec.portLevelMtls: {count} ports, at most {limit} are supported")]
    TooManyPorts {
        document: PolicyRef,
        count: usize,
        limit: usize,
    },
}

impl CompileError {
    /// The document that is at fault.
    #[must_use]
    pub fn document(&self) -> &PolicyRef {
        match self {
            Self::Port { document, .. }
            | Self::Selector { document, .. }
            | Self::PortsWithoutSelector { document }
            | Self::TooManyPorts { document, .. } => document,
        }
    }

    /// Path of the field that is at fault, key by key.
    #[must_use]
    pub fn field(&self) -> Vec<&str> {
        match self {
            Self::Port { port, .. } => vec!["spec", "portLevelMtls", port],
            Self::Selector { key, .. } => vec!["spec", "selector", "matchLabels", key],
            Self::PortsWithoutSelector { .. } | Self::TooManyPorts { .. } => {
                vec!["spec", "portLevelMtls"]
            }
        }
    }
}

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
struct Scope {
    document: PolicyRef,
    mode: Option<Mode>,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
struct Selected {
    document: PolicyRef,
    labels: BTreeMap<String, String>,
    mode: Option<Mode>,
    /// Without those that are UNSET: they are as the rest of the workload.
    ports: BTreeMap<u16, Mode>,
}

/// A mode and the document that says so; `None` is the built-in default.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Effective<'a> {
    pub mode: Mode,
    pub document: Option<&'a PolicyRef>,
}

impl Policy {
    /// Compiles a set of documents as a whole.
    ///
    /// # Errors
    /// Every document that has no meaning, with each reason, in the order of precedence.
    pub fn compile(
        root_namespace: &str,
        mut documents: Vec<PeerAuthentication>,
    ) -> Result<Self, Vec<CompileError>> {
        documents.sort_by(|a, b| {
            let age = |d: &PeerAuthentication| d.created.unwrap_or(i64::MAX);
            age(a)
                .cmp(&age(b))
                .then_with(|| a.reference.cmp(&b.reference))
        });
        let errors: Vec<_> = documents.iter().flat_map(check).collect();
        if !errors.is_empty() {
            return Err(errors);
        }
        let mut policy = Self::default();
        for document in documents {
            policy.add(root_namespace, document);
        }
        Ok(policy)
    }

    fn add(&mut self, root: &str, document: PeerAuthentication) {
        let PeerAuthentication {
            reference, spec, ..
        } = document;
        let namespace = reference.namespace.clone();
        let labels = spec.selector.map(|s| s.match_labels).unwrap_or_default();
        let mode = spec.mtls.and_then(|m| m.mode.explicit());
        if labels.is_empty() {
            self.add_scope(root, reference, mode);
        } else if namespace == root {
            self.ignored.push(Ignored::SelectorInRoot {
                document: reference,
            });
        } else {
            let ports = spec
                .port_level_mtls
                .iter()
                .filter_map(|(port, mtls)| Some((port_number(port)?, mtls.mode.explicit()?)))
                .collect();
            self.workloads.entry(namespace).or_default().push(Selected {
                document: reference,
                labels,
                mode,
                ports,
            });
        }
    }

    fn add_scope(&mut self, root: &str, document: PolicyRef, mode: Option<Mode>) {
        let winner = if document.namespace == root {
            self.mesh.as_ref()
        } else {
            self.namespaces.get(&document.namespace)
        };
        if let Some(winner) = winner {
            let winner = winner.document.clone();
            self.ignored.push(Ignored::Shadowed { document, winner });
        } else if document.namespace == root {
            self.mesh = Some(Scope { document, mode });
        } else {
            let namespace = document.namespace.clone();
            self.namespaces.insert(namespace, Scope { document, mode });
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
        self.workloads.get(workload.namespace())?.iter().find(|s| {
            s.labels
                .iter()
                .all(|(key, value)| workload.labels.get(key) == Some(value))
        })
    }
}

/// What Istio's validation refuses, and what the kernel has no room for.
fn check(document: &PeerAuthentication) -> Vec<CompileError> {
    let PeerAuthentication {
        reference, spec, ..
    } = document;
    let labels = spec.selector.as_ref().map(|s| &s.match_labels);
    let ports = &spec.port_level_mtls;
    let mut errors = Vec::new();
    for (key, value) in labels.into_iter().flatten() {
        if key.is_empty() || key.contains('*') || value.contains('*') {
            errors.push(CompileError::Selector {
                document: reference.clone(),
                key: key.clone(),
                value: value.clone(),
            });
        }
    }
    if !ports.is_empty() && labels.is_none_or(BTreeMap::is_empty) {
        errors.push(CompileError::PortsWithoutSelector {
            document: reference.clone(),
        });
    }
    for port in ports.keys().filter(|port| port_number(port).is_none()) {
        errors.push(CompileError::Port {
            document: reference.clone(),
            port: port.clone(),
        });
    }
    let limit = sealane_common::MAX_PORT_MODES;
    if ports.len() > limit {
        errors.push(CompileError::TooManyPorts {
            document: reference.clone(),
            count: ports.len(),
            limit,
        });
    }
    errors
}

/// Only the usual spelling: with `080` or `+80` accepted, one port could have two modes.
fn port_number(text: &str) -> Option<u16> {
    let port: u16 = text.parse().ok()?;
    (port > 0 && port.to_string() == text).then_some(port)
}

#[cfg(test)]
mod tests;
