//! What can be wrong with a directory of objects, and where it stands. One text per error, made to be read
//! by the person who wrote the file.

use std::{borrow::Cow, fmt, io, sync::Arc};

use super::yaml::{FieldPath, SchemaError, YamlProblem};
use crate::{identity::ParseSpiffeIdError, policy::Reason, workload::ObjectName};

/// So many characters of a text are shown at its beginning, and half as many at its end.
const SHOWN: usize = 600;

/// A text with somebody's words in it, as it can be shown in terminals and logs: what would begin a line or control a
/// terminal is escaped, and of what nobody reads to its end the middle is left out.
#[must_use]
pub fn one_line(text: &str) -> Cow<'_, str> {
    let mut shown = Cow::Borrowed(text);
    if text.len() > 2 * SHOWN {
        let head = text.char_indices().nth(SHOWN).map(|(at, _)| at);
        let tail = text.char_indices().nth_back(SHOWN / 2).map(|(at, _)| at);
        if let (Some(head), Some(tail)) = (head, tail)
            && head < tail
        {
            let (head, tail) = (&text[..head], &text[tail..]);
            shown = format!("{head} [...] {tail}").into();
        }
    }
    match escaped(&shown) {
        Cow::Owned(escaped) => escaped.into(),
        Cow::Borrowed(_) => shown,
    }
}

/// [`one_line`], with all that there is.
#[must_use]
pub fn escaped(text: &str) -> Cow<'_, str> {
    let is_control = |c: char| c.is_control() || matches!(c, '\u{2028}' | '\u{2029}');
    if !text.contains(is_control) {
        return text.into();
    }
    let escaped = text.chars().map(|c| match is_control(c) {
        true => c.escape_default().to_string(),
        false => c.to_string(),
    });
    escaped.collect::<String>().into()
}

/// Where something stands.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Place {
    /// Name of the file in the directory.
    pub file: Arc<str>,
    /// Counts from 1; zero: not known, the error is about the file as a whole.
    pub line: usize,
    /// Counts from 1; zero as above.
    pub document: usize,
    /// Set when it is a document within a value of a `ConfigMap`.
    pub value: Option<Arc<ValuePlace>>,
}

/// Where something stands in a value of a `ConfigMap`.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ValuePlace {
    pub config_map: ObjectName,
    /// Key in `data`.
    pub key: String,
    /// Within the value; counts from 1.
    pub line: usize,
    /// Within the value; counts from 1.
    pub document: usize,
}

impl Place {
    /// The same document, another line; 0 leaves the place as it is.
    #[must_use]
    pub fn on_line(mut self, line: usize) -> Self {
        match &mut self.value {
            _ if line == 0 => {}
            Some(value) => Arc::make_mut(value).line = line,
            None => self.line = line,
        }
        self
    }
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&one_line(&self.file))?;
        if self.line > 0 {
            write!(f, ":{}", self.line)?;
        }
        if self.document > 0 {
            write!(f, ": document {}", self.document)?;
        }
        if let Some(value) = &self.value {
            let ValuePlace {
                config_map,
                key,
                line,
                document,
            } = &**value;
            write!(
                f,
                ": ConfigMap {config_map}: data[{key:?}] line {line}: document {document}"
            )?;
        }
        Ok(())
    }
}

/// One thing that is wrong. Prints as `FILE:LINE: document N: FIELD: REASON`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LoadError {
    pub place: Box<Place>,
    /// Empty when it is about the document or the file as a whole.
    pub field: FieldPath,
    pub problem: Problem,
    /// Of the object that it is about; empty for one of the whole mesh, `None` when that can't be told.
    pub namespace: Option<Arc<str>>,
    /// Without what the object says something may go in clear, or somebody be let in.
    pub is_vital: bool,
}

impl LoadError {
    /// Whether it is about a document in a value of a `ConfigMap`, rather than the object.
    #[must_use]
    pub fn is_in_value(&self) -> bool {
        self.place.value.is_some()
    }

    /// What is wrong, on one line.
    #[must_use]
    pub fn reason(&self) -> String {
        one_line(&self.problem.to_string()).into_owned()
    }
}

impl fmt::Display for LoadError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: ", self.place)?;
        if !self.field.is_empty() {
            write!(f, "{}: ", self.field)?;
        }
        f.write_str(&self.reason())
    }
}

