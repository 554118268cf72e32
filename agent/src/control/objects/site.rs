//! Where an object stands.

use std::sync::Arc;

use serde_json::Value;

use super::{
    kind::Kind,
    name::{DEFAULT, is_namespace},
    pasted::INTO,
    pieces::Piece,
};
use crate::{
    control::{
        error::{LoadError, Place, Problem, ValuePlace},
        yaml::{FieldPath, Node},
    },
    workload::ObjectName,
};

/// Where the documents of a stream come from.
#[derive(Clone, Debug, Hash)]
pub enum Stream {
    File(Arc<str>),
    /// An object of the API, which has no lines. What errors call it.
    Object(Arc<str>),
    /// A value of a `ConfigMap`: place of the value, name of the object, key.
    Value(Place, ObjectName, String),
}

impl Stream {
    pub(super) fn place(&self, document: usize, line: usize) -> Place {
        match self {
            Self::File(file) => Place {
                file: Arc::clone(file),
                line,
                document,
                value: None,
            },
            Self::Object(name) => Place {
                file: Arc::clone(name),
                line: 0,
                document: 0,
                value: None,
            },
            Self::Value(place, config_map, key) => Place {
                value: Some(Arc::new(ValuePlace {
                    config_map: config_map.clone(),
                    key: key.clone(),
                    line,
                    document,
                })),
                ..place.clone()
            },
        }
    }
}

/// An object in its document.
#[derive(Clone)]
pub struct Site<'a> {
    pub(super) stream: &'a Stream,
    /// What of the stream is being read.
    pub(super) piece: Piece<'a>,
    pub(super) document: usize,
    /// From the document to the object.
    pub(super) path: FieldPath,
    pub node: Node<'a>,
}

impl<'a> Site<'a> {
    /// `apiVersion` or `kind`, which every object says.
    pub fn type_field(&self, key: &str) -> Result<&'a str, LoadError> {
        let field = FieldPath::of(key);
        match self.node.value.get(key) {
            Some(Value::String(text)) if !text.is_empty() => Ok(text),
            None | Some(Value::Null) => {
                let other = if key == "kind" { "apiVersion" } else { "kind" };
                let other = self.node.text(other).unwrap_or_default();
                let remedy = Kind::to_write(key, other);
                Err(self.error(&field, Problem::Missing(remedy)))
            }
            Some(_) => Err(self.error(&field, Problem::Expected("a name"))),
        }
    }

    pub fn place(&self, field: &FieldPath) -> Place {
        self.on_line(self.node.line_of(field))
    }

    /// Where objects are that don't say.
    pub(super) fn namespace_around(&self) -> &'a str {
        let first = self.piece.text.lines().next().unwrap_or_default();
        let namespace = first.strip_prefix(INTO).map(str::trim);
        namespace
            .filter(|name| is_namespace(name))
            .unwrap_or(DEFAULT)
    }

    /// In the same document.
    pub fn on_line(&self, line: usize) -> Place {
        let document = self.piece.documents + self.document;
        self.stream.place(document, self.piece.lines + line)
    }

    pub fn error(&self, field: &FieldPath, problem: Problem) -> LoadError {
        LoadError {
            place: self.place(field).into(),
            field: self.path.clone().then(field),
            problem,
            namespace: self.namespace(),
            is_vital: true,
        }
    }

    /// As [`object_name`](super::name::object_name) has it; empty for an object of the whole mesh, `None` when the
    /// object doesn't say.
    fn namespace(&self) -> Option<Arc<str>> {
        let text = |key| self.node.text(key).unwrap_or_default();
        let kind = Kind::of(text("apiVersion"), text("kind"));
        if kind == Kind::MeshPolicy {
            return Some("".into());
        }
        let written = self.node.get("metadata")?.get("namespace");
        match written.map(|node| node.value).filter(|v| !v.is_null()) {
            Some(Value::String(namespace)) if !namespace.is_empty() => {
                is_namespace(namespace).then(|| namespace.as_str().into())
            }
            Some(Value::String(_)) | None => kind
                .is_of_namespace()
                .then(|| self.namespace_around().into()),
            Some(_) => None,
        }
    }
}
