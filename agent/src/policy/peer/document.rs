//! Istio's `PeerAuthentication` as written
//! (<https://istio.io/latest/docs/reference/config/security/peer_authentication/>).

use std::{collections::BTreeMap, fmt};

use serde::{Deserialize, Serialize};

use crate::policy::{
    DocumentKind, DocumentRef, FieldPath, Invalid, Reason,
    selector::{Labels, WorkloadSelector},
};

/// Peer authentication mode of a port. `UNSET` is not here: it means what the wider scope says.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize)]
#[serde(rename_all = "UPPERCASE")]
pub enum Mode {
    /// Plaintext; Sealane leaves the port alone.
    Disable,
    /// Mutual TLS from the mesh, anything else as it comes.
    Permissive,
    /// Mutual TLS only.
    Strict,
}

impl fmt::Display for Mode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Disable => "DISABLE",
            Self::Permissive => "PERMISSIVE",
            Self::Strict => "STRICT",
        })
    }
}

/// One document that makes sense in itself.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct PeerAuthentication {
    pub(in crate::policy) document: DocumentRef,
    /// `metadata.creationTimestamp` in seconds of the Unix epoch; documents without one count as newest.
    pub(in crate::policy) created: Option<i64>,
    /// Empty: the whole scope.
    pub(super) labels: Labels,
    /// `None`: the wider scope decides.
    pub(super) mode: Option<Mode>,
    /// Without those that are UNSET: they are as the rest of the workload.
    pub(super) ports: BTreeMap<u16, Mode>,
}

/// `spec`. Unknown fields are refused: a misspelt one would leave a port open.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct PeerAuthenticationSpec {
    pub selector: Option<WorkloadSelector>,
    pub mtls: Option<MutualTls>,
    #[serde(default)]
    pub port_level_mtls: Option<BTreeMap<String, MutualTls>>,
}

/// `mtls`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct MutualTls {
    #[serde(default)]
    pub mode: WrittenMode,
}

/// `mode` as it may be written.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "UPPERCASE")]
pub enum WrittenMode {
    #[default]
    Unset,
    Disable,
    Permissive,
    Strict,
}

impl WrittenMode {
    /// `None` when the wider scope decides.
    #[must_use]
    pub fn explicit(self) -> Option<Mode> {
        match self {
            Self::Unset => None,
            Self::Disable => Some(Mode::Disable),
            Self::Permissive => Some(Mode::Permissive),
            Self::Strict => Some(Mode::Strict),
        }
    }
}

impl PeerAuthentication {
    /// What one line says of the whole mesh. It wins over documents that do.
    pub(in crate::policy) fn switch(root_namespace: &str, mode: Mode) -> Self {
        let kind = DocumentKind::MeshSwitch;
        Self {
            document: DocumentRef::new(kind, root_namespace, "mtls-mode"),
            created: Some(i64::MIN),
            labels: Labels::new(),
            mode: Some(mode),
            ports: BTreeMap::new(),
        }
    }

    /// For all workloads of a namespace; of the mesh, if it is the root namespace.
    pub(in crate::policy) fn strict(namespace: &str, name: &str) -> Self {
        Self {
            document: DocumentRef::new(DocumentKind::PeerAuthentication, namespace, name),
            created: None,
            labels: Labels::new(),
            mode: Some(Mode::Strict),
            ports: BTreeMap::new(),
        }
    }

    /// Of the workloads that it is for; empty: the whole scope.
    pub(in crate::policy) fn labels(&self) -> &Labels {
        &self.labels
    }

    /// Those with a mode of their own.
    pub(in crate::policy) fn ports(&self) -> impl Iterator<Item = u16> {
        self.ports.keys().copied()
    }

    /// # Errors
    /// What Istio's validation refuses (`ValidatePeerAuthentication`), and what the kernel has no room for.
    pub fn new(
        document: DocumentRef,
        created: Option<i64>,
        spec: PeerAuthenticationSpec,
    ) -> Result<Self, Vec<Invalid>> {
        let mut errors = Vec::new();
        let labels = WorkloadSelector::checked(spec.selector, "spec.selector", &mut errors);
        let field = || FieldPath::of("spec.portLevelMtls");
        if spec
            .port_level_mtls
            .as_ref()
            .is_some_and(BTreeMap::is_empty)
        {
            errors.push(Invalid::new(field(), Reason::Empty));
        }
        let written = spec.port_level_mtls.unwrap_or_default();
        let ports = ports(&written, &mut errors);
        let (count, limit) = (written.len(), sealane_common::MAX_PORT_MODES);
        if count > 0 && labels.is_empty() {
            errors.push(Invalid::new(field(), Reason::PortsWithoutSelector));
        }
        if count > limit {
            errors.push(Invalid::new(field(), Reason::TooManyPorts { count, limit }));
        }
        if !errors.is_empty() {
            return Err(errors);
        }
        Ok(Self {
            document,
            created,
            labels,
            mode: spec.mtls.and_then(|m| m.mode.explicit()),
            ports,
        })
    }
}

fn ports(written: &BTreeMap<String, MutualTls>, errors: &mut Vec<Invalid>) -> BTreeMap<u16, Mode> {
    let mut ports = BTreeMap::new();
    for (text, mtls) in written {
        match (port_number(text), mtls.mode.explicit()) {
            (Some(port), Some(mode)) => {
                ports.insert(port, mode);
            }
            (Some(_), None) => {}
            (None, _) => {
                let field = FieldPath::of("spec.portLevelMtls").key(text);
                errors.push(Invalid::new(field, Reason::Port(text.clone())));
            }
        }
    }
    ports
}

/// Only the usual spelling: with `080` or `+80` accepted, one port could have two modes.
pub(in crate::policy) fn port_number(text: &str) -> Option<u16> {
    let port: u16 = text.parse().ok()?;
    (port > 0 && port.to_string() == text).then_some(port)
}
