//! Labels of namespaces.

use std::collections::BTreeMap;

use super::{
    pod::INJECT,
    site::{Site, Stream},
};
use crate::control::{
    error::{LoadError, Problem},
    yaml::FieldPath,
};

/// Labels that should bring a namespace into the mesh, and don't. Of the API it is only told: whoever may label a
/// namespace must not keep others' policy from being read.
///
/// # Errors
/// When the value of Sealane's own label is none that it can have.
pub(super) fn odd_labels(
    site: &Site<'_>,
    labels: &BTreeMap<String, String>,
) -> Result<Vec<String>, LoadError> {
    let of_label = |key: &str| FieldPath::of("metadata.labels").key(key);
    let mut warnings = Vec::new();
    let injection = labels.get("istio-injection").map(String::as_str);
    if let Some(other) = injection.filter(|v| !matches!(*v, "enabled" | "disabled")) {
        let field = of_label("istio-injection");
        let place = site.place(&field);
        warnings.push(format!(
            "{place}: {field}: {other:?} is neither \"enabled\" nor \"disabled\", and has no effect"
        ));
    }
    let inject = labels.get(INJECT);
    if let Some(other) = inject.filter(|v| !matches!(v.as_str(), "true" | "false")) {
        let error = site.error(&of_label(INJECT), Problem::Inject(other.clone()));
        match site.stream {
            Stream::Object(_) => warnings.push(error.to_string()),
            Stream::File(_) | Stream::Value(..) => return Err(error),
        }
    }
    Ok(warnings)
}
