//! Names of objects: each has one owner.

use std::sync::Arc;

use super::kind::Kind;
use crate::{
    control::{
        error::{LoadError, Place, Problem},
        yaml::FieldPath,
    },
    workload::ObjectName,
};

/// An object's right to its name.
#[derive(Clone, Debug)]
pub struct Claim {
    pub(super) kind: Kind,
    pub(super) name: ObjectName,
    pub(super) place: Place,
    /// What says so, from the document on.
    pub(super) field: FieldPath,
}

impl Claim {
    /// What is wrong with it: somebody has the name already.
    pub(super) fn after(&self, first: &Self) -> LoadError {
        let name = match self.kind {
            Kind::Namespace | Kind::MeshPolicy | Kind::Switch => self.name.name.to_string(),
            _ => self.name.to_string(),
        };
        LoadError {
            place: self.place.clone().into(),
            field: self.field.clone(),
            problem: Problem::Duplicate {
                kind: self.kind.name(),
                name,
                first: Box::new(first.place.clone()),
            },
            namespace: Some(Arc::clone(&self.name.namespace)),
            is_vital: true,
        }
    }
}
