//! Lines beside a value: the same tree, so that an error about a field can say where it stands.

use serde_json::{Map, Value};

use crate::policy::{FieldPath, Step};

/// The line of a node and of the nodes in it, in the order in which the value iterates.
#[derive(Clone, Debug, Default)]
pub struct Lines {
    pub line: u32,
    pub children: Vec<Lines>,
}

impl Lines {
    #[must_use]
    pub fn leaf(line: usize) -> Self {
        Self::branch(line, Vec::new())
    }

    /// For a value that nobody has written in lines.
    #[must_use]
    pub fn none(value: &Value) -> Self {
        let children = match value {
            Value::Object(entries) => entries.values().map(Self::none).collect(),
            Value::Array(items) => items.iter().map(Self::none).collect(),
            _ => Vec::new(),
        };
        Self::branch(0, children)
    }

    #[must_use]
    pub fn branch(line: usize, children: Vec<Self>) -> Self {
        Self {
            line: u32::try_from(line).unwrap_or(u32::MAX),
            children,
        }
    }
}

/// A value together with its lines.
#[derive(Clone, Copy, Debug)]
pub struct Node<'a> {
    pub value: &'a Value,
    lines: &'a Lines,
}

impl<'a> Node<'a> {
    pub(super) fn new(value: &'a Value, lines: &'a Lines) -> Self {
        Self { value, lines }
    }

    /// Counts from 1.
    #[must_use]
    pub fn line(self) -> usize {
        self.lines.line as usize
    }

    /// The value of a key of a mapping.
    #[must_use]
    pub fn get(self, key: &str) -> Option<Self> {
        let entries = self.value.as_object()?;
        let value = entries.get(key)?;
        let index = entries.keys().position(|k| k == key)?;
        Some(Self::new(value, self.lines.children.get(index)?))
    }

    /// The values of a mapping, in the order of their keys; nothing if it isn't one.
    pub fn values(self) -> impl Iterator<Item = Self> {
        let values = self.value.as_object().into_iter().flat_map(Map::values);
        values
            .zip(&self.lines.children)
            .map(|(value, lines)| Self::new(value, lines))
    }

    /// The text of a key of a mapping; `None` also when it is there but isn't text.
    #[must_use]
    pub fn text(self, key: &str) -> Option<&'a str> {
        self.value.get(key)?.as_str()
    }

    /// The items of a sequence; nothing if it isn't one.
    pub fn items(self) -> impl Iterator<Item = Self> {
        let items = self.value.as_array().map_or(&[][..], Vec::as_slice);
        items
            .iter()
            .zip(&self.lines.children)
            .map(|(value, lines)| Self::new(value, lines))
    }

    /// The line of a field, or of the innermost node around it that is there.
    #[must_use]
    pub fn line_of(self, path: &FieldPath) -> usize {
        let mut node = self;
        for step in path.steps() {
            let next = match step {
                Step::Key(key) => node.get(key),
                Step::Index(index) => node.items().nth(*index),
            };
            match next {
                Some(next) => node = next,
                None => break,
            }
        }
        node.line()
    }
}
