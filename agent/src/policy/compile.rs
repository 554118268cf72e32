//! Documents -> the mode of every workload and port.
//!
//! Precedence as Istio documents it: port over workload over namespace over mesh; within one scope the
//! oldest document wins, ties by name. PERMISSIVE where nothing is said.

use std::collections::BTreeMap;

use super::document::{Mode, PeerAuthentication, PolicyRef};
use crate::workload::Workload;

/// Compiled peer authentication of a whole mesh.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Policy {
    mesh: Option<Scope>,
    namespaces: BTreeMap<String, Scope>,
    /// By namespace, oldest first.
    workloads: BTreeMap<String, Vec<Selected>>,
}

/// Why a set of documents has no meaning. Each names the document and the field.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum CompileError {
    #[error("{document}: spec.portLevelMtls.{port}: not a port number from 1 to 65535")]
    Port { document: PolicyRef, port: String },
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
            | Self::PortsWithoutSelector { document }
            | Self::TooManyPorts { document, .. } => document,
        }
    }

    /// Path of the field that is at fault.
    #[must_use]
    pub fn field(&self) -> String {
        match self {
            Self::Port { port, .. } => format!("spec.portLevelMtls.{port}"),
            Self::PortsWithoutSelector { .. } | Self::TooManyPorts { .. } => {
                "spec.portLevelMtls".to_owned()
            }
        }
    }
}

#[derive(Clone, Debug, PartialEq, Eq)]
struct Scope {
    document: PolicyRef,
    mode: Option<Mode>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
struct Selected {
    document: PolicyRef,
    labels: BTreeMap<String, String>,
    mode: Option<Mode>,
    ports: BTreeMap<u16, Option<Mode>>,
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
    /// The first document (in the order of precedence) that has no meaning.
    pub fn compile(
        root_namespace: &str,
        mut documents: Vec<PeerAuthentication>,
    ) -> Result<Self, CompileError> {
        documents.sort_by(|a, b| {
            let age = |d: &PeerAuthentication| d.created.unwrap_or(i64::MAX);
            age(a)
                .cmp(&age(b))
                .then_with(|| a.reference.cmp(&b.reference))
        });
        let mut policy = Self::default();
        for document in documents {
            policy.add(root_namespace, document)?;
        }
        Ok(policy)
    }

    fn add(&mut self, root: &str, document: PeerAuthentication) -> Result<(), CompileError> {
        let PeerAuthentication {
            reference, spec, ..
        } = document;
        let labels = spec.selector.map(|s| s.match_labels).unwrap_or_default();
        let mode = spec.mtls.and_then(|m| m.mode.explicit());
        let namespace = reference.namespace.clone();
        if labels.is_empty() {
            if !spec.port_level_mtls.is_empty() {
                return Err(CompileError::PortsWithoutSelector {
                    document: reference,
                });
            }
            let scope = Scope {
                document: reference,
                mode,
            };
            if namespace == root {
                self.mesh.get_or_insert(scope);
            } else {
                self.namespaces.entry(namespace).or_insert(scope);
            }
            return Ok(());
        }
        let limit = sealane_common::MAX_PORT_MODES;
        if spec.port_level_mtls.len() > limit {
            let count = spec.port_level_mtls.len();
            return Err(CompileError::TooManyPorts {
                document: reference,
                count,
                limit,
            });
        }
        let mut ports = BTreeMap::new();
        for (text, mtls) in spec.port_level_mtls {
            match text.parse() {
                Ok(port) if port > 0 => ports.insert(port, mtls.mode.explicit()),
                _ => {
                    return Err(CompileError::Port {
                        document: reference,
                        port: text,
                    });
                }
            };
        }
        self.workloads.entry(namespace).or_default().push(Selected {
            document: reference,
            labels,
            mode,
            ports,
        });
        Ok(())
    }

    /// The mode of one port of a workload.
    #[must_use]
    pub fn mode(&self, workload: &Workload, port: u16) -> Effective<'_> {
        if let Some(selected) = self.selected(workload)
            && let Some(Some(mode)) = selected.ports.get(&port)
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
                .filter_map(|(port, mode)| mode.map(|mode| (*port, mode)))
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

#[cfg(test)]
mod tests;
