//! Which workloads a document is for.

use std::collections::BTreeMap;

use serde::{Deserialize, Deserializer};

use super::{FieldPath, Invalid, Reason};

/// Labels of workloads, documents and services.
pub type Labels = BTreeMap<String, String>;

/// `spec.selector`: an absent or empty one selects the whole scope.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct WorkloadSelector {
    #[serde(default, deserialize_with = "null_as_default")]
    pub match_labels: Labels,
}

impl WorkloadSelector {
    /// The labels that a workload must have.
    ///
    /// # Errors
    /// What Istio's validation refuses (`validateWorkloadSelector`): empty keys and wildcards.
    pub(super) fn checked(selector: Option<Self>, at: &str, errors: &mut Vec<Invalid>) -> Labels {
        let labels = selector.unwrap_or_default().match_labels;
        for (key, value) in &labels {
            if key.is_empty() || key.contains('*') || value.contains('*') {
                let field = FieldPath::of(at).key("matchLabels").key(key);
                let (key, value) = (key.clone(), value.clone());
                errors.push(Invalid::new(field, Reason::Label { key, value }));
            }
        }
        labels
    }
}

/// Whether a workload's labels are at least those asked for.
pub(super) fn selects(asked: &Labels, labels: &Labels) -> bool {
    asked
        .iter()
        .all(|(key, value)| labels.get(key) == Some(value))
}

/// A list that is there has lost its items, rather than never had any: what is left of `from:` must not mean anybody.
pub(super) fn null_as_empty<'de, D, T>(deserializer: D) -> Result<Option<Vec<T>>, D::Error>
where
    D: Deserializer<'de>,
    T: Deserialize<'de>,
{
    null_as_default(deserializer).map(Some)
}

/// `field: null` is the same as no field, as for the Kubernetes API.
pub(super) fn null_as_default<'de, D, T>(deserializer: D) -> Result<T, D::Error>
where
    D: Deserializer<'de>,
    T: Deserialize<'de> + Default,
{
    Ok(Option::deserialize(deserializer)?.unwrap_or_default())
}
