//! Label and field selectors. Source: k8s.io/apimachinery/pkg/labels and pkg/fields.

use crate::{resources::Resource, status::Status, store::Stored};

/// What objects have to be to be selected.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Selection {
    namespace: String,
    labels: Vec<LabelRequirement>,
    fields: Vec<FieldRequirement>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
struct LabelRequirement {
    key: String,
    operator: Operator,
    values: Vec<String>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Operator {
    In,
    NotIn,
    Exists,
    Missing,
}

#[derive(Clone, Debug, PartialEq, Eq)]
struct FieldRequirement {
    field: String,
    is_equal: bool,
    value: String,
}

impl Selection {
    /// # Errors
    /// 400 when a selector can't be read, or the resource has no such field.
    pub fn new(
        resource: &Resource,
        namespace: &str,
        labels: &str,
        fields: &str,
    ) -> Result<Self, Status> {
        let labels = split(labels).into_iter().map(label_requirement);
        let fields = split(fields)
            .into_iter()
            .map(|text| field_requirement(resource, text));
        Ok(Self {
            namespace: namespace.to_owned(),
            labels: labels.collect::<Result<_, _>>()?,
            fields: fields.collect::<Result<_, _>>()?,
        })
    }

    /// Empty: all.
    #[must_use]
    pub fn namespace(&self) -> &str {
        &self.namespace
    }

    /// Whether more than the namespace decides.
    #[must_use]
    pub fn is_filter(&self) -> bool {
        !self.labels.is_empty() || !self.fields.is_empty()
    }

    #[must_use]
    pub fn selects(&self, object: &Stored) -> bool {
        (self.namespace.is_empty() || *object.namespace == *self.namespace)
            && self
                .fields
                .iter()
                .all(|field| (object.field(&field.field) == field.value) == field.is_equal)
            && self
                .labels
                .iter()
                .all(|label| label.holds(object.label(&label.key)))
    }
}

impl LabelRequirement {
    fn holds(&self, value: Option<&str>) -> bool {
        let is_listed =
            || value.is_some_and(|value| self.values.iter().any(|listed| listed == value));
        match self.operator {
            Operator::In => is_listed(),
            Operator::NotIn => !is_listed(),
            Operator::Exists => value.is_some(),
            Operator::Missing => value.is_none(),
        }
    }
}

/// Splits at commas that are not in parentheses.
fn split(text: &str) -> Vec<&str> {
    let mut parts = Vec::new();
    let (mut start, mut depth) = (0, 0_usize);
    for (at, byte) in text.bytes().enumerate() {
        match byte {
            b'(' => depth += 1,
            b')' => depth = depth.saturating_sub(1),
            b',' if depth == 0 => {
                parts.push(&text[start..at]);
                start = at + 1;
            }
            _ => {}
        }
    }
    parts.push(&text[start..]);
    parts
        .into_iter()
        .map(str::trim)
        .filter(|part| !part.is_empty())
        .collect()
}

fn label_requirement(text: &str) -> Result<LabelRequirement, Status> {
    let made = |key: &str, operator, values: Vec<String>| LabelRequirement {
        key: key.trim().to_owned(),
        operator,
        values,
    };
    if let Some((head, listed)) = text.split_once('(') {
        let listed = listed.trim_end().trim_end_matches(')');
        let values = listed
            .split(',')
            .map(|value| value.trim().to_owned())
            .collect();
        let mut words = head.split_whitespace();
        return match (words.next(), words.next(), words.next()) {
            (Some(key), Some("in"), None) => Ok(made(key, Operator::In, values)),
            (Some(key), Some("notin"), None) => Ok(made(key, Operator::NotIn, values)),
            _ => Err(unreadable(text)),
        };
    }
    let one = |value: &str| vec![value.trim().to_owned()];
    let requirement = if let Some((key, value)) = text.split_once("!=") {
        made(key, Operator::NotIn, one(value))
    } else if let Some((key, value)) = text.split_once("==").or_else(|| text.split_once('=')) {
        made(key, Operator::In, one(value))
    } else if let Some(key) = text.strip_prefix('!') {
        made(key, Operator::Missing, Vec::new())
    } else {
        made(text, Operator::Exists, Vec::new())
    };
    let is_key = |c: char| c.is_ascii_alphanumeric() || "-_./".contains(c);
    if requirement.key.is_empty() || !requirement.key.chars().all(is_key) {
        return Err(unreadable(text));
    }
    Ok(requirement)
}

fn unreadable(text: &str) -> Status {
    Status::bad_request(format!(
        "unable to parse requirement: found '{text}', expected: a label selector requirement"
    ))
}

fn field_requirement(resource: &Resource, text: &str) -> Result<FieldRequirement, Status> {
    let (field, is_equal, value) = if let Some((field, value)) = text.split_once("!=") {
        (field, false, value)
    } else if let Some((field, value)) = text.split_once("==").or_else(|| text.split_once('=')) {
        (field, true, value)
    } else {
        let message = format!("invalid selector: '{text}'; can't understand '{text}'");
        return Err(Status::bad_request(message));
    };
    if !resource.selects_by(field) {
        return Err(Status::bad_request(format!(
            "field label not supported: {field}"
        )));
    }
    Ok(FieldRequirement {
        field: field.to_owned(),
        is_equal,
        value: value.to_owned(),
    })
}

#[cfg(test)]
mod tests;
