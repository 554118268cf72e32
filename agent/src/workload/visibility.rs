//! Who is told of a document or a host (Istio's `exportTo`).

use std::collections::BTreeSet;

/// Namespaces whose clients something is for.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub enum Visibility {
    #[default]
    Everywhere,
    /// The document's own only if it is one of them.
    Namespaces(BTreeSet<String>),
}

impl Visibility {
    #[must_use]
    pub fn reaches(&self, namespace: &str) -> bool {
        match self {
            Self::Everywhere => true,
            Self::Namespaces(namespaces) => namespaces.contains(namespace),
        }
    }

    /// Whether it is kept from everybody.
    #[must_use]
    pub fn is_nobody(&self) -> bool {
        matches!(self, Self::Namespaces(namespaces) if namespaces.is_empty())
    }
}
