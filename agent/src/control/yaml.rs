//! YAML text -> JSON values, with the line of every node.
//!
//! YAML 1.2 with the core schema (<https://yaml.org/spec/1.2.2/#103-core-schema>). Keys are always text.
//! Duplicate keys, merge keys (`<<`), foreign tags and recursive aliases are errors: other readers of the
//! same file may understand them differently. Does not know what the values mean.

mod budget;
mod compose;
mod lines;
mod remedy;
mod scalar;
mod schema;

use saphyr_parser::{Parser, StrInput};
use serde_json::Value;

pub use crate::policy::FieldPath;
pub use budget::{ALIAS_BUDGET, Budget};
use compose::Composer;
use lines::Lines;
pub use lines::Node;
pub use schema::{SchemaError, nearest, read};

/// Containers within containers. No Kubernetes object comes near.
pub const MAX_DEPTH: usize = 128;

/// One document of a stream.
#[derive(Debug)]
pub struct Document {
    /// Counts from 1, documents without content included.
    pub index: usize,
    value: Value,
    lines: Lines,
}

impl Document {
    /// A value that comes from no text.
    #[must_use]
    pub fn unwritten(value: Value) -> Self {
        Self {
            index: 0,
            lines: Lines::none(&value),
            value,
        }
    }

    #[must_use]
    pub fn into_value(self) -> Value {
        self.value
    }

    #[must_use]
    pub fn root(&self) -> Node<'_> {
        Node::new(&self.value, &self.lines)
    }
}

/// Where a stream stops being readable, and why.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct YamlError {
    /// Counts from 1.
    pub line: usize,
    /// Counts from 1.
    pub document: usize,
    pub problem: YamlProblem,
}

/// Why a stream can't be read.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum YamlProblem {
    /// In the parser's words, and what to do about it if that can be told.
    #[error("not YAML: {0}{1}")]
    Syntax(String, &'static str),
    #[error("the key `{key}` is there already, on line {first}")]
    DuplicateKey { key: String, first: usize },
    #[error("merge keys (`<<`) are not supported: write the fields out")]
    MergeKey,
    #[error("a key must be a single word or text{0}")]
    KeyNotScalar(&'static str),
    #[error("the alias leads nowhere: its anchor is around it, or in another document")]
    LostAlias,
    #[error("aliases make this file too large: at most {ALIAS_BUDGET} nodes")]
    AliasBudget,
    #[error("nested deeper than {MAX_DEPTH} levels")]
    TooDeep,
    #[error("the tag `{0}` is not supported, or its value is not of this type")]
    Tag(String),
}

impl YamlProblem {
    fn with_remedy(self, remedy: &'static str) -> Self {
        match self {
            Self::Syntax(problem, _) => Self::Syntax(problem, remedy),
            Self::KeyNotScalar(_) => Self::KeyNotScalar(remedy),
            other => other,
        }
    }
}

/// Reads the documents of a stream one after the other, skipping those without content. After an error
/// there is nothing more to come.
pub fn documents<'a>(text: &'a str, budget: &Budget) -> Documents<'a> {
    Documents {
        text,
        parser: Parser::new_from_str(text),
        composer: Composer::new(budget.clone()),
        finished: false,
    }
}

/// See [`documents`].
pub struct Documents<'a> {
    text: &'a str,
    parser: Parser<'a, StrInput<'a>>,
    composer: Composer,
    finished: bool,
}

impl Iterator for Documents<'_> {
    type Item = Result<Document, YamlError>;

    fn next(&mut self) -> Option<Self::Item> {
        while !self.finished {
            let step = match self.parser.next_event() {
                None => break,
                Some(Err(error)) => Err((
                    error.marker().line(),
                    YamlProblem::Syntax(error.info().to_owned(), ""),
                )),
                Some(Ok((event, span))) => self.composer.take(event, span.start.line()),
            };
            match step {
                Ok(None) => {}
                Ok(Some(document)) => return Some(Ok(document)),
                Err((line, problem)) => {
                    self.finished = true;
                    // What is missing at the end is reported below the last line.
                    let line = line.min(self.text.lines().count()).max(1);
                    return Some(Err(YamlError {
                        line,
                        document: self.composer.document().max(1),
                        problem: problem.with_remedy(remedy::of(self.text, line)),
                    }));
                }
            }
        }
        self.finished = true;
        None
    }
}

#[cfg(test)]
mod tests;