impl std::error::Error for LoadError {}

/// Everything that is wrong with a directory, as far as it could be found out.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{} errors, the first: {}", .total, .first)]
pub struct LoadErrors {
    first: Box<LoadError>,
    rest: Vec<LoadError>,
    total: usize,
}

/// More errors than this are only counted.
pub const MAX_ERRORS: usize = 100;

impl LoadErrors {
    /// In the order of files and lines. `None` when there is nothing wrong.
    #[must_use]
    pub fn new(mut errors: Vec<LoadError>) -> Option<Self> {
        errors.sort_by(|a, b| a.place.cmp(&b.place));
        let total = errors.len();
        errors.truncate(MAX_ERRORS);
        let mut errors = errors.into_iter();
        Some(Self {
            first: Box::new(errors.next()?),
            rest: errors.collect(),
            total,
        })
    }

    /// At most 100 of them.
    pub fn iter(&self) -> impl Iterator<Item = &LoadError> {
        std::iter::once(&*self.first).chain(&self.rest)
    }

    /// As people read them: at most 100, then a line that says how many more there are.
    #[must_use]
    pub fn texts(&self) -> Vec<String> {
        let mut texts: Vec<_> = self.iter().map(ToString::to_string).collect();
        if self.total > texts.len() {
            texts.push(format!("and {} more", self.total - texts.len()));
        }
        texts
    }

    /// How many there are, those that aren't kept included.
    #[must_use]
    pub fn total(&self) -> usize {
        self.total
    }
}

/// What is wrong.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Problem {
    #[error("cannot be read: {0}")]
    Read(io::ErrorKind),
    #[error("larger than {} MiB", .limit >> 20)]
    TooLarge { limit: u64 },
    #[error("not UTF-8")]
    NotUtf8,
    #[error(transparent)]
    Yaml(#[from] YamlProblem),
    #[error("an object must be a mapping with apiVersion, kind and metadata")]
    NotAnObject,
    #[error("{0:?} is not a name that an object can have: lower-case letters, digits, `-` and `.`")]
    Name(String),
    /// With what to write.
    #[error("missing: {0}")]
    Missing(String),
    #[error(
        "the indentation is missing, and it can't be told what this belongs to: indent the document"
    )]
    Indentation,
    #[error("expected {0}")]
    Expected(&'static str),
    #[error(transparent)]
    Schema(#[from] SchemaError),
    #[error("unknown field `{field}`: it belongs in {place}")]
    Misplaced { field: String, place: String },
    #[error("there is no `{kind}` in `{api_version}` that Sealane knows: {instead}")]
    UnknownKind {
        api_version: Box<str>,
        kind: Box<str>,
        /// What was probably meant.
        instead: Box<str>,
    },
    #[error(
        "{api_version} {kind} is not enforced by this version of Sealane: remove the document, or \
         what it asks for would be missing silently"
    )]
    NotEnforced { api_version: String, kind: String },
    #[error("{kind} {name} is there already, at {first}")]
    Duplicate {
        kind: &'static str,
        name: String,
        first: Box<Place>,
    },
    #[error(
        "`{kind}` in a ConfigMap with the label sealane.dev/policy: only policy documents are read there"
    )]
    NotPolicy { kind: String },
    #[error(
        "binary values of a ConfigMap with the label sealane.dev/policy are not read: use `data`"
    )]
    BinaryPolicy,
    #[error("lists in lists are not supported")]
    NestedList,
    #[error("not a file: only files are read")]
    NotAFile,
    #[error("must be \"true\" or \"false\", not {0:?}")]
    Inject(String),
    #[error("{0:?} is not a mode: write STRICT, PERMISSIVE or DISABLE, and nothing else")]
    Switch(String),
    #[error("{0:?} is not an IP address that a pod or service can have")]
    Address(String),
    #[error("{0} is not a port number from 1 to 65535")]
    Port(i64),
    #[error("set `{missing}` too: a pod of this node needs both annotations")]
    HalfSandbox { missing: &'static str },
    #[error("{0:?} must be an absolute path")]
    RelativePath(String),
    #[error(transparent)]
    Identity(#[from] ParseSpiffeIdError),
    #[error("{0}")]
    Policy(Reason),
}
