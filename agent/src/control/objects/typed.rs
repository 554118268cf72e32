//! Objects as types, and what is said when they are not of that type.

use serde::de::DeserializeOwned;

use super::{flattened, kind::Kind, site::Site};
use crate::control::{
    error::{LoadError, Problem},
    yaml::{self, SchemaError},
};

/// The object as its Kubernetes type.
pub fn typed<T: DeserializeOwned>(site: &Site<'_>) -> Result<T, LoadError> {
    yaml::read(site.node.value).map_err(|(field, error)| site.error(&field, explained(site, error)))
}

/// A field that isn't known where it stands may be known elsewhere.
fn explained(site: &Site<'_>, error: SchemaError) -> Problem {
    let SchemaError::UnknownField { field, known } = &error else {
        return error.into();
    };
    let text = |key| site.node.text(key).unwrap_or_default();
    let kind = Kind::of(text("apiVersion"), text("kind"));
    match flattened::home(kind, field) {
        Some(place) if yaml::nearest(field, known).is_none() => Problem::Misplaced {
            field: field.clone(),
            place,
        },
        _ => error.into(),
    }
}
