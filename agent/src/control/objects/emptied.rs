//! Fields of policy documents with nothing behind them: what that means where it surprises.
//!
//! `null` counts as if the field were not written, as for the Kubernetes API. What takes away all meaning is refused
//! where documents are read, not here.

use serde_json::Value;

use super::{kind::Kind, site::Site};
use crate::control::yaml::FieldPath;

/// Of one document. More would not be read.
const MAX_NOTES: usize = 10;

/// One step down.
#[derive(Clone, Copy)]
enum Step<'v> {
    Key(&'v str),
    Item(usize),
}

/// Each with its place and its field.
pub(super) fn notes(site: &Site<'_>, kind: Kind) -> Vec<String> {
    let mut finder = Finder {
        site,
        kind,
        way: Vec::new(),
        notes: Vec::new(),
    };
    let namespace = site.node.get("metadata").and_then(|m| m.get("namespace"));
    if namespace.is_some_and(|namespace| namespace.value.is_null()) {
        finder.way = vec![Step::Key("metadata"), Step::Key("namespace")];
        finder.note("the namespace is `default`");
        finder.way.clear();
    }
    if let Some(spec) = site.node.value.get("spec") {
        finder.way.push(Step::Key("spec"));
        finder.look_at(spec);
    }
    finder.notes
}

/// What is found on the way through a document.
struct Finder<'v, 's> {
    site: &'s Site<'v>,
    kind: Kind,
    way: Vec<Step<'v>>,
    notes: Vec<String>,
}

impl<'v> Finder<'v, '_> {
    /// Documents are not nested deeper than the parser allows.
    fn look_at(&mut self, value: &'v Value) {
        match value {
            Value::Object(fields) if !fields.is_empty() => {
                for (key, value) in fields {
                    self.step(Step::Key(key), value);
                }
            }
            Value::Array(items) if !items.is_empty() => {
                for (index, value) in items.iter().enumerate() {
                    self.step(Step::Item(index), value);
                }
            }
            Value::Null | Value::Object(_) | Value::Array(_) => {
                if let Some(meaning) = self.meaning(value) {
                    self.note(meaning);
                }
            }
            Value::Bool(_) | Value::Number(_) | Value::String(_) => {}
        }
    }

    fn step(&mut self, step: Step<'v>, value: &'v Value) {
        if self.notes.len() < MAX_NOTES {
            self.way.push(step);
            self.look_at(value);
            self.way.pop();
        }
    }

    fn meaning(&self, value: &Value) -> Option<&'static str> {
        let key = |step: &Step<'v>| match step {
            Step::Key(key) => *key,
            Step::Item(_) => "[]",
        };
        let way: Vec<_> = self.way.iter().map(key).collect();
        let is_null = value.is_null();
        Some(match (self.kind, &way[..]) {
            (
                Kind::PeerAuthentication | Kind::AuthorizationPolicy,
                ["spec", "selector"] | ["spec", "selector", "matchLabels"],
            ) => {
                "the document is for all workloads of its namespace (of the mesh, in the root namespace)"
            }
            (
                Kind::DestinationRule,
                ["spec", "workloadSelector"] | ["spec", "workloadSelector", "matchLabels"],
            ) => "the rule is for all clients",
            (
                Kind::PeerAuthentication,
                ["spec"] | ["spec", "mtls"] | ["spec", "portLevelMtls", _],
            ) => {
                "without a mode it is that of the wider scope: write `mode: STRICT` if that is meant"
            }
            (Kind::AuthorizationPolicy, ["spec"] | ["spec", "rules"]) if is_null => {
                "an ALLOW policy without rules allows nobody, and others without rules do nothing"
            }
            // Everybody, in so many words.
            (Kind::AuthorizationPolicy, ["spec"] | ["spec", "rules", "[]"]) => return None,
            (Kind::LegacyPolicy | Kind::MeshPolicy, ["spec", "peers", "[]", "mtls"]) => {
                return None;
            }
            (Kind::LegacyPolicy | Kind::MeshPolicy, ["spec"] | ["spec", "peers"]) => {
                "without peers the mode is DISABLE"
            }
            _ if is_null => "it counts as if it were not written",
            (Kind::AuthorizationPolicy, [.., "source" | "operation" | "[]", _]) => {
                "an empty list asks for nothing: it counts as if it were not written"
            }
            _ => return None,
        })
    }

    fn note(&mut self, meaning: &str) {
        let field = self
            .way
            .iter()
            .fold(FieldPath::default(), |path, step| match step {
                Step::Key(key) => path.key(key),
                Step::Item(index) => path.index(*index),
            });
        let place = self.site.place(&field);
        let field = self.site.path.clone().then(&field);
        self.notes.push(format!(
            "{place}: {field}: nothing is written here: {meaning}"
        ));
    }
}
